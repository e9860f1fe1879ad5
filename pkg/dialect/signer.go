package dialect

import (
	"time"

	"github.com/meetwire/meetwire/pkg/webhook"
)

// signer adds the headers of a signature.
type signer interface {
	sign(headers []Header, id string, at time.Time, body []byte) []Header
}

// newSigner makes what a dialect signs with.
func newSigner(c Config, traits Traits) (signer, error) {
	scheme, alone := webhook.BodySchemeOf(c.Name)
	switch {
	case len(c.Secrets) == 0 && traits.Secret.Required:
		return nil, ErrNoSecret
	case len(c.Secrets) == 0 && scheme.VersionHeader != "":
		return versionedSigner{scheme: scheme}, nil
	case len(c.Secrets) == 0:
		return noSigner{}, nil
	case !alone:
		return newListSigner(c.Secrets)
	}
	encoding := scheme.Encodings[0]
	if c.Options.SignatureEncoding != "" {
		encoding = webhook.Encoding(c.Options.SignatureEncoding)
	}
	s, err := webhook.NewBodySigner(c.Secrets[0], encoding)
	if err != nil {
		return nil, err
	}
	if scheme.VersionHeader != "" {
		return versionedSigner{scheme: scheme, signer: s}, nil
	}
	return bodySigner{header: scheme.Header, signer: s}, nil
}

// listSigner signs as the Standard Webhooks specification says, with every secret.
type listSigner struct{ signer *webhook.Signer }

func newListSigner(secrets []string) (signer, error) {
	parsed, err := webhook.ParseSecrets(secrets...)
	if err != nil {
		return nil, err
	}
	s, err := webhook.NewSigner(parsed...)
	if err != nil {
		return nil, err
	}
	return listSigner{signer: s}, nil
}

func (s listSigner) sign(headers []Header, id string, at time.Time, body []byte) []Header {
	return append(headers, Header{Name: webhook.HeaderSignature, Value: s.signer.Sign(id, at, body)})
}

// bodySigner signs the body alone.
type bodySigner struct {
	header string
	signer *webhook.BodySigner
}

func (s bodySigner) sign(headers []Header, _ string, _ time.Time, body []byte) []Header {
	return append(headers, Header{Name: s.header, Value: s.signer.Sign(body)})
}

// versionedSigner signs the body alone, and says in another header whether it did; without a secret it does not, and
// the signature is there but empty.
type versionedSigner struct {
	scheme webhook.BodyScheme
	signer *webhook.BodySigner
}

func (s versionedSigner) sign(headers []Header, _ string, _ time.Time, body []byte) []Header {
	version, signature := "0", ""
	if s.signer != nil {
		version, signature = "1", s.signer.Sign(body)
	}
	return append(headers,
		Header{Name: s.scheme.VersionHeader, Value: version}, Header{Name: s.scheme.Header, Value: signature})
}

// noSigner does not sign.
type noSigner struct{}

func (noSigner) sign(headers []Header, _ string, _ time.Time, _ []byte) []Header { return headers }

// signatureHeaders returns the headers of a dialect that signs the body alone.
func signatureHeaders(name Name) []string {
	scheme, _ := webhook.BodySchemeOf(name)
	if scheme.VersionHeader == "" {
		return []string{scheme.Header}
	}
	return []string{scheme.VersionHeader, scheme.Header}
}

// encodings returns those that a dialect that signs the body alone may use, its default first.
func encodings(name Name) []string {
	scheme, _ := webhook.BodySchemeOf(name)
	var names []string
	for _, encoding := range scheme.Encodings {
		names = append(names, string(encoding))
	}
	return names
}
