package core

import (
	"strings"

	"github.com/meetwire/meetwire/pkg/fault"
)

// Dialect is what the rules need to know of a family of receivers.
type Dialect struct {
	Name               string
	HTTPAllowed        bool // its targets may be called without TLS though the organization does not allow it
	HTTPSOnly          bool // they may not, also when the organization allows it
	SecretRequired     bool
	OrganizationSecret bool // a new webhook uses the organization's secret unless it is given its own
	ManySignatures     bool // all valid secrets sign; else one does
	HasClientID        bool // DialectOptions.ClientID is sent
	Retry              Preset
	Failures           FailureThreshold // of a webhook that says nothing
}

// DialectOptions is what a dialect leaves open.
type DialectOptions struct {
	SignatureEncoding string // base64 or hex; empty: the dialect's
	ClientID          int64  // 0: the organization's
}

// Dialects knows the families of receivers.
type Dialects interface {
	// Names returns their names, the default first.
	Names() []string
	// Dialect returns one, and false when there is none of that name.
	Dialect(name string) (Dialect, bool)
	// CheckOptions returns what is wrong with the options of a webhook, with paths within the options.
	CheckOptions(dialect string, options DialectOptions) []fault.Field
	// CheckSecret returns what is wrong with a signing secret, without showing it; empty: nothing.
	CheckSecret(dialect, secret string) (problem string)
	// NewSecret returns a new random signing secret. Its error is one of the random source.
	NewSecret(dialect string) (string, error)
}

// findDialect returns a dialect, or what is wrong with its name.
func findDialect(path, name string, dialects Dialects) (Dialect, []fault.Field) {
	dialect, ok := dialects.Dialect(name)
	if !ok {
		return Dialect{}, field(path, ruleOneOf, "must be one of %s", strings.Join(dialects.Names(), ", "))
	}
	return dialect, nil
}
