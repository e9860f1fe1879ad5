package webhook

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestVerifyVector(t *testing.T) {
	t.Parallel()

	v := verifier(t, []Secret{parse(t, vectorSecret)}, at(vectorTime()))
	require.NoError(t, v.Verify(headers(vectorID, vectorUnix, vectorSignature), []byte(vectorBody)))
}

func TestVerifyTolerance(t *testing.T) {
	t.Parallel()

	h := headers(vectorID, vectorUnix, vectorSignature)
	for name, c := range map[string]struct {
		after     time.Duration
		tolerance time.Duration
		want      error
	}{
		"at the old edge":       {5 * time.Minute, DefaultTolerance, nil},
		"past the old edge":     {5*time.Minute + 1, DefaultTolerance, ErrTimestampTooOld},
		"at the new edge":       {-5 * time.Minute, DefaultTolerance, nil},
		"past the new edge":     {-5*time.Minute - 1, DefaultTolerance, ErrTimestampTooNew},
		"own tolerance, inside": {time.Hour, time.Hour, nil},
		"own tolerance, old":    {2 * time.Second, time.Second, ErrTimestampTooOld},
		"own tolerance, new":    {-2 * time.Second, time.Second, ErrTimestampTooNew},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			v := verifier(t, []Secret{parse(t, vectorSecret)}, WithTolerance(c.tolerance), at(vectorTime().Add(c.after)))
			require.ErrorIs(t, v.Verify(h, []byte(vectorBody)), c.want)
		})
	}
}

func TestVerifyUsesTheClockOfTheMachineByDefault(t *testing.T) {
	t.Parallel()

	_, secret := fresh(t)
	now := time.Now()
	body := []byte(vectorBody)
	v := verifier(t, []Secret{secret})
	require.NoError(t, v.Verify(headers(vectorID, now.Unix(), signer(t, secret).Sign(vectorID, now, body)), body))
	old := now.Add(-6 * time.Minute)
	err := v.Verify(headers(vectorID, old.Unix(), signer(t, secret).Sign(vectorID, old, body)), body)
	require.ErrorIs(t, err, ErrTimestampTooOld)
}

func TestVerifyRefuses(t *testing.T) {
	t.Parallel()

	_, other := fresh(t)
	_, public := freshPair(t)
	foreign := signer(t, other).Sign(vectorID, vectorTime(), []byte(vectorBody))
	raw := strings.TrimPrefix(vectorSignature, "v1,")
	for name, c := range map[string]struct {
		change func(http.Header)
		body   string
		want   error
	}{
		"no id":               {func(h http.Header) { h.Del(HeaderID) }, vectorBody, ErrMissingHeader},
		"no timestamp":        {func(h http.Header) { h.Del(HeaderTimestamp) }, vectorBody, ErrMissingHeader},
		"no signature":        {func(h http.Header) { h.Del(HeaderSignature) }, vectorBody, ErrMissingHeader},
		"empty signature":     {func(h http.Header) { h.Set(HeaderSignature, "  ") }, vectorBody, ErrMissingHeader},
		"other body":          {func(http.Header) {}, vectorBody + " ", ErrNoMatch},
		"empty body":          {func(http.Header) {}, "", ErrNoMatch},
		"other id":            {func(h http.Header) { h.Set(HeaderID, vectorID+"x") }, vectorBody, ErrNoMatch},
		"other timestamp":     {func(h http.Header) { h.Set(HeaderTimestamp, "1614265331") }, vectorBody, ErrNoMatch},
		"other secret":        {func(h http.Header) { h.Set(HeaderSignature, foreign) }, vectorBody, ErrNoMatch},
		"no version":          {func(h http.Header) { h.Set(HeaderSignature, raw) }, vectorBody, ErrNoMatch},
		"other version":       {func(h http.Header) { h.Set(HeaderSignature, "v2,"+raw) }, vectorBody, ErrNoMatch},
		"asymmetric version":  {func(h http.Header) { h.Set(HeaderSignature, "v1a,"+raw) }, vectorBody, ErrNoMatch},
		"asymmetric nonsense": {func(h http.Header) { h.Set(HeaderSignature, "v1a,??? v1a,") }, vectorBody, ErrNoMatch},
		"no padding":          {func(h http.Header) { h.Set(HeaderSignature, strings.TrimRight(vectorSignature, "=")) }, vectorBody, ErrNoMatch},
		"cut signature":       {func(h http.Header) { h.Set(HeaderSignature, vectorSignature[:20]) }, vectorBody, ErrNoMatch},
		"empty v1":            {func(h http.Header) { h.Set(HeaderSignature, "v1,") }, vectorBody, ErrNoMatch},
		"id with a dot":       {func(h http.Header) { h.Set(HeaderID, "msg.1") }, vectorBody, ErrMalformedHeader},
		"long id":             {func(h http.Header) { h.Set(HeaderID, strings.Repeat("i", maxIDBytes+1)) }, vectorBody, ErrMalformedHeader},
		"many signatures": {func(h http.Header) {
			h.Set(HeaderSignature, strings.Repeat(foreign+" ", maxSignatures)+vectorSignature)
		}, vectorBody, ErrMalformedHeader},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			v := verifier(t, []Secret{parse(t, vectorSecret), public}, at(vectorTime()))
			h := headers(vectorID, vectorUnix, vectorSignature)
			c.change(h)
			err := v.Verify(h, []byte(c.body))
			require.ErrorIs(t, err, c.want)
			require.NotContains(t, err.Error(), vectorSignature)
		})
	}
}

