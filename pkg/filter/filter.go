package filter

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"unicode/utf8"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common/ast"
	"cel.dev/cel-go/common/functions"
	"cel.dev/cel-go/common/types/ref"
)

// Limits of one filter.
const (
	MaxSourceBytes = 1024 // of the expression, in UTF-8
	MaxMacros      = 2    // of all, exists, exists_one, map and filter together
	MaxDepth       = 64   // levels of operators, calls and fields
	MaxPatternSize = 200  // instructions of the patterns of all matches() together
)

// maxMessageLength is where the message of an error is cut, in characters.
const maxMessageLength = 300

// variable is the one variable of a filter.
const variable = "event"

// SourceError says what is wrong with a filter and where. Line and column begin at 1; the column counts characters.
type SourceError struct {
	Line, Column int
	Message      string
}

// Error returns the place and the message.
func (e *SourceError) Error() string {
	return fmt.Sprintf("line %d, column %d: %s", e.Line, e.Column, e.Message)
}

// Filter is a compiled filter. It can be used by several goroutines at once.
type Filter struct {
	source string
	root   node
	slots  int
}

// Source returns the expression.
func (f *Filter) Source() string { return f.source }

// language is what all filters share: the rules of CEL and the functions that it defines.
type language struct {
	env       *cel.Env
	overloads map[string]*functions.Overload // by the id of an overload, or the name of a function
}

// standard makes the language once: that takes as long as compiling a hundred filters.
var standard = sync.OnceValues(newLanguage)

func newLanguage() (*language, error) {
	env, err := cel.NewEnv(
		cel.Variable(variable, cel.MapType(cel.StringType, cel.DynType)),
		cel.CrossTypeNumericComparisons(true),
		cel.DefaultUTCTimeZone(true),
		cel.ParserExpressionSizeLimit(MaxSourceBytes),
		cel.ParserRecursionLimit(2*MaxDepth),
		cel.ParserErrorRecoveryLimit(1),
	)
	if err != nil {
		return nil, fmt.Errorf("set up CEL: %w", err)
	}
	l := &language{env: env, overloads: make(map[string]*functions.Overload)}
	for name, function := range env.Functions() {
		bindings, err := function.Bindings()
		if err != nil {
			return nil, fmt.Errorf("set up the function %s: %w", name, err)
		}
		for _, binding := range bindings {
			l.overloads[binding.Operator] = binding
		}
	}
	return l, nil
}

// Compile parses and checks a filter. What is wrong with it comes back as a *SourceError, whose text is fit to be
// shown to whoever wrote the filter.
func Compile(source string) (*Filter, error) {
	if len(source) > MaxSourceBytes {
		return nil, &SourceError{Line: 1, Column: 1, Message: fmt.Sprintf("a filter has at most %d bytes, this one has %d",
			MaxSourceBytes, len(source))}
	}
	if !utf8.ValidString(source) {
		return nil, &SourceError{Line: 1, Column: 1, Message: "a filter is UTF-8"}
	}
	if strings.TrimSpace(source) == "" {
		return nil, &SourceError{Line: 1, Column: 1, Message: "a filter is an expression, this one is empty"}
	}
	l, err := standard()
	if err != nil {
		return nil, err
	}
	parsed, issues := l.env.Parse(source)
	if issues.Err() != nil {
		return nil, firstIssue(issues)
	}
	// Before the types are checked, so that a deep expression never gets there.
	if err := checkShape(parsed.NativeRep()); err != nil {
		return nil, err
	}
	checked, issues := l.env.Check(parsed)
	if issues.Err() != nil {
		return nil, firstIssue(issues)
	}
	tree := checked.NativeRep()
	if err := checkResult(tree, checked.OutputType()); err != nil {
		return nil, err
	}
	p := planner{language: l, tree: tree}
	root, err := p.plan(tree.Expr())
	if err != nil {
		return nil, err
	}
	return &Filter{source: source, root: root, slots: p.slots}, nil
}

// firstIssue returns the first thing that the parser or the checker found: what follows is often a consequence of it.
func firstIssue(issues *cel.Issues) error {
	found := issues.Errors()
	if len(found) == 0 {
		return &SourceError{Line: 1, Column: 1, Message: cut(issues.Err().Error())}
	}
	first := found[0]
	message := strings.TrimPrefix(first.Message, "Syntax error: ")
	return &SourceError{
		Line:    max(first.Location.Line(), 1),
		Column:  max(first.Location.Column()+1, 1),
		Message: cut(strings.Join(strings.Fields(message), " ")),
	}
}

func cut(message string) string {
	if utf8.RuneCountInString(message) <= maxMessageLength {
		return message
	}
	return string([]rune(message)[:maxMessageLength]) + "…"
}

// at returns an error about one part of an expression.
func at(tree *ast.AST, id int64, format string, args ...any) error {
	location := tree.SourceInfo().GetStartLocation(id)
	return &SourceError{
		Line:    max(location.Line(), 1),
		Column:  max(location.Column()+1, 1),
		Message: fmt.Sprintf(format, args...),
	}
}

// ErrBudget is how an evaluation ends that needs more work than one filter may cause.
var ErrBudget = errors.New("the filter needs too much work for this event")

// ErrTimeout is how an evaluation ends that takes longer than Timeout.
var ErrTimeout = errors.New("the filter took too long for this event")

// Match evaluates the filter. An error means that it has no answer for this event: a field is missing, a value has
// an unexpected type, the work is too much (ErrBudget, ErrTimeout), or the event is no JSON. The caller takes that as no
// match. The error's text may contain parts of the event.
func (f *Filter) Match(event *Event) (matched bool, err error) {
	matched, _, err = f.MatchWithin(event, Budget)
	return matched, err
}

// MatchWithin is Match with a budget of its own, for callers that have one for several filters together; at most Budget.
// It returns how much of it was spent.
func (f *Filter) MatchWithin(event *Event, budget int64) (matched bool, spent int64, err error) {
	root, err := event.value()
	if err != nil {
		return false, 0, err
	}
	budget = min(budget, Budget)
	// CEL's functions panic for some values that its own interpreter catches, and no filter may end the process.
	defer func() {
		if r := recover(); r != nil {
			matched, spent, err = false, budget, fmt.Errorf("evaluate filter: %v", r)
		}
	}()
	return f.run(root, budget)
}

// run evaluates the filter with a budget and returns how much of it was spent.
func (f *Filter) run(event ref.Val, budget int64) (matched bool, spent int64, err error) {
	m := meter{left: budget, event: event}
	if f.slots > 0 {
		m.slots = make([]ref.Val, f.slots)
	}
	matched, err = m.answer(f.root.eval(&m))
	return matched, budget - m.left, err
}
