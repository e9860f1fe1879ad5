package filter

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/functions"
	"cel.dev/cel-go/common/operators"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
	"cel.dev/cel-go/common/types/ref"
)

// planner turns a checked expression into nodes that can be evaluated.
type planner struct {
	language *language
	tree     *ast.AST
	scope    []string // the variables of the macro around; the index from first on is their slot
	first    int
	slots    int
}

// errUnknown is what cannot come out of the parser with the macros that are enabled.
var errUnknown = errors.New("compile filter: unknown kind of expression")

func (p *planner) plan(e ast.Expr) (node, error) {
	switch e.Kind() {
	case ast.LiteralKind:
		return constant{e.AsLiteral()}, nil
	case ast.IdentKind:
		return p.name(e.ID(), e.AsIdent())
	case ast.SelectKind:
		return p.selection(e)
	case ast.CallKind:
		return p.call(e)
	case ast.ListKind:
		return p.list(e)
	case ast.MapKind:
		return p.mapping(e)
	case ast.ComprehensionKind:
		return p.macro(e)
	}
	return nil, errUnknown
}

func (p *planner) all(expressions []ast.Expr) ([]node, error) {
	nodes := make([]node, len(expressions))
	for i, e := range expressions {
		var err error
		if nodes[i], err = p.plan(e); err != nil {
			return nil, err
		}
	}
	return nodes, nil
}

// name plans a variable, the name of a type, or a constant that has a name.
func (p *planner) name(id int64, name string) (node, error) {
	reference := p.tree.ReferenceMap()[id]
	if reference != nil && reference.Value != nil {
		return constant{reference.Value}, nil
	}
	if p.tree.GetType(id).Kind() == types.TypeKind && reference != nil {
		if value, found := p.language.env.CELTypeProvider().FindIdent(reference.Name); found {
			return constant{value}, nil
		}
	}
	for i := len(p.scope) - 1; i >= 0; i-- {
		if p.scope[i] == name {
			return slot{p.first + i}, nil
		}
	}
	// A dot in front means the variable of this name outside of all macros.
	if strings.TrimPrefix(name, ".") == variable {
		return eventNode{}, nil
	}
	return nil, at(p.tree, id, "there is no variable %s", cut(name))
}

func (p *planner) selection(e ast.Expr) (node, error) {
	if reference, ok := p.tree.ReferenceMap()[e.ID()]; ok {
		return p.name(e.ID(), reference.Name)
	}
	s := e.AsSelect()
	of, err := p.plan(s.Operand())
	if err != nil {
		return nil, err
	}
	if s.IsTestOnly() {
		return &presence{of: of, key: types.String(s.FieldName())}, nil
	}
	return &selection{
		of:      of,
		key:     types.String(s.FieldName()),
		missing: types.NewErr("no such key: %s", s.FieldName()),
		noMap:   types.NewErr("no such key: %s: what it is taken from is no map", s.FieldName()),
	}, nil
}

// list plans a list: once and for all when all of it stands in the filter, as in `a in ["x", "y"]`.
func (p *planner) list(e ast.Expr) (node, error) {
	elements, err := p.all(e.AsList().Elements())
	if err != nil {
		return nil, err
	}
	values := make([]ref.Val, len(elements))
	for i, element := range elements {
		value, ok := element.(constant)
		if !ok {
			return &list{elements}, nil
		}
		values[i] = value.value
	}
	return constant{types.NewRefValList(types.DefaultTypeAdapter, values)}, nil
}

func (p *planner) mapping(e ast.Expr) (node, error) {
	var m mapping
	for _, entry := range e.AsMap().Entries() {
		pair, err := p.all([]ast.Expr{entry.AsMapEntry().Key(), entry.AsMapEntry().Value()})
		if err != nil {
			return nil, err
		}
		m.entries = append(m.entries, [2]node(pair))
	}
	return &m, nil
}

