// Package schema owns what the subscription service knows of JSON Schema (2020-12): whether a schema is one, refers only
// to itself and costs little to apply, whether a sample satisfies it, and what a new schema breaks of an old one. It
// must not know whose schemas they are.
package schema

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"golang.org/x/text/language"
	"golang.org/x/text/message"
)

// Limits of schemas and samples.
const (
	// MaxDepth is how deep arrays and objects may be nested.
	MaxDepth = 64
	// MaxPlaces is in how many places a schema may say something about the data, with all references followed. It
	// bounds what it costs to check an event: with references to references this doubles with every step otherwise.
	MaxPlaces = 10_000
	// maxExponent bounds the exponents of numbers to those that everybody can read (RFC 8259, section 6). The schema
	// library computes with exact fractions, for which a greater one takes much memory, or is more than it can take.
	maxExponent = 308
)

// draft is the version of JSON Schema that is understood.
const draft = "https://json-schema.org/draft/2020-12/schema"

// location is what errors of the library call a schema.
const location = "mem:///trigger.json"

// Checker implements core.Schemas.
type Checker struct{}

// CheckSchema implements core.Schemas.
func (Checker) CheckSchema(schema string) string {
	document, problem := parse(schema)
	if problem != "" {
		return problem
	}
	switch document.(type) {
	case map[string]any, bool:
	default:
		return "must be a JSON Schema: an object, true or false"
	}
	if problem := checkStructure(document); problem != "" {
		return problem
	}
	_, err := compile(document)
	return describeCompile(err)
}

// CheckSample implements core.Schemas.
func (Checker) CheckSample(schema, sample string) string {
	value, problem := parse(sample)
	if problem != "" {
		return problem
	}
	document, problem := parse(schema)
	if problem != "" {
		return "cannot be checked: the schema " + problem
	}
	compiled, err := compile(document)
	if err != nil {
		return "cannot be checked: the schema " + describeCompile(err)
	}
	var invalid *jsonschema.ValidationError
	if err := compiled.Validate(value); errors.As(err, &invalid) {
		return "does not satisfy the schema: " + describe(invalid)
	}
	return ""
}

// parse reads a JSON text, or says what is wrong with it.
func parse(text string) (value any, problem string) {
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		return nil, "must be JSON"
	}
	if place, found := tooDeep(value, nil); found {
		return nil, fmt.Sprintf("at %s: must not be nested deeper than %d levels", pointerTo(place), MaxDepth)
	}
	if place, found := hugeNumber(value, nil); found {
		return nil, fmt.Sprintf("at %s: must be a number with an exponent from -%d to %d", pointerTo(place), maxExponent, maxExponent)
	}
	return value, ""
}

// errRemote refuses references that lead out of the schema.
var errRemote = errors.New("may refer only to itself")

type noLoader struct{}

// Load implements jsonschema.URLLoader.
func (noLoader) Load(string) (any, error) { return nil, errRemote }

// compile compiles a schema just as those do who apply it.
func compile(document any) (*jsonschema.Schema, error) {
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft2020)
	compiler.AssertFormat()
	compiler.UseLoader(noLoader{})
	if err := compiler.AddResource(location, document); err != nil {
		return nil, fmt.Errorf("add the schema: %w", err)
	}
	compiled, err := compiler.Compile(location)
	if err != nil {
		return nil, fmt.Errorf("compile the schema: %w", err)
	}
	return compiled, nil
}

// describeCompile says why something is not a schema; empty when it is one.
func describeCompile(err error) string {
	if err == nil {
		return ""
	}
	var refused *jsonschema.SchemaValidationError
	if errors.As(err, &refused) {
		err = refused.Err // which it does not unwrap
	}
	var invalid *jsonschema.ValidationError
	if errors.As(err, &invalid) {
		return "is not a JSON Schema: " + describe(invalid)
	}
	if errors.Is(err, errRemote) {
		return errRemote.Error()
	}
	text := err.Error()
	for cause := err; cause != nil; cause = errors.Unwrap(cause) {
		text = cause.Error()
	}
	return "is not a JSON Schema: " + strings.NewReplacer(location+"#", "", location, "").Replace(text)
}

// describe names the first place, in depth, at which something breaks a schema.
func describe(invalid *jsonschema.ValidationError) string {
	for len(invalid.Causes) > 0 {
		invalid = invalid.Causes[0]
	}
	problem := invalid.ErrorKind.LocalizedString(message.NewPrinter(language.English))
	return fmt.Sprintf("at %s: %s", pointerTo(invalid.InstanceLocation), problem)
}

// tooDeep returns where something is nested too deep.
func tooDeep(value any, at []string) (place []string, found bool) {
	return find(value, at, func(_ any, at []string) bool { return len(at) > MaxDepth })
}

// hugeNumber returns where a number has an exponent that is too great.
func hugeNumber(value any, at []string) (place []string, found bool) {
	return find(value, at, func(value any, _ []string) bool {
		number, ok := value.(json.Number)
		if !ok {
			return false
		}
		_, exponent, ok := strings.Cut(strings.ToLower(number.String()), "e")
		if !ok {
			return false
		}
		n, err := strconv.Atoi(exponent)
		return err != nil || n > maxExponent || n < -maxExponent
	})
}

// find returns the first place, in depth, for which is holds.
func find(value any, at []string, is func(value any, at []string) bool) ([]string, bool) {
	if is(value, at) {
		return at, true
	}
	switch v := value.(type) {
	case map[string]any:
		for key, inner := range v {
			if place, found := find(inner, append(at[:len(at):len(at)], key), is); found {
				return place, true
			}
		}
	case []any:
		for i, inner := range v {
			if place, found := find(inner, append(at[:len(at):len(at)], strconv.Itoa(i)), is); found {
				return place, true
			}
		}
	}
	return nil, false
}

// pointerTo writes a place as a JSON pointer (RFC 6901); the whole document is called so.
func pointerTo(place []string) string {
	if len(place) == 0 {
		return "the top"
	}
	var b strings.Builder
	for _, token := range place {
		b.WriteByte('/')
		b.WriteString(escape(token))
	}
	return b.String()
}

// escape writes a token of a JSON pointer.
func escape(token string) string {
	return strings.NewReplacer("~", "~0", "/", "~1").Replace(token)
}
