package filter

import (
	"regexp"
	"regexp/syntax"

	"cel.dev/cel-go/common/functions"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
	"cel.dev/cel-go/common/types/traits"
)

// result returns what a function of CEL returned, and pays for an error that it made.
func (m *meter) result(v ref.Val) ref.Val {
	if types.IsError(v) && !m.charge(costFailure) {
		return errStopped
	}
	return v
}

// logical is a && b && … or a || b || …; one decides wherever it stands, even beside an error.
type logical struct {
	terms   []node
	decides types.Bool
}

func (l *logical) eval(m *meter) ref.Val {
	var failed ref.Val
	for _, term := range l.terms {
		value := term.eval(m)
		if !m.charge(1) {
			return errStopped
		}
		b, ok := value.(types.Bool)
		switch {
		case ok && b == l.decides:
			return l.decides
		case ok || failed != nil:
		case types.IsError(value):
			failed = value
		default:
			failed = m.fail("no such overload: %s where a bool must be", value.Type().TypeName())
		}
	}
	if failed != nil {
		return failed
	}
	return !l.decides
}

// conditional is a ? b : c.
type conditional struct{ condition, yes, no node }

func (c *conditional) eval(m *meter) ref.Val {
	condition := c.condition.eval(m)
	if !m.charge(1) {
		return errStopped
	}
	switch condition {
	case types.True:
		return c.yes.eval(m)
	case types.False:
		return c.no.eval(m)
	}
	if types.IsError(condition) {
		return condition
	}
	return m.fail("no such overload: %s where a bool must be", condition.Type().TypeName())
}

// notFalse is what the macros ask before they go on: false only for false, not for an error.
type notFalse struct{ of node }

func (n *notFalse) eval(m *meter) ref.Val {
	if n.of.eval(m) == types.False {
		return types.False
	}
	return types.True
}

// equality is a == b or a != b.
type equality struct {
	left, right node
	negated     bool
}

func (e *equality) eval(m *meter) ref.Val {
	if !m.charge(1) {
		return errStopped
	}
	left := e.left.eval(m)
	if types.IsError(left) {
		return left
	}
	right := e.right.eval(m)
	if types.IsError(right) {
		return right
	}
	equal := m.equal(left, right)
	if m.stopped != nil {
		return errStopped
	}
	return types.Bool(equal != e.negated)
}

// membership is a in b.
type membership struct{ element, of node }

func (i *membership) eval(m *meter) ref.Val {
	if !m.charge(1) {
		return errStopped
	}
	element := i.element.eval(m)
	if types.IsError(element) {
		return element
	}
	of := i.of.eval(m)
	if types.IsError(of) {
		return of
	}
	return m.contains(of, element)
}

// match is a.matches("pattern").
type match struct {
	of      node
	pattern *regexp.Regexp
	size    int64
}

func (r *match) eval(m *meter) ref.Val {
	if !m.charge(1) {
		return errStopped
	}
	of := r.of.eval(m)
	if types.IsError(of) {
		return of
	}
	text, ok := of.(types.String)
	if !ok {
		return m.fail("no such overload: matches of %s", of.Type().TypeName())
	}
	// The time grows with the text times the program, in the worst case.
	if !m.charge(costConversion + int64(len(text))*(4+r.size)/4) {
		return errStopped
	}
	return types.Bool(r.pattern.MatchString(string(text)))
}

// programSize returns how many instructions the program of a pattern has.
func programSize(pattern string) int {
	parsed, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return MaxPatternSize
	}
	program, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return MaxPatternSize
	}
	return len(program.Inst)
}

// function is one of CEL's functions.
type function struct {
	name   string
	trait  int // that the first argument must have; 0: none
	unary  functions.UnaryOp
	binary functions.BinaryOp
	cost   int64
}

// unary is a function of one argument.
type unary struct {
	function
	arg node
}

func (u *unary) eval(m *meter) ref.Val {
	if !m.charge(1) {
		return errStopped
	}
	arg := u.arg.eval(m)
	if types.IsError(arg) {
		return arg
	}
	if !m.charge(u.cost) || !m.chargeFor(arg) {
		return errStopped
	}
	if u.trait != 0 && !arg.Type().HasTrait(u.trait) {
		return m.fail("no such overload: %s(%s)", u.name, arg.Type().TypeName())
	}
	return m.result(u.unary(arg))
}

// binary is a function of two arguments, or an operator.
type binary struct {
	function
	left, right node
}

func (b *binary) eval(m *meter) ref.Val {
	left, right, failed := b.operands(m)
	if failed != nil {
		return failed
	}
	return b.apply(m, left, right)
}

func (b *binary) operands(m *meter) (left, right, failed ref.Val) {
	if !m.charge(1) {
		return nil, nil, errStopped
	}
	left = b.left.eval(m)
	if types.IsError(left) {
		return nil, nil, left
	}
	right = b.right.eval(m)
	if types.IsError(right) {
		return nil, nil, right
	}
	return left, right, nil
}

func (b *binary) apply(m *meter, left, right ref.Val) ref.Val {
	if !m.charge(b.cost) || !m.chargeFor(left) || !m.chargeFor(right) {
		return errStopped
	}
	if b.trait != 0 && !left.Type().HasTrait(b.trait) {
		return m.fail("no such overload: %s %s %s", left.Type().TypeName(), b.name, right.Type().TypeName())
	}
	return m.result(b.binary(left, right))
}

// addition is a + b. CEL's own sum of two lists only refers to both, and every look at an element goes through all
// sums below; here it is a list of its own.
type addition struct{ binary }

func (a *addition) eval(m *meter) ref.Val {
	left, right, failed := a.operands(m)
	if failed != nil {
		return failed
	}
	l, isList := left.(traits.Lister)
	r, areLists := right.(traits.Lister)
	if !isList || !areLists {
		return a.apply(m, left, right)
	}
	if grown, ok := l.(traits.MutableLister); ok {
		// The list that map and filter make.
		if !m.charge(int64(1 + sizeOf(r))) {
			return errStopped
		}
		return grown.Add(r)
	}
	if !m.charge(int64(costCall + sizeOf(l) + sizeOf(r))) {
		return errStopped
	}
	elements := make([]ref.Val, 0, sizeOf(l)+sizeOf(r))
	for _, part := range []traits.Lister{l, r} {
		for i := range sizeOf(part) {
			elements = append(elements, part.Get(types.Int(i)))
		}
	}
	return types.NewRefValList(types.DefaultTypeAdapter, elements)
}