// macro plans what a macro stands for. Macros are never inside each other, so the scope is empty before and after.
func (p *planner) macro(e ast.Expr) (node, error) {
	c := e.AsComprehension()
	if c.HasIterVar2() || len(p.scope) > 0 {
		return nil, errUnknown
	}
	over, err := p.plan(c.IterRange())
	if err != nil {
		return nil, err
	}
	initial, err := p.plan(c.AccuInit())
	if err != nil {
		return nil, err
	}
	p.first = p.slots
	p.slots += 2
	p.scope = []string{c.AccuVar(), c.IterVar()}
	parts, err := p.all([]ast.Expr{c.LoopCondition(), c.LoopStep()})
	if err != nil {
		return nil, err
	}
	// Only the result of the macro can be seen from here on.
	p.scope = p.scope[:1]
	result, err := p.plan(c.Result())
	if err != nil {
		return nil, err
	}
	p.scope = nil
	return &loop{over: over, initial: initial, condition: parts[0], step: parts[1], result: result, slot: p.first}, nil
}

func (p *planner) call(e ast.Expr) (node, error) {
	c := e.AsCall()
	expressions := c.Args()
	if c.IsMemberFunction() {
		expressions = append([]ast.Expr{c.Target()}, expressions...)
	}
	args, err := p.all(expressions)
	if err != nil {
		return nil, err
	}
	switch c.FunctionName() {
	case operators.LogicalAnd:
		return &logical{args, types.False}, nil
	case operators.LogicalOr:
		return &logical{args, types.True}, nil
	case operators.Conditional:
		return &conditional{args[0], args[1], args[2]}, nil
	case operators.NotStrictlyFalse:
		return &notFalse{args[0]}, nil
	case operators.Equals:
		return &equality{args[0], args[1], false}, nil
	case operators.NotEquals:
		return &equality{args[0], args[1], true}, nil
	case operators.In:
		return &membership{args[0], args[1]}, nil
	case operators.Index:
		return &index{args[0], args[1]}, nil
	case overloads.Matches:
		return p.matches(args[0], expressions[1])
	}
	return p.library(e.ID(), c.FunctionName(), args)
}

// matches plans matches() with its pattern compiled. checkShape has seen to it that it is a string and how long.
func (p *planner) matches(of node, pattern ast.Expr) (node, error) {
	text, _ := literalString(pattern)
	compiled, err := regexp.Compile(text)
	if err != nil {
		return nil, at(p.tree, pattern.ID(), "the pattern of matches() must be a regular expression of RE2: %s", cut(err.Error()))
	}
	return &match{of: of, pattern: compiled, size: int64(programSize(text))}, nil
}

// library plans one of CEL's functions, the very overload when the types tell which.
func (p *planner) library(id int64, name string, args []node) (node, error) {
	var found *functions.Overload
	if ids := p.tree.GetOverloadIDs(id); len(ids) == 1 {
		found = p.language.overloads[ids[0]]
	}
	if found == nil {
		found = p.language.overloads[name]
	}
	if found == nil || found.NonStrict || found.Async != nil {
		return nil, fmt.Errorf("compile filter: the function %s has no implementation", name)
	}
	f := function{name: name, trait: found.OperandTrait, cost: functionCost(name, len(args))}
	// A function with several overloads is bound as one that takes any arguments and looks at their types.
	if of := found.Function; of != nil {
		f.unary = func(arg ref.Val) ref.Val { return of(arg) }
		f.binary = func(left, right ref.Val) ref.Val { return of(left, right) }
	}
	if found.Unary != nil {
		f.unary = found.Unary
	}
	if found.Binary != nil {
		f.binary = found.Binary
	}
	switch {
	case len(args) == 1 && f.unary != nil:
		return &unary{f, args[0]}, nil
	case len(args) == 2 && name == operators.Add:
		return &addition{binary{f, args[0], args[1]}}, nil
	case len(args) == 2 && f.binary != nil:
		return &binary{f, args[0], args[1]}, nil
	}
	return nil, fmt.Errorf("compile filter: the function %s does not take %d arguments", name, len(args))
}

// functionCost returns what a call costs besides what its arguments do.
func functionCost(name string, args int) int64 {
	switch name {
	case operators.Add, operators.Subtract, operators.Multiply, operators.Divide, operators.Modulo, operators.Negate,
		operators.LogicalNot, operators.Less, operators.LessEquals, operators.Greater, operators.GreaterEquals,
		overloads.Size, overloads.Contains, overloads.StartsWith, overloads.EndsWith, overloads.TypeConvertDyn:
		return costCall
	}
	if args == 2 {
		return costZone // .getHours("Europe/Vienna")
	}
	return costConversion
}

// constant is a value that stands in the filter.
type constant struct{ value ref.Val }

func (c constant) eval(*meter) ref.Val { return c.value }
