package cloudevent_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/meetwire/meetwire/pkg/cloudevent"
)

const (
	parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	other  = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"
	state  = "vendor=1,other@tenant=a b"
)

func TestTraceOfAMessage(t *testing.T) {
	t.Parallel()
	inside := func(attributes string) string { return `{"specversion":"1.0","id":"1",` + attributes + `}` }
	for name, c := range map[string]struct {
		header        map[string][]string
		document      string
		parent, state string
	}{
		"none":                  {nil, `{}`, "", ""},
		"lower case":            {map[string][]string{"traceparent": {parent}, "tracestate": {state}}, `{}`, parent, state},
		"as HTTP writes it":     {map[string][]string{"Traceparent": {parent}, "Tracestate": {state}}, `{}`, parent, state},
		"upper case":            {map[string][]string{"TRACEPARENT": {parent}, "TraceState": {state}}, `{}`, parent, state},
		"lower case goes first": {map[string][]string{"Traceparent": {other}, "traceparent": {parent}}, `{}`, parent, ""},
		"without a state":       {map[string][]string{"traceparent": {parent}}, `{}`, parent, ""},
		"a state alone":         {map[string][]string{"tracestate": {state}}, `{}`, "", ""},
		"a state in parts":      {map[string][]string{"traceparent": {parent}, "tracestate": {"a=1", "b=2"}}, `{}`, parent, "a=1,b=2"},
		"a state that is none":  {map[string][]string{"traceparent": {parent}, "tracestate": {"hello"}}, `{}`, parent, ""},
		"a state too long":      {map[string][]string{"traceparent": {parent}, "tracestate": {"a=" + strings.Repeat("x", 250) + ",b=" + strings.Repeat("x", 250) + ",c=" + strings.Repeat("x", 50)}}, `{}`, parent, ""},
		"two parents":           {map[string][]string{"traceparent": {parent, other}}, `{}`, "", ""},
		"in the document":       {nil, inside(`"traceparent":"` + parent + `","tracestate":"a=1"`), parent, "a=1"},
		"in both":               {map[string][]string{"traceparent": {parent}}, inside(`"traceparent":"` + other + `","tracestate":"a=1"`), parent, ""},
		"a header that is none": {map[string][]string{"traceparent": {"hello"}, "tracestate": {"b=2"}}, inside(`"traceparent":"` + parent + `"`), parent, ""},
		"in the data only":      {nil, inside(`"data":{"traceparent":"` + parent + `"}`), "", ""},
		"no text":               {nil, inside(`"traceparent":5`), "", ""},
		"null":                  {nil, inside(`"traceparent":null`), "", ""},
		"no document":           {nil, `traceparent`, "", ""},
	} {
		gotParent, gotState := cloudevent.Trace(c.header, []byte(c.document))
		require.Equal(t, []string{c.parent, c.state}, []string{gotParent, gotState}, name)
	}
}

func TestTraceByItsGrammar(t *testing.T) {
	t.Parallel()
	for text, ok := range map[string]bool{
		parent: true, other: true, "00" + parent[2:53] + "ff": true, "cc" + parent[2:]: true, "cc" + parent[2:] + "-what-comes": true,
		"": false, "hello": false, "00-aa-bb-01": false, "ff" + parent[2:]: false, parent + "-": false, parent + "-01": false,
		"cc" + parent[2:] + "x": false, "cc" + parent[2:] + "-ü": false, "cc" + parent[2:] + "-\r\nX: y": false,
		"cc" + parent[2:] + "-" + strings.Repeat("x", 500): false, strings.ToUpper(parent): false, " " + parent: false,
		"00-" + strings.Repeat("0", 32) + parent[35:]: false, parent[:36] + strings.Repeat("0", 16) + "-01": false,
		strings.ReplaceAll(parent, "-", "_"): false, "00-0af7651916cd43dd8448eb211c80319-cb7ad6b7169203331-01": false,
		"00-0af7651916cd43dd8448eb211c80319g-b7ad6b7169203331-01": false,
	} {
		got, _ := cloudevent.Trace(map[string][]string{"traceparent": {text}}, nil)
		require.Equal(t, ok, got != "", "%q", text)
	}
}

// What OpenTelemetry writes is taken.
func TestTraceOfOpenTelemetry(t *testing.T) {
	t.Parallel()
	kept, err := trace.ParseTraceState("vendor=abc,other=1")
	require.NoError(t, err)
	ctx := trace.ContextWithSpanContext(t.Context(), trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled, TraceState: kept,
	}))
	header := http.Header{}
	propagation.TraceContext{}.Inject(ctx, propagation.HeaderCarrier(header))
	require.Contains(t, header, "Traceparent")
	gotParent, gotState := cloudevent.Trace(header, nil)
	require.Equal(t, header.Get("traceparent"), gotParent)
	require.Equal(t, "vendor=abc,other=1", gotState)
}
