package aip

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/meetwire/meetwire/pkg/fault"
)

// Sizes of a page, in results.
const (
	DefaultPageSize = 50
	MaxPageSize     = 1000
)

// maxTokenLength bounds what is decoded, in characters.
const maxTokenLength = 4096

// PageSize returns how many results a page has: what was requested, at most 1,000, and 50 when nothing was.
func PageSize(requested int32) int {
	if requested <= 0 {
		return DefaultPageSize
	}
	return min(int(requested), MaxPageSize)
}

// pageToken is what a token carries.
type pageToken struct {
	// Cursor says where the next page begins.
	Cursor json.RawMessage `json:"cursor"`
	// Sum is a hash of the request that the token continues, and of the cursor.
	Sum []byte `json:"sum"`
}

// EncodeToken makes the token with which a request for the next page continues where the cursor, any value that
// JSON can carry, stands. It is bound to the other fields of the request: with another parent or filter it is
// refused. It hides and proves nothing: anybody can read it, and who takes the trouble can make one. So the
// cursor must hold nothing secret, and nothing that access depends on.
func EncodeToken(request proto.Message, cursor any) (string, error) {
	raw, err := json.Marshal(cursor)
	if err != nil {
		return "", fmt.Errorf("encode the page token's cursor: %w", err)
	}
	sum, err := tokenSum(request, raw)
	if err != nil {
		return "", err
	}
	token, err := json.Marshal(pageToken{Cursor: raw, Sum: sum})
	if err != nil {
		return "", fmt.Errorf("encode the page token: %w", err)
	}
	return base64.RawURLEncoding.EncodeToString(token), nil
}

// DecodeToken reads the cursor from a token into the value that cursor points to, and leaves it alone when the
// token is empty: then the list begins. A token of another request, a damaged one, or one that does not fit the
// cursor is a fault.InvalidArgument of the field page_token, and then the value may have changed.
func DecodeToken(request proto.Message, token string, cursor any) error {
	if token == "" {
		return nil
	}
	if len(token) > maxTokenLength {
		return invalidToken()
	}
	text, err := base64.RawURLEncoding.Strict().DecodeString(token)
	if err != nil {
		return invalidToken()
	}
	var decoded pageToken
	if err := decodeStrictly(text, &decoded); err != nil {
		return invalidToken()
	}
	sum, err := tokenSum(request, decoded.Cursor)
	if err != nil {
		return err
	}
	if !bytes.Equal(sum, decoded.Sum) {
		return invalidToken()
	}
	if err := decodeStrictly(decoded.Cursor, cursor); err != nil {
		return invalidToken()
	}
	return nil
}

func invalidToken() error {
	return fault.Invalid(fault.Field{
		Path: "page_token", Rule: "page_token",
		Message: "must be the next_page_token of an answer to the same request; only page_size may differ",
	})
}

// decodeStrictly decodes exactly one JSON value without unknown fields.
func decodeStrictly(text []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return fmt.Errorf("decode JSON: %w", err)
	}
	if _, err := decoder.Token(); !errors.Is(err, io.EOF) {
		return errors.New("more than one JSON value")
	}
	return nil
}

// tokenSum hashes a request without the fields in which the requests of one list differ, and a cursor. 16 bytes
// are enough: it keeps mistakes out, not attackers.
func tokenSum(request proto.Message, cursor []byte) ([]byte, error) {
	rest := proto.Clone(request).ProtoReflect()
	fields := rest.Descriptor().Fields()
	for _, name := range []protoreflect.Name{"page_token", "page_size"} {
		if field := fields.ByName(name); field != nil {
			rest.Clear(field)
		}
	}
	text, err := proto.MarshalOptions{Deterministic: true}.Marshal(rest.Interface())
	if err != nil {
		return nil, fmt.Errorf("encode the request of a page token: %w", err)
	}
	hash := sha256.New()
	for _, part := range [][]byte{[]byte(rest.Descriptor().FullName()), text, cursor} {
		sum := sha256.Sum256(part) // of a fixed length, so that the parts cannot be shifted against each other
		hash.Write(sum[:])
	}
	return hash.Sum(nil)[:16], nil
}
