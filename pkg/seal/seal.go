// Package seal owns the encryption of what is secret at rest: authenticated encryption with associated data
// (AES-256-GCM by Tink) under a keyset that comes from the configuration. It stores nothing, and its errors show
// neither keys nor texts.
package seal

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/tink"

	"github.com/meetwire/meetwire/pkg/secret"
)

var (
	// ErrKeyset means that a text is not a keyset of this package.
	ErrKeyset = errors.New("not a keyset: want the base64 of a binary Tink keyset for AEAD")
	// ErrOpen means that something was sealed under another keyset or for another purpose, or was changed.
	ErrOpen = errors.New("cannot open: sealed with another key or for another purpose, or damaged")
)

// Box seals and opens. It may be used by many goroutines at once.
type Box struct{ aead tink.AEAD }

// GenerateKeyset returns a new keyset with one key: the base64 of a Tink keyset in its binary form, in clear
// text. Whoever has it can open everything that was sealed with it.
func GenerateKeyset() (secret.String, error) {
	handle, err := keyset.NewHandle(aead.AES256GCMKeyTemplate())
	if err != nil {
		return secret.String{}, fmt.Errorf("make a key: %w", err)
	}
	return encode(handle)
}

// Rotate returns the keyset with one more key, which seals from now on; the older ones still open. Every process
// must have the new keyset before anything that was sealed with it can be opened there.
func Rotate(old secret.String) (secret.String, error) {
	handle, err := decode(old)
	if err != nil {
		return secret.String{}, err
	}
	manager := keyset.NewManagerFromHandle(handle)
	id, err := manager.Add(aead.AES256GCMKeyTemplate())
	if err != nil {
		return secret.String{}, fmt.Errorf("add a key: %w", err)
	}
	if err := manager.SetPrimary(id); err != nil {
		return secret.String{}, fmt.Errorf("make the new key the primary one: %w", err)
	}
	handle, err = manager.Handle()
	if err != nil {
		return secret.String{}, fmt.Errorf("make a keyset: %w", err)
	}
	return encode(handle)
}

// Prune returns the keyset with its primary key alone: for when everything was sealed anew with that.
func Prune(old secret.String) (secret.String, error) {
	handle, err := decode(old)
	if err != nil {
		return secret.String{}, err
	}
	manager := keyset.NewManagerFromHandle(handle)
	for i := range handle.Len() {
		entry, err := handle.Entry(i)
		if err != nil {
			return secret.String{}, fmt.Errorf("look at a key: %w", err)
		}
		if entry.IsPrimary() {
			continue
		}
		if err := manager.Delete(entry.KeyID()); err != nil {
			return secret.String{}, fmt.Errorf("remove a key: %w", err)
		}
	}
	if handle, err = manager.Handle(); err != nil {
		return secret.String{}, fmt.Errorf("make a keyset: %w", err)
	}
	return encode(handle)
}

// New makes a box from a keyset of GenerateKeyset or Rotate. Its error is ErrKeyset.
func New(keys secret.String) (*Box, error) {
	handle, err := decode(keys)
	if err != nil {
		return nil, err
	}
	primitive, err := aead.New(handle)
	if err != nil {
		return nil, ErrKeyset // a keyset for something else than AEAD
	}
	return &Box{aead: primitive}, nil
}

// Seal encrypts a text for a purpose. The associated text names the purpose, say a resource and its field; it is
// not in the result, and the same one is needed to open it, so that a sealed text is worthless in another place.
// Sealing one text twice gives two different results, 33 bytes longer than the text.
func (b *Box) Seal(plaintext []byte, associated string) ([]byte, error) {
	sealed, err := b.aead.Encrypt(plaintext, []byte(associated))
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	return sealed, nil
}

// Open returns the text that Seal was given together with the same associated text. Its error is ErrOpen.
func (b *Box) Open(sealed []byte, associated string) ([]byte, error) {
	plaintext, err := b.aead.Decrypt(sealed, []byte(associated))
	if err != nil {
		return nil, ErrOpen // the cause says nothing more, on purpose: it would help to forge
	}
	return plaintext, nil
}

func encode(handle *keyset.Handle) (secret.String, error) {
	var binary bytes.Buffer
	if err := insecurecleartextkeyset.Write(handle, keyset.NewBinaryWriter(&binary)); err != nil {
		return secret.String{}, fmt.Errorf("encode the keyset: %w", err)
	}
	return secret.New(base64.StdEncoding.EncodeToString(binary.Bytes())), nil
}

// decode hides the causes of its failures: they could quote the keyset.
func decode(keys secret.String) (*keyset.Handle, error) {
	binary, err := base64.StdEncoding.DecodeString(keys.Reveal())
	if err != nil {
		return nil, ErrKeyset
	}
	handle, err := insecurecleartextkeyset.Read(keyset.NewBinaryReader(bytes.NewReader(binary)))
	if err != nil {
		return nil, ErrKeyset
	}
	return handle, nil
}
