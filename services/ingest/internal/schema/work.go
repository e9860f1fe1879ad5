package schema

import (
	"encoding/json"
	"math/big"
	"regexp/syntax"
	"slices"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// maxWork is how much work one event may cause that is checked against a schema, in units of at most some 300 ns. The
// library that checks cannot be stopped, so the work is estimated before: a schema that says something about 100 places
// is applied to data of about 20,000 values.
const maxWork = 1_000_000

// What parts of a schema cost, in units.
const (
	bytesPerUnit = 16 // of a string, where it is read
	namesPerUnit = 8  // of names that are looked up
	stepsPerUnit = 16 // of a regular expression, for each byte that it reads
	wordsPerUnit = 64 // of a number of many digits, with each other
	costNumber   = 4  // of a number that is computed with
	deepest      = 2_000
)

// costs is what applying the parts of a schema costs, whatever the data are.
type costs struct {
	parts       map[*jsonschema.Schema]part
	patterns    map[string]int64 // instructions of regular expressions
	total       int64            // of all parts, each as often as it is met
	unevaluated bool             // some part asks what others have looked at
	unique      bool             // some part compares items with each other
}

// part is a schema in a schema.
type part struct {
	cost int64                // without the schemas in it
	self []*jsonschema.Schema // those in it that are applied to the same value
}

// costsOf looks at all parts of a schema.
func costsOf(schema *jsonschema.Schema) *costs {
	c := &costs{parts: make(map[*jsonschema.Schema]part), patterns: make(map[string]int64)}
	c.add(schema)
	m := meter{costs: c, left: maxWork}
	m.everything(schema, 0)
	c.total = maxWork - max(m.left, 0)
	return c
}

// add notes what a part and those in it cost by themselves.
func (c *costs) add(s *jsonschema.Schema) {
	if _, done := c.parts[s]; done {
		return
	}
	cost := int64(1 + len(s.Required)/namesPerUnit)
	for _, names := range s.DependentRequired {
		cost += int64(1 + len(names)/namesPerUnit)
	}
	if s.Enum != nil {
		for _, value := range s.Enum.Values {
			cost += size(value)
		}
	}
	if s.Const != nil {
		cost += size(*s.Const)
	}
	for _, number := range []*big.Rat{s.Minimum, s.Maximum, s.ExclusiveMinimum, s.ExclusiveMaximum, s.MultipleOf} {
		if number != nil {
			words := int64(number.Num().BitLen()+number.Denom().BitLen()) / 64
			cost += costNumber + words*words/wordsPerUnit
		}
	}
	c.parts[s] = part{cost, self(s)}
	c.unique = c.unique || s.UniqueItems
	c.unevaluated = c.unevaluated || s.UnevaluatedItems != nil || s.UnevaluatedProperties != nil
	if s.Pattern != nil {
		c.patterns[s.Pattern.String()] = instructions(s.Pattern.String())
	}
	for pattern := range s.PatternProperties {
		c.patterns[pattern.String()] = instructions(pattern.String())
	}
	for _, inner := range slices.Concat(self(s), items(s), members(s)) {
		c.add(inner)
	}
}

// instructions returns how long the program of a regular expression is.
func instructions(pattern string) int64 {
	parsed, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return maxWork // the library has compiled it, so this cannot be
	}
	program, err := syntax.Compile(parsed.Simplify())
	if err != nil {
		return maxWork
	}
	return int64(len(program.Inst))
}

// size returns how much there is in a value.
func size(value any) int64 {
	switch v := value.(type) {
	case string:
		return 1 + int64(len(v))/bytesPerUnit
	case json.Number:
		return costNumber + int64(len(v))/bytesPerUnit
	case []any:
		n := int64(1)
		for _, inner := range v {
			n += size(inner)
		}
		return n
	case map[string]any:
		n := int64(1)
		for _, inner := range v {
			n += 1 + size(inner)
		}
		return n
	}
	return 1
}

// self returns the schemas in a schema that are applied to the same value.
func self(s *jsonschema.Schema) []*jsonschema.Schema {
	all := slices.Concat(s.AllOf, s.AnyOf, s.OneOf, []*jsonschema.Schema{s.Ref, s.Not, s.If, s.Then, s.Else})
	for _, inner := range s.DependentSchemas {
		all = append(all, inner)
	}
	return slices.DeleteFunc(all, isNil)
}

// items returns those that are applied to the items of an array.
func items(s *jsonschema.Schema) []*jsonschema.Schema {
	all := append(slices.Clone(s.PrefixItems), s.Items2020, s.Contains, s.UnevaluatedItems)
	return slices.DeleteFunc(all, isNil)
}

