package schema

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"golang.org/x/text/language"
	"golang.org/x/text/message"

	"github.com/meetwire/meetwire/services/ingest/internal/core"
)

// compiled implements core.Schema.
type compiled struct {
	schema *jsonschema.Schema
	costs  *costs
}

// errRemote refuses references that lead out of the schema.
var errRemote = errors.New("a schema may refer only to itself")

type noLoader struct{}

func (noLoader) Load(string) (any, error) { return nil, errRemote }

func compile(schema string) (*jsonschema.Schema, error) {
	document, err := jsonschema.UnmarshalJSON(strings.NewReader(schema))
	if err != nil {
		return nil, fmt.Errorf("read the schema: %w", err)
	}
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft2020)
	compiler.AssertFormat()
	compiler.UseLoader(noLoader{})
	const location = "mem:///trigger.json"
	if err := compiler.AddResource(location, document); err != nil {
		return nil, fmt.Errorf("add the schema: %w", err)
	}
	result, err := compiler.Compile(location)
	if err != nil {
		return nil, fmt.Errorf("compile the schema: %w", err)
	}
	return result, nil
}

// Check implements core.Schema.
func (c compiled) Check(data json.RawMessage) (pointer, problem string, ok bool) {
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		return "", "must be JSON", false
	}
	if place, found := hugeNumber(value, nil); found {
		return core.JSONPointer(place), "must be a number with an exponent from -308 to 308", false
	}
	if c.costs.tooMuch(c.schema, value, len(data)) {
		return "", "must be smaller: it takes too much work to check it against the schema of its trigger", false
	}
	var invalid *jsonschema.ValidationError
	if err := c.schema.Validate(value); errors.As(err, &invalid) {
		pointer, problem = describe(invalid)
		return pointer, problem, false
	}
	return "", "", true
}

// maxExponent bounds the exponents of numbers to those that everybody can read (RFC 8259, section 6). The schema
// library computes with exact fractions, for which a greater one takes much memory, or is more than it can take.
const maxExponent = 308

// hugeNumber returns where a number has an exponent that is too great.
func hugeNumber(value any, at []string) (place []string, found bool) {
	switch v := value.(type) {
	case json.Number:
		_, exponent, ok := strings.Cut(strings.ToLower(v.String()), "e")
		if !ok {
			return nil, false
		}
		n, err := strconv.Atoi(exponent)
		return at, err != nil || n > maxExponent || n < -maxExponent
	case map[string]any:
		for key, inner := range v {
			if place, found := hugeNumber(inner, append(at, key)); found {
				return place, true
			}
		}
	case []any:
		for i, inner := range v {
			if place, found := hugeNumber(inner, append(at, strconv.Itoa(i))); found {
				return place, true
			}
		}
	}
	return nil, false
}

// describe names the first place, in depth, at which data breaks its schema.
func describe(invalid *jsonschema.ValidationError) (pointer, problem string) {
	for len(invalid.Causes) > 0 {
		invalid = invalid.Causes[0]
	}
	pointer = core.JSONPointer(invalid.InstanceLocation)
	if missing, ok := invalid.ErrorKind.(*kind.Required); ok {
		return pointer, cut("must have " + strings.Join(missing.Missing, ", "))
	}
	return pointer, cut(invalid.ErrorKind.LocalizedString(message.NewPrinter(language.English)))
}

// maxProblem bounds what is told of a problem, in bytes: it may name all that is in the data.
const maxProblem = 512

func cut(problem string) string {
	if len(problem) <= maxProblem {
		return problem
	}
	return strings.ToValidUTF8(problem[:maxProblem], "") + "…"
}
