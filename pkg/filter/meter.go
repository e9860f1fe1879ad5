package filter

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// Budget is how much work one evaluation may cause, in units of at most some 70 ns (BenchmarkHostile). A filter over a
// list of a thousand attendees needs about 10,000.
const Budget = 250_000

// Timeout is a fuse: an evaluation takes longer only on a machine that hardly gets to compute.
const Timeout = 2 * time.Second

// What steps cost, in units.
const (
	costCall       = 2   // of a function, besides one for every part of a filter
	costConversion = 8   // of a conversion and of everything about time
	costZone       = 800 // of looking up a time zone
	costFailure    = 8   // of making an error
	bytesPerUnit   = 8   // of strings that a function reads or copies
	clockEvery     = 1 << 15
)

// meter is the state of one evaluation.
type meter struct {
	left    int64 // units
	event   ref.Val
	slots   []ref.Val // the variables of macros
	stopped error
	// Since when the evaluation takes, and when to look at the clock next. Evaluations that end before never look.
	began    time.Time
	nextLook int64
}

// errStopped stands for the value of everything once an evaluation has stopped.
var errStopped = types.NewErr("stopped")

// charge pays for a step. When it returns false the evaluation is over, and the step must not be done.
func (m *meter) charge(units int64) bool {
	if m.stopped != nil {
		return false
	}
	if units > m.left {
		m.stopped = ErrBudget
		return false
	}
	m.left -= units
	if spent := Budget - m.left; spent >= m.nextLook+clockEvery {
		m.nextLook = spent
		m.look()
	}
	return m.stopped == nil
}

// look stops an evaluation that takes too long.
func (m *meter) look() {
	now := time.Now()
	if m.began.IsZero() {
		m.began = now
		return
	}
	if now.Sub(m.began) > Timeout {
		m.stopped = ErrTimeout
	}
}

// chargeFor pays for a value that a function reads.
func (m *meter) chargeFor(v ref.Val) bool {
	switch v := v.(type) {
	case types.String:
		return m.charge(int64(len(v) / bytesPerUnit))
	case types.Bytes:
		return m.charge(int64(len(v) / bytesPerUnit))
	}
	return true
}

// answer turns the value of a filter into what Match returns.
func (m *meter) answer(v ref.Val) (bool, error) {
	if m.stopped != nil {
		return false, m.stopped
	}
	switch v := v.(type) {
	case types.Bool:
		return bool(v), nil
	case *types.Err:
		return false, fmt.Errorf("evaluate filter: %w", v)
	}
	return false, errors.New("evaluate filter: neither true nor false")
}

// equal compares two values and pays for all that it looks at. Lists and maps are equal when their elements are.
func (m *meter) equal(l, r ref.Val) bool {
	if !m.charge(1) {
		return false
	}
	switch left := l.(type) {
	case types.String:
		right, ok := r.(types.String)
		return ok && len(left) == len(right) && m.chargeFor(left) && left == right
	case traits.Mapper:
		right, ok := r.(traits.Mapper)
		return ok && m.equalMaps(left, right)
	case traits.Lister:
		right, ok := r.(traits.Lister)
		return ok && m.equalLists(left, right)
	}
	return m.chargeFor(l) && types.Equal(l, r) == types.True
}

func (m *meter) equalLists(l, r traits.Lister) bool {
	size := sizeOf(l)
	if size != sizeOf(r) {
		return false
	}
	for i := range size {
		if !m.equal(l.Get(types.Int(i)), r.Get(types.Int(i))) {
			return false
		}
	}
	return true
}

func (m *meter) equalMaps(l, r traits.Mapper) bool {
	if sizeOf(l) != sizeOf(r) {
		return false
	}
	if object, ok := l.(*object); ok {
		for _, name := range object.names {
			other, found := m.find(r, types.String(name))
			if !found || !m.equal(object.fields[name], other) {
				return false
			}
		}
		return true
	}
	for _, key := range m.keys(l) {
		value, _ := l.Find(key)
		other, found := m.find(r, key)
		if !found || !m.equal(value, other) {
			return false
		}
	}
	return true
}

// keys returns the keys of a map in their order, those of one type after those of another, and pays for it. It returns
// none when the evaluation is over.
func (m *meter) keys(of traits.Mapper) []ref.Val {
	if !m.charge(int64(4 * sizeOf(of))) {
		return nil
	}
	if object, ok := of.(*object); ok {
		return object.keys()
	}
	keys := make([]ref.Val, 0, sizeOf(of))
	for it := of.Iterator(); it.HasNext() == types.True; {
		keys = append(keys, it.Next())
	}
	slices.SortFunc(keys, func(a, b ref.Val) int {
		if byType := strings.Compare(a.Type().TypeName(), b.Type().TypeName()); byType != 0 {
			return byType
		}
		comparer, _ := a.(traits.Comparer) // as all that can be keys are
		order, _ := comparer.Compare(b).(types.Int)
		return int(order)
	})
	return keys
}

// find looks up a key of a map.
func (m *meter) find(in traits.Mapper, key ref.Val) (ref.Val, bool) {
	if !m.charge(1) || !m.chargeFor(key) {
		return nil, false
	}
	switch key.(type) {
	case types.String, types.Int, types.Uint, types.Double, types.Bool:
		return in.Find(key)
	}
	return nil, false // no map has such keys, and CEL's panic over some
}

// contains implements `in`.
func (m *meter) contains(in, v ref.Val) ref.Val {
	switch in := in.(type) {
	case traits.Mapper:
		_, found := m.find(in, v)
		return types.Bool(found)
	case traits.Lister:
		for i := range sizeOf(in) {
			if m.equal(in.Get(types.Int(i)), v) {
				return types.True
			}
			if m.stopped != nil {
				return errStopped
			}
		}
		return types.False
	}
	return m.fail("no such overload: %s in %s", v.Type().TypeName(), in.Type().TypeName())
}

// fail makes an error and pays for it.
func (m *meter) fail(format string, args ...any) ref.Val {
	if !m.charge(costFailure) {
		return errStopped
	}
	return types.NewErr(format, args...)
}

func sizeOf(v traits.Sizer) int {
	size, _ := v.Size().(types.Int)
	return int(size)
}
