package filter

import (
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// node is a part of a filter. It pays before it works, and its value is an error (*types.Err) where it has none.
type node interface {
	eval(m *meter) ref.Val
}

// eventNode is the variable event.
type eventNode struct{}

func (eventNode) eval(m *meter) ref.Val { return m.event }

// slot is a variable of a macro.
type slot struct{ at int }

func (s slot) eval(m *meter) ref.Val { return m.slots[s.at] }

// selection is a field, a.b.
type selection struct {
	of             node
	key            types.String
	missing, noMap ref.Val // errors, made once
}

func (s *selection) eval(m *meter) ref.Val {
	of := s.of.eval(m)
	if !m.charge(1) {
		return errStopped
	}
	switch of := of.(type) {
	case *object:
		if value, found := of.fields[string(s.key)]; found {
			return value
		}
		return s.missing
	case *types.Err:
		return of
	case traits.Mapper:
		if value, found := of.Find(s.key); found {
			return value
		}
		return s.missing
	}
	return s.noMap
}

// presence is has(a.b).
type presence struct {
	of  node
	key types.String
}

func (p *presence) eval(m *meter) ref.Val {
	of := p.of.eval(m)
	if !m.charge(1) {
		return errStopped
	}
	switch of := of.(type) {
	case *types.Err:
		return of
	case traits.Mapper:
		_, found := of.Find(p.key)
		return types.Bool(found)
	case traits.Lister:
		return m.fail("no such overload: has() of a field of a list")
	}
	return types.False
}

// index is a[b] of a list or map.
type index struct{ of, key node }

func (i *index) eval(m *meter) ref.Val {
	if !m.charge(1) {
		return errStopped
	}
	of := i.of.eval(m)
	if types.IsError(of) {
		return of
	}
	key := i.key.eval(m)
	if types.IsError(key) {
		return key
	}
	if !m.charge(costCall) {
		return errStopped
	}
	switch of := of.(type) {
	case traits.Mapper:
		if value, found := m.find(of, key); found {
			return value
		}
		return m.fail("no such key")
	case traits.Lister:
		return m.result(of.Get(key))
	}
	return m.fail("no such overload: index of %s", of.Type().TypeName())
}

// list is [a, b].
type list struct{ elements []node }

func (l *list) eval(m *meter) ref.Val {
	if !m.charge(int64(1 + len(l.elements))) {
		return errStopped
	}
	values := make([]ref.Val, len(l.elements))
	for i, element := range l.elements {
		values[i] = element.eval(m)
		if types.IsError(values[i]) {
			return values[i]
		}
	}
	return types.NewRefValList(types.DefaultTypeAdapter, values)
}

// mapping is {a: b}.
type mapping struct{ entries [][2]node }

func (l *mapping) eval(m *meter) ref.Val {
	if !m.charge(int64(1 + 4*len(l.entries))) {
		return errStopped
	}
	values := make(map[ref.Val]ref.Val, len(l.entries))
	for _, entry := range l.entries {
		key := entry[0].eval(m)
		if types.IsError(key) {
			return key
		}
		switch key.(type) {
		case types.Bool, types.Int, types.Uint, types.String:
		default:
			return m.fail("unsupported key type: %s", key.Type().TypeName())
		}
		value := entry[1].eval(m)
		if types.IsError(value) {
			return value
		}
		if !m.chargeFor(key) {
			return errStopped
		}
		if _, twice := values[key]; twice {
			return m.fail("a map has the same key twice")
		}
		values[key] = value
	}
	return types.DefaultTypeAdapter.NativeToValue(values)
}

// loop is what a macro stands for.
type loop struct {
	over, initial, condition, step, result node
	slot                                   int // of what is accumulated; the element's is the next
}

func (l *loop) eval(m *meter) ref.Val {
	over := l.over.eval(m)
	if types.IsError(over) {
		return over
	}
	elements, stopped := l.elements(m, over)
	if stopped != nil {
		return stopped
	}
	accumulated := l.initial.eval(m)
	if _, ok := accumulated.(traits.Lister); ok {
		// map and filter begin with an empty list, and nobody else sees it before they end.
		accumulated = types.NewMutableList(types.DefaultTypeAdapter)
	}
	m.slots[l.slot] = accumulated
	for i := range sizeOf(elements) {
		m.slots[l.slot+1] = elements.Get(types.Int(i))
		if !m.charge(1) {
			return errStopped
		}
		if l.condition.eval(m) == types.False {
			break
		}
		m.slots[l.slot] = l.step.eval(m)
	}
	result := l.result.eval(m)
	if grown, ok := result.(traits.MutableLister); ok {
		return grown.ToImmutableList()
	}
	return result
}

// elements returns what a loop walks over: the elements of a list, the keys of a map in their order.
func (l *loop) elements(m *meter, over ref.Val) (elements traits.Lister, stopped ref.Val) {
	switch over := over.(type) {
	case traits.Lister:
		return over, nil
	case traits.Mapper:
		keys := m.keys(over)
		if m.stopped != nil {
			return nil, errStopped
		}
		return types.NewRefValList(types.DefaultTypeAdapter, keys), nil
	}
	return nil, m.fail("no such overload: a macro over %s", over.Type().TypeName())
}
