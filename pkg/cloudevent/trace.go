package cloudevent

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"go.opentelemetry.io/otel/trace"
)

// Names of a trace context (https://www.w3.org/TR/trace-context/), as headers and as attributes of the extension
// "distributed tracing" of CloudEvents.
const (
	traceParent = "traceparent"
	traceState  = "tracestate"
)

// maxTrace is the greatest length of a header of a trace that is taken: what the recommendation asks everybody for.
const maxTrace = 512

// Trace returns the trace context of an event: that of the headers of its message, in upper or lower case, or else the one
// that the document itself has as attributes. Empty is what there is not, or is no such thing by the recommendation of the
// W3C: a state is none without its parent.
func Trace(header map[string][]string, document []byte) (parent, state string) {
	if parent = headerOf(header, traceParent); isTraceParent(parent) {
		return parent, validState(headerOf(header, traceState))
	}
	// Most documents do not say it, and are not read for it.
	if !bytes.Contains(document, []byte(traceParent)) {
		return "", ""
	}
	var said struct {
		Parent any `json:"traceparent"`
		State  any `json:"tracestate"`
	}
	if json.Unmarshal(document, &said) != nil {
		return "", ""
	}
	parent, _ = said.Parent.(string)
	if !isTraceParent(parent) {
		return "", ""
	}
	state, _ = said.State.(string)
	return parent, validState(state)
}

// headerOf returns a header whatever the case of its name: NATS keeps names as they were written, and HTTP libraries
// write them with capitals. Written in lower case it goes before all others.
func headerOf(header map[string][]string, name string) string {
	if values := header[name]; len(values) > 0 {
		return strings.Join(values, ",")
	}
	for _, other := range slices.Sorted(maps.Keys(header)) {
		if strings.EqualFold(other, name) && len(header[other]) > 0 {
			return strings.Join(header[other], ",")
		}
	}
	return ""
}

// isTraceParent reports whether a text is version, trace id, parent id and flags, as version 00 of the recommendation
// writes them. A later version may go on behind them.
func isTraceParent(text string) bool {
	const length = len("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
	if len(text) < length || len(text) > maxTrace || len(text) > length && (text[:2] == "00" || text[length] != '-') {
		return false
	}
	parts := strings.Split(text[:length], "-")
	if len(parts) != 4 || len(parts[0]) != 2 || len(parts[1]) != 32 || len(parts[2]) != 16 {
		return false
	}
	for _, part := range parts {
		if strings.Trim(part, "0123456789abcdef") != "" {
			return false
		}
	}
	return parts[0] != "ff" && strings.Trim(parts[1], "0") != "" && strings.Trim(parts[2], "0") != "" && isPrintable(text)
}

func isPrintable(text string) bool {
	return !strings.ContainsFunc(text, func(c rune) bool { return c < ' ' || c > '~' })
}

// validState returns a state if it is one.
func validState(text string) string {
	if _, err := trace.ParseTraceState(text); err != nil || len(text) > maxTrace {
		return ""
	}
	return text
}
