// Package schema owns ingest's copy of the triggers and their JSON Schemas, compiled once, and of the webhooks:
// it turns what the configuration feed tells into what core asks for.
package schema

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strconv"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"golang.org/x/text/language"
	"golang.org/x/text/message"

	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	"github.com/meetwire/meetwire/services/ingest/internal/core"
)

// Catalogue implements configfeed.Sink and, with the watcher's organizations, core.Catalogue.
type Catalogue struct {
	index  *core.Index
	logger *slog.Logger

	mu       sync.RWMutex
	triggers map[string]*jsonschema.Schema // nil for a schema that cannot be compiled
}

// New makes an empty catalogue that keeps the index up to date.
func New(index *core.Index, logger *slog.Logger) *Catalogue {
	return &Catalogue{index: index, logger: logger, triggers: make(map[string]*jsonschema.Schema)}
}

// Reset implements configfeed.Sink.
func (c *Catalogue) Reset(snapshot []*configv1.Resource, revision int64) {
	var webhooks []core.Webhook
	triggers := make(map[string]*jsonschema.Schema)
	for _, resource := range snapshot {
		switch r := resource.GetResource().(type) {
		case *configv1.Resource_Webhook:
			webhooks = append(webhooks, webhook(r.Webhook))
		case *configv1.Resource_Trigger:
			triggers[r.Trigger.GetId()] = c.compile(r.Trigger)
		}
	}
	// The index first: an event of a trigger that is known must find the webhooks that came with it.
	c.index.Reset(webhooks, revision)
	c.mu.Lock()
	c.triggers = triggers
	c.mu.Unlock()
}

// Apply implements configfeed.Sink.
func (c *Catalogue) Apply(change *configv1.Change) {
	var put []core.Webhook
	var removed []string
	triggers := make(map[string]*jsonschema.Schema)
	for _, resource := range change.GetResources() {
		switch r := resource.GetResource().(type) {
		case *configv1.Resource_Webhook:
			put = append(put, webhook(r.Webhook))
		case *configv1.Resource_DeletedWebhook:
			removed = append(removed, r.DeletedWebhook)
		case *configv1.Resource_Trigger:
			triggers[r.Trigger.GetId()] = c.compile(r.Trigger)
		}
	}
	c.index.Apply(put, removed, change.GetRevision())
	c.mu.Lock()
	maps.Copy(c.triggers, triggers)
	c.mu.Unlock()
}

func webhook(w *configv1.Webhook) core.Webhook {
	return core.Webhook{ID: w.GetId(), Organization: w.GetOrganization(), Triggers: w.GetTriggers(), Paused: w.GetPaused()}
}

// compile compiles a schema. One that cannot be compiled accepts everything: subscription has checked it, so
// this is a defect of ours, for which no event may be refused.
func (c *Catalogue) compile(trigger *configv1.Trigger) *jsonschema.Schema {
	compiled, err := compile(trigger.GetSchema())
	if err != nil {
		c.logger.Error("schema of a trigger cannot be compiled and is not applied", "trigger", trigger.GetId(), "error", err)
		return nil
	}
	return compiled
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
	compiled, err := compiler.Compile(location)
	if err != nil {
		return nil, fmt.Errorf("compile the schema: %w", err)
	}
	return compiled, nil
}

// HasTrigger reports whether a trigger exists for an organization. All of them are everybody's.
func (c *Catalogue) HasTrigger(_, trigger string) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	_, ok := c.triggers[trigger]
	return ok
}

// CheckData implements core.Catalogue.
func (c *Catalogue) CheckData(trigger string, data json.RawMessage) (pointer, problem string, ok bool) {
	c.mu.RLock()
	schema := c.triggers[trigger]
	c.mu.RUnlock()
	if schema == nil {
		return "", "", true
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		return "", "must be JSON", false
	}
	if place, found := hugeNumber(value, nil); found {
		return pointerTo(place), "must be a number with an exponent from -308 to 308", false
	}
	var invalid *jsonschema.ValidationError
	if err := schema.Validate(value); errors.As(err, &invalid) {
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

// pointerTo writes a place as a JSON pointer (RFC 6901).
func pointerTo(place []string) string {
	var b strings.Builder
	for _, token := range place {
		b.WriteByte('/')
		b.WriteString(strings.NewReplacer("~", "~0", "/", "~1").Replace(token))
	}
	return b.String()
}

// describe names the first place, in depth, at which data breaks its schema.
func describe(invalid *jsonschema.ValidationError) (pointer, problem string) {
	for len(invalid.Causes) > 0 {
		invalid = invalid.Causes[0]
	}
	pointer = pointerTo(invalid.InstanceLocation)
	if missing, ok := invalid.ErrorKind.(*kind.Required); ok {
		return pointer, "must have " + strings.Join(missing.Missing, ", ")
	}
	return pointer, invalid.ErrorKind.LocalizedString(message.NewPrinter(language.English))
}
