// Package secret owns the type for values that must not be seen: whatever prints, logs or encodes one shows
// REDACTED. It keeps no secrets itself and encrypts nothing.
package secret

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"log/slog"
	"strconv"
	"unique"
)

const redacted = "REDACTED"

// String is a text that must not be seen. Its zero value is the empty text. Two of them are == when their texts
// are, but code that decides about access compares with Equal.
type String struct {
	// Package fmt walks into unexported fields of structs without asking them for their methods, and would
	// print a plain string there. Of a handle it can only print an address.
	value unique.Handle[string]
}

// New hides a text.
func New(text string) String {
	if text == "" {
		return String{}
	}
	return String{value: unique.Make(text)}
}

// Reveal returns the text itself.
func (s String) Reveal() string {
	if s.IsZero() {
		return ""
	}
	return s.value.Value()
}

// IsZero reports whether the text is empty.
func (s String) IsZero() bool { return s == String{} }

// Equal compares in a time that does not depend on where the texts differ.
func (s String) Equal(other String) bool {
	a, b := sha256.Sum256([]byte(s.Reveal())), sha256.Sum256([]byte(other.Reveal()))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

// String returns REDACTED, or nothing when there is nothing to hide.
func (s String) String() string {
	if s.IsZero() {
		return ""
	}
	return redacted
}

// GoString implements fmt.GoStringer.
func (s String) GoString() string { return strconv.Quote(s.String()) }

// Format implements fmt.Formatter: no verb and no flag shows the text.
func (s String) Format(f fmt.State, verb rune) {
	shown := s.String()
	if verb == 'q' || verb == 'v' && f.Flag('#') {
		shown = s.GoString()
	}
	// Package fmt ignores what a Formatter cannot write and returns the error to its own caller.
	_, _ = f.Write([]byte(shown))
}

// LogValue implements slog.LogValuer.
func (s String) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText implements encoding.TextMarshaler.
func (s String) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// MarshalJSON implements json.Marshaler.
func (s String) MarshalJSON() ([]byte, error) { return json.Marshal(s.String()) }

// UnmarshalText implements encoding.TextUnmarshaler: flags, environment variables and JSON strings are read with
// it. It takes any text and never fails, so no error can quote the text.
func (s *String) UnmarshalText(text []byte) error {
	*s = New(string(text))
	return nil
}
