package docs_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	subscriptionv1 "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
	"github.com/meetwire/meetwire/services/gateway/internal/docs"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// catalogue answers with one trigger, or fails, and waits for release when there is one.
type catalogue struct {
	calls   atomic.Int32
	schema  string
	fails   atomic.Bool
	release chan struct{}
}

// ListCatalogue implements docs.Catalogue.
func (c *catalogue) ListCatalogue(_ context.Context, _ string) (*subscriptionv1.ListCatalogueResponse, error) {
	n := c.calls.Add(1)
	if c.release != nil {
		<-c.release
	}
	if c.fails.Load() {
		return nil, errors.New("away")
	}
	return &subscriptionv1.ListCatalogueResponse{Entries: []*subscriptionv1.ListCatalogueResponse_Entry{
		{Trigger: "a.b", DisplayName: fmt.Sprintf("call %d", n), Schema: c.schema},
	}}, nil
}

// clock is a time that tests set.
type clock struct{ now atomic.Int64 }

func (c *clock) add(d time.Duration) { c.now.Add(int64(d)) }

func setup(t *testing.T, c *catalogue) (*docs.Handler, *clock) {
	t.Helper()
	at := &clock{}
	h, err := docs.New(c, func() time.Time { return time.Unix(1800000000, at.now.Load()).UTC() }, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	return h, at
}

func get(t *testing.T, h http.Handler, path string) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
	return w
}

func TestPageIsFreshAfterAMinute(t *testing.T) {
	t.Parallel()
	c := &catalogue{}
	h, at := setup(t, c)
	require.Contains(t, get(t, h, docs.Path).Body.String(), "call 1")
	at.add(time.Minute - 1)
	require.Contains(t, get(t, h, docs.Path).Body.String(), "call 1")
	at.add(1)
	require.Contains(t, get(t, h, docs.Path).Body.String(), "call 2")
	require.Contains(t, get(t, h, docs.Path+"?dialect=ace").Body.String(), "call 3", "each dialect has its own")

	at.add(time.Minute)
	c.fails.Store(true)
	require.Equal(t, http.StatusServiceUnavailable, get(t, h, docs.Path).Code)
	c.fails.Store(false)
	require.Contains(t, get(t, h, docs.Path).Body.String(), "call 5", "a failure is not kept")
}

// Many requests at once cost one call, also when the first who asked goes away.
func TestRequestsAtOnceShareACall(t *testing.T) {
	t.Parallel()
	c := &catalogue{release: make(chan struct{})}
	h, _ := setup(t, c)
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	all.Go(func() {
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, http.MethodGet, docs.Path, nil))
	})
	require.Eventually(t, func() bool { return c.calls.Load() == 1 }, 20*time.Second, time.Millisecond)
	cancel()
	for range 20 {
		all.Go(func() { get(t, h, docs.Path) })
	}
	close(c.release)
	all.Wait()
	require.EqualValues(t, 1, c.calls.Load())
	require.Contains(t, get(t, h, docs.Path).Body.String(), "call 1")
}

// A schema can be written so that it describes more than there is memory for.
func TestHostileSchemasEnd(t *testing.T) {
	t.Parallel()
	wide := `{"type":"object","$ref":"#/$defs/d0","$defs":{`
	for i := range 30 {
		wide += fmt.Sprintf(`"d%d":{"properties":{"a":{"$ref":"#/$defs/d%d"},"b":{"$ref":"#/$defs/d%d"}}},`, i, i+1, i+1)
	}
	wide += `"d30":{"type":"string"}}}`
	for name, schema := range map[string]string{
		"doubles with each level": wide,
		"refers to itself":        `{"$ref":"#","properties":{"a":{"$ref":"#"}}}`,
		"refers in a circle":      `{"$ref":"#/$defs/a","$defs":{"a":{"$ref":"#/$defs/b"},"b":{"$ref":"#/$defs/a"}}}`,
		"refers to nothing":       `{"$ref":"#/$defs/none","properties":{"a":{"$ref":"https://example.com/x"},"b":{"$ref":"#/properties/c/0"}}}`,
		"is deep":                 strings.Repeat(`{"properties":{"a":`, 90) + "{}" + strings.Repeat("}}", 90),
		"is deeper than allowed":  strings.Repeat(`[`, 10000) + strings.Repeat("]", 10000),
		"is in arrays":            strings.Repeat(`{"type":"array","items":`, 90) + "{}" + strings.Repeat("}", 90),
		"is no object":            `[1,"a",null]`,
		"is true":                 `true`,
		"is not JSON":             `{`,
		"has wrong types":         `{"type":7,"properties":[],"required":{"a":1},"allOf":{},"$ref":3,"enum":{},"items":3,"$defs":null}`,
		"is empty":                ``,
	} {
		h, _ := setup(t, &catalogue{schema: schema})
		w := get(t, h, docs.Path)
		require.Equal(t, http.StatusOK, w.Code, name)
		require.Less(t, w.Body.Len(), 1<<20, name)
	}
}

// Types and references in the ways that schemas can have them.
func TestFields(t *testing.T) {
	t.Parallel()
	h, _ := setup(t, &catalogue{schema: `{
		"$id": "https://example.com/a", "required": ["x"],
		"allOf": [{"properties": {"x": {"type": ["null", "string"], "format": "email", "title": "Titled."}}}],
		"properties": {
			"x": {"maxLength": 3},
			"by_id": {"$ref": "b#/$defs/c"}, "by_anchor": {"$ref": "#here"}, "by_pointer": {"$ref": "#/$defs/a~1b%20c"},
			"tuple": {"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}]},
			"map": {"type": "object", "additionalProperties": {"type": "number", "description": "Each."}},
			"choice": {"oneOf": [{"type": "string"}, {"type": "object", "required": ["y"], "properties": {"y": {"const": 7}}}]}
		},
		"$defs": {
			"b": {"$id": "b", "$defs": {"c": {"type": "boolean", "description": "By id."}}},
			"anchored": {"$anchor": "here", "type": "number", "description": "By anchor."},
			"a/b c": {"type": "integer", "description": "By pointer."}
		}}`})
	body := get(t, h, docs.Path).Body.String()
	for _, row := range []string{
		"<code>x</code></td><td>string (email) or null</td><td>yes</td><td>Titled.",
		"<code>by_id</code></td><td>boolean</td><td>no</td><td>By id.",
		"<code>by_anchor</code></td><td>number</td><td>no</td><td>By anchor.",
		"<code>by_pointer</code></td><td>integer</td><td>no</td><td>By pointer.",
		"<code>tuple</code></td><td>array of string or integer</td>",
		"<code>map.*</code></td><td>number</td><td>no</td><td>Each.",
		"<code>choice</code></td><td>string or object</td>",
		"<code>choice.y</code></td><td>number</td><td>no</td><td> <span class=\"values\">One of: <code>7</code>",
	} {
		require.Contains(t, body, row)
	}
}