// members returns those that are applied to the members of an object, and to their names.
func members(s *jsonschema.Schema) []*jsonschema.Schema {
	additional, _ := s.AdditionalProperties.(*jsonschema.Schema)
	all := []*jsonschema.Schema{additional, s.PropertyNames, s.UnevaluatedProperties}
	for _, inner := range s.Properties {
		all = append(all, inner)
	}
	for _, inner := range s.PatternProperties {
		all = append(all, inner)
	}
	return slices.DeleteFunc(all, isNil)
}

func isNil(s *jsonschema.Schema) bool { return s == nil }

// tooMuch reports whether checking data of a length would cost too much.
func (c *costs) tooMuch(schema *jsonschema.Schema, value any, length int) bool {
	bytes := int64(length)
	if c.total*bytes <= maxWork && (!c.unique || bytes*bytes/64 <= maxWork) {
		return false // whatever it says
	}
	m := meter{costs: c, left: maxWork}
	m.apply(schema, value, 0)
	return m.left < 0
}

// meter estimates the work of one check. It assumes that every part is applied to all that it may be applied to.
type meter struct {
	costs *costs
	left  int64
}

// spend reports whether there is something left.
func (m *meter) spend(units int64) bool {
	m.left -= units
	return m.left >= 0
}

// everything counts the parts of a schema as often as references lead to them.
func (m *meter) everything(s *jsonschema.Schema, depth int) {
	cost := m.costs.parts[s].cost
	if s.Pattern != nil {
		cost += m.costs.patterns[s.Pattern.String()] / stepsPerUnit
	}
	for pattern := range s.PatternProperties {
		cost += m.costs.patterns[pattern.String()] / stepsPerUnit
	}
	if !m.spend(cost) || depth > deepest {
		m.left = min(m.left, 0)
		return
	}
	for _, inner := range slices.Concat(self(s), items(s), members(s)) {
		m.everything(inner, depth+1)
	}
}

// apply counts what it costs to apply a schema to a value.
func (m *meter) apply(s *jsonschema.Schema, value any, depth int) {
	p := m.costs.parts[s]
	if !m.spend(p.cost) {
		return
	}
	if depth > deepest {
		m.left = -1
		return
	}
	switch v := value.(type) {
	case string:
		m.text(s, v)
	case json.Number:
		m.spend(costNumber + int64(len(v))/bytesPerUnit)
	case []any:
		m.array(s, v, depth)
	case map[string]any:
		m.object(s, v, depth)
	}
	for _, inner := range p.self {
		if m.left < 0 {
			return
		}
		m.apply(inner, value, depth+1)
	}
}

func (m *meter) text(s *jsonschema.Schema, v string) {
	m.spend(int64(len(v)) / bytesPerUnit)
	if s.Pattern != nil {
		m.match(s.Pattern, v)
	}
	if s.Format != nil {
		m.spend(int64(len(v)))
	}
}

// match counts what it costs to look for a pattern.
func (m *meter) match(pattern jsonschema.Regexp, in string) {
	m.spend((int64(len(in)) + 1) * m.costs.patterns[pattern.String()] / stepsPerUnit)
}

func (m *meter) array(s *jsonschema.Schema, v []any, depth int) {
	if m.costs.unevaluated {
		m.spend(int64(len(v)))
	}
	if s.UniqueItems {
		m.unique(v)
	}
	for i, item := range v {
		if i < len(s.PrefixItems) {
			m.apply(s.PrefixItems[i], item, depth+1)
		} else if s.Items2020 != nil {
			m.apply(s.Items2020, item, depth+1)
		}
		for _, inner := range []*jsonschema.Schema{s.Contains, s.UnevaluatedItems} {
			if inner != nil {
				m.apply(inner, item, depth+1)
			}
		}
		if m.left < 0 {
			return
		}
	}
}

// unique counts what it costs to compare items: each is looked up by a hash, but the hashes of different lists and
// objects can be made the same.
func (m *meter) unique(v []any) {
	var nested int64
	for _, item := range v {
		switch item.(type) {
		case []any, map[string]any:
			nested++
		}
		if !m.spend(size(item)) {
			return
		}
	}
	m.spend(nested * nested / 16)
}

func (m *meter) object(s *jsonschema.Schema, v map[string]any, depth int) {
	if m.costs.unevaluated {
		m.spend(int64(len(v)))
	}
	additional, _ := s.AdditionalProperties.(*jsonschema.Schema)
	for name, member := range v {
		evaluated := false
		if inner, ok := s.Properties[name]; ok {
			evaluated = true
			m.apply(inner, member, depth+1)
		}
		for pattern, inner := range s.PatternProperties {
			m.match(pattern, name)
			m.apply(inner, member, depth+1)
		}
		if additional != nil && !evaluated {
			m.apply(additional, member, depth+1)
		}
		if s.PropertyNames != nil {
			m.apply(s.PropertyNames, name, depth+1)
		}
		if s.UnevaluatedProperties != nil {
			m.apply(s.UnevaluatedProperties, member, depth+1)
		}
		if m.left < 0 {
			return
		}
	}
}
