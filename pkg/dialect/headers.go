package dialect

import (
	"slices"
	"strings"
)

// ReservedHeaders returns the names, in lower case, of the headers that a webhook must not have among its own: those
// that dialects send, those that frame a request or belong to one connection, and those that only Meetwire may send. A
// name that ends in `*` stands for all that begin so. They are reserved for every dialect, since a webhook can change
// from one to another.
func ReservedHeaders() []string {
	names := []string{
		"accept-encoding", "ce-*", "connection", "content-encoding", "content-length", "content-type", "expect", "host",
		"http2-settings", "keep-alive", "meetwire-*", "proxy-*", "te", "traceparent", "tracestate", "trailer",
		"transfer-encoding", "upgrade", "user-agent", "webhook-*",
	}
	for _, d := range all() {
		for _, header := range d.Traits().SignatureHeaders {
			if name := strings.ToLower(header); !covered(names, name) {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return names
}

// IsReservedHeader says whether ReservedHeaders has a name, however it is spelled. An underscore is as good as a dash:
// a program that gets headers as CGI has them reads both as HTTP_X_ACE_SIGNATURE.
func IsReservedHeader(name string) bool {
	return covered(ReservedHeaders(), strings.ReplaceAll(strings.ToLower(name), "_", "-"))
}

// covered says whether one of the patterns has a name.
func covered(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool {
		if prefix, ok := strings.CutSuffix(pattern, "*"); ok {
			return strings.HasPrefix(name, prefix)
		}
		return pattern == name
	})
}
