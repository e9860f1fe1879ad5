package seal_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"
	"github.com/tink-crypto/tink-go/v2/mac"
	"go.uber.org/goleak"

	"github.com/meetwire/meetwire/pkg/seal"
	"github.com/meetwire/meetwire/pkg/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const purpose = "organizations/acme/webhooks/w1#secret"

func newKeyset(t testing.TB) secret.String {
	t.Helper()
	keys, err := seal.GenerateKeyset()
	require.NoError(t, err)
	return keys
}

func newBox(t testing.TB, keys secret.String) *seal.Box {
	t.Helper()
	box, err := seal.New(keys)
	require.NoError(t, err)
	return box
}

func TestSealAndOpen(t *testing.T) {
	t.Parallel()
	keys := newKeyset(t)
	box := newBox(t, keys)
	for _, plaintext := range [][]byte{[]byte("whsec_hunter2"), {}, nil, bytes.Repeat([]byte{0}, 1<<20)} {
		sealed, err := box.Seal(plaintext, purpose)
		require.NoError(t, err)
		require.Len(t, sealed, len(plaintext)+33)
		if len(plaintext) > 0 {
			require.False(t, bytes.Contains(sealed, plaintext))
		}
		opened, err := newBox(t, keys).Open(sealed, purpose)
		require.NoError(t, err, "the keyset is all that another process needs")
		require.True(t, bytes.Equal(plaintext, opened))
	}
}

func TestSealNeverRepeatsItself(t *testing.T) {
	t.Parallel()
	box := newBox(t, newKeyset(t))
	seen := make(map[string]bool)
	for range 1000 {
		sealed, err := box.Seal([]byte("text"), purpose)
		require.NoError(t, err)
		require.False(t, seen[string(sealed)])
		seen[string(sealed)] = true
	}
	one, other := newKeyset(t), newKeyset(t)
	require.False(t, one.Equal(other))
}

func TestOpenRefuses(t *testing.T) {
	t.Parallel()
	box := newBox(t, newKeyset(t))
	sealed, err := box.Seal([]byte("whsec_hunter2"), purpose)
	require.NoError(t, err)

	refused := func(box *seal.Box, sealed []byte, associated, why string) {
		opened, err := box.Open(sealed, associated)
		require.Equal(t, seal.ErrOpen, err, why)
		require.Nil(t, opened, why)
	}
	refused(box, sealed, "organizations/other/webhooks/w1#secret", "another purpose")
	refused(box, sealed, "", "no purpose")
	refused(newBox(t, newKeyset(t)), sealed, purpose, "another keyset")
	refused(box, nil, purpose, "nothing")
	for i := range sealed {
		changed := bytes.Clone(sealed)
		changed[i] ^= 1
		refused(box, changed, purpose, fmt.Sprintf("byte %d changed", i))
		refused(box, sealed[:i], purpose, fmt.Sprintf("cut after %d bytes", i))
	}
}

func TestRotate(t *testing.T) {
	t.Parallel()
	oldKeys := newKeyset(t)
	newKeys, err := seal.Rotate(oldKeys)
	require.NoError(t, err)
	oldBox, box := newBox(t, oldKeys), newBox(t, newKeys)

	before, err := oldBox.Seal([]byte("before"), purpose)
	require.NoError(t, err)
	opened, err := box.Open(before, purpose)
	require.NoError(t, err, "older keys still open")
	require.Equal(t, "before", string(opened))

	after, err := box.Seal([]byte("after"), purpose)
	require.NoError(t, err)
	_, err = oldBox.Open(after, purpose)
	require.ErrorIs(t, err, seal.ErrOpen, "the new key seals")

	again, err := seal.Rotate(newKeys)
	require.NoError(t, err)
	for _, sealed := range [][]byte{before, after} {
		_, err = newBox(t, again).Open(sealed, purpose)
		require.NoError(t, err)
	}
}

