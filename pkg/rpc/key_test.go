package rpc_test

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/rpc"
)

func TestNewKey(t *testing.T) {
	t.Parallel()
	form := regexp.MustCompile(`^mwk_[0-9a-z]{16}_[0-9A-Za-z_-]{43}$`)
	seen := map[string]bool{}
	characters := map[rune]bool{}
	for range 200 {
		id, key, sum, err := rpc.NewKey()
		require.NoError(t, err)
		require.Regexp(t, form, key.Reveal())
		require.NotContains(t, fmt.Sprint(key), key.Reveal()[21:])
		require.False(t, seen[id] || seen[key.Reveal()])
		seen[id], seen[key.Reveal()] = true, true
		for _, c := range id {
			characters[c] = true
		}

		parsedID, parsedSum, ok := rpc.ParseKey(key.Reveal())
		require.True(t, ok)
		require.Equal(t, id, parsedID)
		require.Equal(t, sum, parsedSum)
		require.Equal(t, sha256.Sum256([]byte(key.Reveal()[21:])), sum)
	}
	require.Len(t, characters, 36, "ids use the whole alphabet")
}

func TestParseKeyOfAnotherForm(t *testing.T) {
	t.Parallel()
	_, key, _, err := rpc.NewKey()
	require.NoError(t, err)
	valid := key.Reveal()
	for _, text := range []string{
		"", "mwk_", valid[:len(valid)-1], valid + "A", valid + "=", " " + valid, valid + "\n", strings.ToUpper(valid[:4]) + valid[4:],
		"mwk-" + valid[4:], valid[:20] + "-" + valid[21:], valid[:4] + "A" + valid[5:], valid[:4] + "_" + valid[5:],
		valid[:30] + "+" + valid[31:], valid[:30] + "/" + valid[31:], valid[:30] + "\x00" + valid[31:],
		valid[:62] + "é", valid[:len(valid)-1] + "B", // bits that no 32 bytes have
	} {
		id, sum, ok := rpc.ParseKey(text)
		require.False(t, ok, text)
		require.Empty(t, id)
		require.Zero(t, sum)
	}
}

func FuzzParseKey(f *testing.F) {
	_, key, _, err := rpc.NewKey()
	require.NoError(f, err)
	for _, seed := range []string{key.Reveal(), "", "mwk_", "mwk_0123456789abcdef_" + strings.Repeat("A", 43), strings.Repeat("_", 64)} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		id, sum, ok := rpc.ParseKey(text)
		if !ok {
			require.Empty(t, id)
			require.Zero(t, sum)
			return
		}
		// There is one way to write a key, and it is the only one that is accepted.
		random, err := base64.RawURLEncoding.Strict().DecodeString(text[21:])
		require.NoError(t, err)
		require.Len(t, random, 32)
		require.Equal(t, text, "mwk_"+id+"_"+base64.RawURLEncoding.EncodeToString(random))
		require.Equal(t, sha256.Sum256([]byte(text[21:])), sum)
	})
}

func BenchmarkParseKey(b *testing.B) {
	_, key, _, err := rpc.NewKey()
	require.NoError(b, err)
	text := key.Reveal()
	b.ReportAllocs()
	for b.Loop() {
		if _, _, ok := rpc.ParseKey(text); !ok {
			b.Fatal("not a key")
		}
	}
}
