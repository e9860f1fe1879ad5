package webhook

import (
	"bytes"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestSignVector(t *testing.T) {
	t.Parallel()

	s := signer(t, parse(t, vectorSecret))
	for range 3 { // the first call makes the hash, the others reuse it
		require.Equal(t, vectorSignature, s.Sign(vectorID, vectorTime(), []byte(vectorBody)))
	}
}

func TestSignCountsWholeSeconds(t *testing.T) {
	t.Parallel()

	s := signer(t, parse(t, vectorSecret))
	late := vectorTime().Add(999 * time.Millisecond).In(time.FixedZone("", 3600))
	require.Equal(t, vectorSignature, s.Sign(vectorID, late, []byte(vectorBody)))
}

func TestSignWithSeveralSecrets(t *testing.T) {
	t.Parallel()

	_, older := fresh(t)
	newer := parse(t, vectorSecret)
	private, public := freshPair(t)
	body := []byte(vectorBody)

	value := signer(t, newer, older, private).Sign(vectorID, vectorTime(), body)
	parts := strings.Split(value, " ")
	require.Len(t, parts, 3)
	require.Equal(t, vectorSignature, parts[0])
	require.Equal(t, signer(t, older).Sign(vectorID, vectorTime(), body), parts[1])
	require.True(t, strings.HasPrefix(parts[2], "v1a,"))

	for name, secret := range map[string]Secret{"newer": newer, "older": older, "public": public, "private": private} {
		v := verifier(t, []Secret{secret}, at(vectorTime()))
		require.NoError(t, v.Verify(headers(vectorID, vectorUnix, value), body), name)
	}
}

func TestSignFromManyGoroutines(t *testing.T) {
	t.Parallel()

	s := signer(t, parse(t, vectorSecret))
	other := bytes.Repeat([]byte("x"), 10_000)
	want := signer(t, parse(t, vectorSecret)).Sign("other", vectorTime(), other)

	var wg sync.WaitGroup
	results := make([][]string, 16)
	for i := range results {
		wg.Go(func() {
			for j := range 200 {
				if j%2 == 0 {
					results[i] = append(results[i], s.Sign(vectorID, vectorTime(), []byte(vectorBody)))
				} else {
					results[i] = append(results[i], s.Sign("other", vectorTime(), other))
				}
			}
		})
	}
	wg.Wait()
	for _, signatures := range results {
		for j, signature := range signatures {
			require.Equal(t, []string{vectorSignature, want}[j%2], signature)
		}
	}
}

func TestSignKeepsNoLargeBuffer(t *testing.T) {
	t.Parallel()

	secret := parse(t, vectorSecret)
	s := signer(t, secret)
	s.Sign(strings.Repeat("i", 2*maxKeptPrefix), vectorTime(), nil)
	require.Nil(t, secret.key.symmetric.idle.Load().prefix)
	require.Equal(t, vectorSignature, s.Sign(vectorID, vectorTime(), []byte(vectorBody)))
}

// Not parallel: AllocsPerRun counts the allocations of all goroutines.
func TestSignAllocatesOnlyItsResult(t *testing.T) {
	s := signer(t, parse(t, vectorSecret))
	body := bytes.Repeat([]byte("x"), 1024)
	allocations := testing.AllocsPerRun(100, func() { s.Sign(vectorID, vectorTime(), body) })
	require.LessOrEqual(t, allocations, 1.0)
}

func TestNewSignerRefuses(t *testing.T) {
	t.Parallel()

	_, err := NewSigner()
	require.ErrorIs(t, err, ErrNoSecret)
	_, err = NewSigner(parse(t, vectorSecret), Secret{})
	require.ErrorIs(t, err, ErrNoSecret)
	_, public := freshPair(t)
	require.False(t, public.CanSign())
	_, err = NewSigner(public)
	require.ErrorIs(t, err, ErrPublicKey)
}

func BenchmarkSign(b *testing.B) {
	for _, size := range []struct {
		name  string
		bytes int
	}{{"1KiB", 1 << 10}, {"16KiB", 16 << 10}, {"256KiB", 256 << 10}} {
		body := bytes.Repeat([]byte("x"), size.bytes)
		b.Run(size.name, func(b *testing.B) {
			s := signer(b, parse(b, vectorSecret))
			b.SetBytes(int64(size.bytes))
			b.ReportAllocs()
			for b.Loop() {
				s.Sign(vectorID, vectorTime(), body)
			}
		})
	}
}

func BenchmarkSignParallel(b *testing.B) {
	s := signer(b, parse(b, vectorSecret))
	body := bytes.Repeat([]byte("x"), 1<<10)
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			s.Sign(vectorID, vectorTime(), body)
		}
	})
}

func BenchmarkSignTwoSecrets(b *testing.B) {
	_, older := fresh(b)
	s := signer(b, parse(b, vectorSecret), older)
	body := bytes.Repeat([]byte("x"), 1<<10)
	b.ReportAllocs()
	for b.Loop() {
		s.Sign(vectorID, vectorTime(), body)
	}
}

func BenchmarkVerify(b *testing.B) {
	body := bytes.Repeat([]byte("x"), 1<<10)
	secret := parse(b, vectorSecret)
	v := verifier(b, []Secret{secret}, at(vectorTime()))
	h := headers(vectorID, vectorUnix, signer(b, secret).Sign(vectorID, vectorTime(), body))
	b.ReportAllocs()
	for b.Loop() {
		if err := v.Verify(h, body); err != nil {
			b.Fatal(err)
		}
	}
}