func TestNewRefusesWhatIsNoKeyset(t *testing.T) {
	t.Parallel()
	handle, err := keyset.NewHandle(mac.HMACSHA256Tag256KeyTemplate())
	require.NoError(t, err)
	var macKeyset bytes.Buffer
	require.NoError(t, insecurecleartextkeyset.Write(handle, keyset.NewBinaryWriter(&macKeyset)))

	valid := newKeyset(t).Reveal()
	tests := map[string]string{
		"empty":                 "",
		"not base64":            "hunter2!",
		"not a keyset":          base64.StdEncoding.EncodeToString([]byte("hunter2")),
		"a truncated keyset":    valid[:len(valid)/2],
		"for another primitive": base64.StdEncoding.EncodeToString(macKeyset.Bytes()),
	}
	for name, keys := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := seal.New(secret.New(keys))
			require.Equal(t, seal.ErrKeyset, err)
			require.NotContains(t, err.Error(), "hunter2")
		})
	}
	_, err = seal.Rotate(secret.New("hunter2"))
	require.Equal(t, seal.ErrKeyset, err)
}

func TestNothingShowsTheKeys(t *testing.T) {
	t.Parallel()
	keys := newKeyset(t)
	box := newBox(t, keys)
	raw, err := base64.StdEncoding.DecodeString(keys.Reveal())
	require.NoError(t, err)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x"} {
		shown := fmt.Sprintf(verb, struct {
			keys secret.String
			box  *seal.Box
		}{keys, box})
		require.NotContains(t, shown, keys.Reveal())
		require.NotContains(t, shown, fmt.Sprintf("%x", raw[len(raw)-16:]))
	}
}

func FuzzOpen(f *testing.F) {
	box := newBox(f, newKeyset(f))
	sealed, err := box.Seal([]byte("text"), purpose)
	require.NoError(f, err)
	f.Add(sealed, purpose)
	f.Add([]byte{}, "")
	f.Add(sealed[:5], purpose)
	f.Fuzz(func(t *testing.T, input []byte, associated string) {
		opened, err := box.Open(input, associated)
		if bytes.Equal(input, sealed) && associated == purpose {
			require.NoError(t, err)
			require.Equal(t, "text", string(opened))
			return
		}
		require.ErrorIs(t, err, seal.ErrOpen)
	})
}

func FuzzNew(f *testing.F) {
	f.Add(newKeyset(f).Reveal())
	f.Add("")
	f.Fuzz(func(t *testing.T, keys string) {
		box, err := seal.New(secret.New(keys))
		if err != nil {
			require.ErrorIs(t, err, seal.ErrKeyset)
			return
		}
		sealed, err := box.Seal([]byte("text"), purpose)
		require.NoError(t, err, "a keyset that is accepted works")
		_, err = box.Open(sealed, purpose)
		require.NoError(t, err)
	})
}

func TestPruneKeepsThePrimaryKeyAlone(t *testing.T) {
	t.Parallel()
	old, err := seal.GenerateKeyset()
	require.NoError(t, err)
	rotated, err := seal.Rotate(old)
	require.NoError(t, err)
	before, err := newBox(t, old).Seal([]byte("text"), "for")
	require.NoError(t, err)
	after, err := newBox(t, rotated).Seal([]byte("text"), "for")
	require.NoError(t, err)

	pruned, err := seal.Prune(rotated)
	require.NoError(t, err)
	plaintext, err := newBox(t, pruned).Open(after, "for")
	require.NoError(t, err)
	require.Equal(t, "text", string(plaintext))
	_, err = newBox(t, pruned).Open(before, "for")
	require.ErrorIs(t, err, seal.ErrOpen)
	again, err := seal.Prune(pruned)
	require.NoError(t, err)
	require.Equal(t, pruned.Reveal(), again.Reveal(), "there is nothing left to remove")
	_, err = seal.Prune(secret.New("nonsense"))
	require.ErrorIs(t, err, seal.ErrKeyset)
}
