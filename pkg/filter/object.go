package filter

import (
	"fmt"
	"reflect"
	"slices"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// object is an object of an event: a map of CEL whose keys are strings.
type object struct {
	fields map[string]ref.Val
	names  []string // of the fields, as the document has them: what walks over a Go map takes another way each time
}

// set sets a field.
func (o *object) set(name string, value ref.Val) {
	if _, twice := o.fields[name]; !twice {
		o.names = append(o.names, name)
	}
	o.fields[name] = value
}

// It must be all that CEL's functions expect of a map.
var _ traits.Mapper = (*object)(nil)

// keys returns the keys in their order.
func (o *object) keys() []ref.Val {
	keys := make([]ref.Val, 0, len(o.fields))
	for _, key := range slices.Sorted(slices.Values(o.names)) {
		keys = append(keys, types.String(key))
	}
	return keys
}

// Find returns the value of a key, if there is one.
func (o *object) Find(key ref.Val) (ref.Val, bool) {
	name, ok := key.(types.String)
	if !ok {
		return nil, false
	}
	value, found := o.fields[string(name)]
	return value, found
}

// Get returns the value of a key, or an error.
func (o *object) Get(key ref.Val) ref.Val {
	if value, found := o.Find(key); found {
		return value
	}
	return types.NewErr("no such key: %v", key)
}

// Contains reports whether there is a key.
func (o *object) Contains(key ref.Val) ref.Val {
	_, found := o.Find(key)
	return types.Bool(found)
}

// Size returns the number of keys.
func (o *object) Size() ref.Val { return types.Int(len(o.fields)) }

// Iterator walks over the keys in their order.
func (o *object) Iterator() traits.Iterator {
	return types.NewRefValList(types.DefaultTypeAdapter, o.keys()).Iterator()
}

// Type returns the type of maps.
func (o *object) Type() ref.Type { return types.MapType }

// Value returns the fields.
func (o *object) Value() any { return o.fields }

// Equal compares with another map, without a limit: filters compare through their meter.
func (o *object) Equal(other ref.Val) ref.Val {
	m := meter{left: 1 << 62}
	return types.Bool(m.equal(o, other))
}

// ConvertToType converts to a map, or to the type itself.
func (o *object) ConvertToType(to ref.Type) ref.Val {
	switch to {
	case types.MapType:
		return o
	case types.TypeType:
		return types.MapType
	}
	return types.NewErr("type conversion error from '%s' to '%s'", types.MapType, to)
}

// ConvertToNative always fails: nothing takes an object out of a filter.
func (o *object) ConvertToNative(to reflect.Type) (any, error) {
	return nil, fmt.Errorf("convert an object of an event to %s: not supported", to)
}