func TestVerifyRefusesTimestampsThatAreNoPlainSeconds(t *testing.T) {
	t.Parallel()

	v := verifier(t, []Secret{parse(t, vectorSecret)}, at(vectorTime()))
	for _, timestamp := range []string{
		"+1614265330", "-1614265330", "01614265330", "1614265330.5", "1614265330 ", "0x60379b72", "1_614_265_330",
		"253402300800", "9223372036854775807", "99999999999999999999", "2021-02-25T15:02:10Z", "-",
	} {
		h := headers(vectorID, vectorUnix, vectorSignature)
		h.Set(HeaderTimestamp, timestamp)
		require.ErrorIs(t, v.Verify(h, []byte(vectorBody)), ErrMalformedHeader, timestamp)
	}
}

func TestVerifyFindsTheRightSignatureAmongOthers(t *testing.T) {
	t.Parallel()

	_, other := fresh(t)
	v := verifier(t, []Secret{other, parse(t, vectorSecret)}, at(vectorTime()))
	foreign := "v1," + base64.StdEncoding.EncodeToString(make([]byte, 32))
	for name, signature := range map[string]string{
		"first":             vectorSignature + " " + foreign,
		"last":              foreign + " v1a,AAAA v9,x " + vectorSignature,
		"with spare spaces": "  " + foreign + "   " + vectorSignature + " ",
	} {
		require.NoError(t, v.Verify(headers(vectorID, vectorUnix, signature), []byte(vectorBody)), name)
	}

	h := headers(vectorID, vectorUnix, foreign)
	h.Add(HeaderSignature, vectorSignature) // a second line of the same header
	require.NoError(t, v.Verify(h, []byte(vectorBody)))
}

func TestVerifyAsymmetric(t *testing.T) {
	t.Parallel()

	private, public := freshPair(t)
	_, stranger := freshPair(t)
	body := []byte(vectorBody)
	value := signer(t, private).Sign(vectorID, vectorTime(), body)

	v := verifier(t, []Secret{public}, at(vectorTime()))
	require.NoError(t, v.Verify(headers(vectorID, vectorUnix, value), body))
	require.ErrorIs(t, v.Verify(headers(vectorID, vectorUnix, value), []byte("{}")), ErrNoMatch)
	// Nobody may use the public key, which everybody knows, as if it were a symmetric one.
	require.ErrorIs(t, v.Verify(headers(vectorID, vectorUnix, strings.Replace(value, "v1a,", "v1,", 1)), body), ErrNoMatch)

	other := verifier(t, []Secret{stranger}, at(vectorTime()))
	require.ErrorIs(t, other.Verify(headers(vectorID, vectorUnix, value), body), ErrNoMatch)
}

func TestNewVerifierRefuses(t *testing.T) {
	t.Parallel()

	secret := parse(t, vectorSecret)
	_, err := NewVerifier(nil)
	require.ErrorIs(t, err, ErrNoSecret)
	_, err = NewVerifier([]Secret{secret, {}})
	require.ErrorIs(t, err, ErrNoSecret)
	_, err = NewVerifier([]Secret{secret}, WithTolerance(0))
	require.ErrorContains(t, err, "tolerance")
	_, err = NewVerifier([]Secret{secret}, WithTolerance(-time.Second))
	require.ErrorContains(t, err, "tolerance")
	_, err = NewVerifier([]Secret{secret}, WithClock(nil))
	require.ErrorContains(t, err, "clock")
	require.NotErrorIs(t, err, ErrNoSecret)
}
