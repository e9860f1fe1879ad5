package filter

import (
	"regexp/syntax"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/overloads"
	"cel.dev/cel-go/common/types"
)

// shape looks at an expression as it was parsed, for what the types do not say.
type shape struct {
	tree     *ast.AST
	macros   int
	patterns int // size of all patterns
}

// checkShape returns what an expression has too much of.
func checkShape(tree *ast.AST) error {
	s := shape{tree: tree}
	return s.check(tree.Expr(), 1, false)
}

// check walks an expression. inMacro says that it is part of a macro, of what it walks over or of what it does.
func (s *shape) check(e ast.Expr, depth int, inMacro bool) error {
	if depth > MaxDepth {
		return at(s.tree, e.ID(), "a filter has at most %d levels", MaxDepth)
	}
	var children []ast.Expr
	switch e.Kind() {
	case ast.SelectKind:
		children = []ast.Expr{e.AsSelect().Operand()}
	case ast.CallKind:
		call := e.AsCall()
		if call.IsMemberFunction() {
			children = append(children, call.Target())
		}
		children = append(children, call.Args()...)
		if call.FunctionName() == overloads.Matches && len(children) == 2 {
			if err := s.checkPattern(children[1]); err != nil {
				return err
			}
		}
	case ast.ListKind:
		children = e.AsList().Elements()
	case ast.MapKind:
		for _, entry := range e.AsMap().Entries() {
			children = append(children, entry.AsMapEntry().Key(), entry.AsMapEntry().Value())
		}
	case ast.StructKind:
		return at(s.tree, e.ID(), "a filter has no messages such as %s{}", e.AsStruct().TypeName())
	case ast.ComprehensionKind:
		return s.checkMacro(e, depth, inMacro)
	}
	for _, child := range children {
		if err := s.check(child, depth+1, inMacro); err != nil {
			return err
		}
	}
	return nil
}

// checkMacro counts a macro. What the parser put around its parts does not count as levels: it is the same for all.
func (s *shape) checkMacro(e ast.Expr, depth int, inMacro bool) error {
	s.macros++
	if s.macros > MaxMacros {
		return at(s.tree, e.ID(), "a filter has at most %d of the macros all, exists, exists_one, map and filter", MaxMacros)
	}
	if inMacro {
		return at(s.tree, e.ID(),
			"the macros all, exists, exists_one, map and filter must not be inside each other, nor follow each other")
	}
	c := e.AsComprehension()
	for _, part := range []ast.Expr{c.IterRange(), c.AccuInit(), c.LoopCondition(), c.LoopStep(), c.Result()} {
		if err := s.check(part, depth+1, true); err != nil {
			return err
		}
	}
	return nil
}

// checkPattern checks the pattern of matches() before it is compiled: `x{1000}` is short, but its program is not.
func (s *shape) checkPattern(e ast.Expr) error {
	pattern, ok := literalString(e)
	if !ok {
		return at(s.tree, e.ID(), "the pattern of matches() must be written as a string")
	}
	parsed, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return at(s.tree, e.ID(), "the pattern of matches() must be a regular expression of RE2: %s", cut(err.Error()))
	}
	s.patterns += patternSize(parsed)
	if s.patterns > MaxPatternSize {
		return at(s.tree, e.ID(), "the patterns of matches() must have at most %d characters together, with every {n} written out",
			MaxPatternSize)
	}
	return nil
}

func literalString(e ast.Expr) (string, bool) {
	if e.Kind() != ast.LiteralKind {
		return "", false
	}
	s, ok := e.AsLiteral().(types.String)
	return string(s), ok
}

// patternSize returns about how many instructions the program of a pattern has. What is too large stays so within
// another pattern, also within a repetition, which does not count itself.
func patternSize(re *syntax.Regexp) int {
	const tooLarge = MaxPatternSize + 2
	size := 1
	if re.Op == syntax.OpLiteral {
		size = len(re.Rune)
	}
	if re.Op == syntax.OpCharClass && len(re.Rune) > 8 {
		size += 3 // a large class takes longer for every character
	}
	for _, sub := range re.Sub {
		size = min(size+patternSize(sub), tooLarge)
	}
	if re.Op == syntax.OpRepeat {
		times := max(re.Min, re.Max, 1) // {n} and {n,m}
		if re.Max < 0 {
			times = re.Min + 1 // {n,}
		}
		size = min((size-1)*times, tooLarge)
	}
	return size
}

// checkResult returns what is wrong with the type of an expression.
func checkResult(tree *ast.AST, result *cel.Type) error {
	id := tree.Expr().ID()
	switch {
	case result.IsExactType(cel.BoolType):
		return nil
	case result.IsExactType(cel.DynType):
		return at(tree, id, "a filter must say true or false: compare this value, for example with == true or != null")
	}
	return at(tree, id, "a filter must say true or false, this is of type %s", cut(cel.FormatCELType(result)))
}
