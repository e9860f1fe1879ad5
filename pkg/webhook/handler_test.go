package webhook

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"
)

const booked = `{"type":"meeting.booked","timestamp":"2026-03-01T10:00:00.25+01:00","data":{"id":"m1"}}`

// endpoint is a receiver and what it got.
type endpoint struct {
	handler  http.Handler
	signer   *Signer
	now      time.Time
	messages []Message
	errors   []error
	fail     error // what its function returns
}

func setup(t *testing.T, maxBytes int64) *endpoint {
	t.Helper()
	_, secret := fresh(t)
	e := &endpoint{signer: signer(t, secret), now: time.Unix(1_800_000_000, 0)}
	e.handler = Handler(verifier(t, []Secret{secret}, at(e.now)), maxBytes,
		func(_ context.Context, m Message) error {
			e.messages = append(e.messages, m)
			return e.fail
		},
		OnError(func(_ *http.Request, err error) { e.errors = append(e.errors, err) }))
	return e
}

// request makes a signed request.
func (e *endpoint) request(t *testing.T, body string) *http.Request {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/webhooks", strings.NewReader(body))
	r.Header = headers("id-1", e.now.Unix(), e.signer.Sign("id-1", e.now, []byte(body)))
	return r
}

func (e *endpoint) send(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	e.handler.ServeHTTP(w, r)
	return w
}

func TestHandlerPassesTheMessageOn(t *testing.T) {
	t.Parallel()

	e := setup(t, 0)
	r := e.request(t, booked)
	r.Header.Set(HeaderEventSequence, "4711")
	w := e.send(r)

	require.Equal(t, http.StatusNoContent, w.Code)
	require.Empty(t, e.errors)
	require.Equal(t, []Message{{
		ID:            "id-1",
		Timestamp:     e.now.UTC(),
		EventSequence: 4711,
		Type:          "meeting.booked",
		Time:          time.Date(2026, 3, 1, 9, 0, 0, 250_000_000, time.UTC),
		Data:          json.RawMessage(`{"id":"m1"}`),
		Raw:           []byte(booked),
	}}, e.messages)
}

func TestHandlerReadsCloudEvents(t *testing.T) {
	t.Parallel()

	e := setup(t, 0)
	w := e.send(e.request(t, `{"specversion":"1.0","id":"1","source":"/s","type":"meeting.canceled","time":"2026-03-01T10:00:00Z","data":[1]}`))

	require.Equal(t, http.StatusNoContent, w.Code)
	require.Len(t, e.messages, 1)
	require.Equal(t, "meeting.canceled", e.messages[0].Type)
	require.Equal(t, time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC), e.messages[0].Time)
	require.JSONEq(t, `[1]`, string(e.messages[0].Data))
}

func TestHandlerTakesWhatIsNotThere(t *testing.T) {
	t.Parallel()

	e := setup(t, 0)
	w := e.send(e.request(t, `{"type":"ping"}`))

	require.Equal(t, http.StatusNoContent, w.Code)
	require.Len(t, e.messages, 1)
	require.True(t, e.messages[0].Time.IsZero())
	require.Nil(t, e.messages[0].Data)
	require.Zero(t, e.messages[0].EventSequence)
}

func TestHandlerRefuses(t *testing.T) {
	t.Parallel()

	keep := func(*http.Request) {}
	for name, c := range map[string]struct {
		body   string
		change func(*http.Request)
		status int
		want   error
		answer string
	}{
		"GET":               {booked, func(r *http.Request) { r.Method = http.MethodGet }, 405, nil, "a webhook is a POST"},
		"no header":         {booked, func(r *http.Request) { r.Header.Del(HeaderSignature) }, 401, ErrMissingHeader, "missing webhook header: webhook-signature"},
		"odd timestamp":     {booked, func(r *http.Request) { r.Header.Set(HeaderTimestamp, "now") }, 401, ErrMalformedHeader, "webhook-timestamp"},
		"old":               {booked, func(r *http.Request) { r.Header.Set(HeaderTimestamp, "1700000000") }, 401, ErrTimestampTooOld, "too old"},
		"new":               {booked, func(r *http.Request) { r.Header.Set(HeaderTimestamp, "1900000000") }, 401, ErrTimestampTooNew, "too new"},
		"other id":          {booked, func(r *http.Request) { r.Header.Set(HeaderID, "id-2") }, 401, ErrNoMatch, "no webhook signature matches"},
		"no JSON":           {`{"type":`, keep, 400, ErrMalformedMessage, "decode the body"},
		"empty":             {``, keep, 400, ErrMalformedMessage, "decode the body"},
		"no object":         {`[]`, keep, 400, ErrMalformedMessage, "decode the body"},
		"no type":           {`{"test":2432232314}`, keep, 400, ErrMalformedMessage, "the body has no type"},
		"odd time":          {`{"type":"a.b","timestamp":"yesterday"}`, keep, 400, ErrMalformedMessage, "RFC 3339"},
		"odd sequence":      {booked, func(r *http.Request) { r.Header.Set(HeaderEventSequence, "1.5") }, 400, ErrMalformedMessage, HeaderEventSequence},
		"negative sequence": {booked, func(r *http.Request) { r.Header.Set(HeaderEventSequence, "-1") }, 400, ErrMalformedMessage, HeaderEventSequence},
		"large, announced":  {`{"type":"` + strings.Repeat("x", 1000) + `"}`, keep, 413, ErrTooLarge, "at most 512 bytes"},
		"large, a surprise": {`{"type":"` + strings.Repeat("x", 1000) + `"}`, func(r *http.Request) { r.ContentLength = -1 }, 413, ErrTooLarge, "at most 512 bytes"},
		"broken off": {booked, func(r *http.Request) {
			r.Body = io.NopCloser(iotest.ErrReader(errors.New("read tcp 10.1.2.3:80: timeout")))
		}, 400, errUnreadable, "cannot be read"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			e := setup(t, 512)
			r := e.request(t, c.body)
			c.change(r)
			w := e.send(r)

			require.Equal(t, c.status, w.Code)
			require.Contains(t, w.Body.String(), c.answer)
			require.NotContains(t, w.Body.String(), "10.1.2.3")
			require.Empty(t, e.messages)
			require.Len(t, e.errors, 1)
			if c.want != nil {
				require.ErrorIs(t, e.errors[0], c.want)
			}
		})
	}
}

func TestHandlerReadsNothingWithoutCredibleHeaders(t *testing.T) {
	t.Parallel()

	e := setup(t, 0)
	r := e.request(t, booked)
	r.Header.Set(HeaderTimestamp, "1700000000")
	body := strings.NewReader(booked)
	r.Body = io.NopCloser(body)

	require.Equal(t, http.StatusUnauthorized, e.send(r).Code)
	require.Equal(t, len(booked), body.Len())
}

func TestHandlerLimits(t *testing.T) {
	t.Parallel()

	e := setup(t, int64(len(booked)))
	require.Equal(t, http.StatusNoContent, e.send(e.request(t, booked)).Code)
	require.Equal(t, http.StatusRequestEntityTooLarge, e.send(e.request(t, booked+" ")).Code)

	e = setup(t, 0)
	fill := func(n int) string { return booked + strings.Repeat(" ", n-len(booked)) }
	require.Equal(t, http.StatusNoContent, e.send(e.request(t, fill(DefaultMaxBytes))).Code)
	require.Equal(t, http.StatusRequestEntityTooLarge, e.send(e.request(t, fill(DefaultMaxBytes+1))).Code)
}

func TestHandlerAnswersForItsFunction(t *testing.T) {
	t.Parallel()

	secret := errors.New("dial tcp 10.1.2.3:5432: refused")
	for name, c := range map[string]struct {
		err        error
		status     int
		retryAfter string
	}{
		"any error":       {secret, 500, ""},
		"gone":            {&StatusError{Status: 410, Err: secret}, 410, ""},
		"busy":            {errors.Join(&StatusError{Status: 429, RetryAfter: 1500 * time.Millisecond}), 429, "2"},
		"no such failure": {&StatusError{Status: 200, Err: secret}, 500, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			e := setup(t, 0)
			e.fail = c.err
			w := e.send(e.request(t, booked))
			require.Equal(t, c.status, w.Code)
			require.Equal(t, c.retryAfter, w.Header().Get("Retry-After"))
			require.NotContains(t, w.Body.String(), "10.1.2.3")
			require.Len(t, e.errors, 1)
			require.ErrorIs(t, e.errors[0], c.err)
		})
	}
}

func TestStatusErrorSaysWhy(t *testing.T) {
	t.Parallel()

	cause := errors.New("the subscription was sold")
	err := &StatusError{Status: 410, Err: cause}
	require.EqualError(t, err, "answer 410: the subscription was sold")
	require.ErrorIs(t, err, cause)
	require.EqualError(t, &StatusError{Status: 503}, "answer 503")
}

func TestHandlerOverHTTP(t *testing.T) {
	t.Parallel()

	_, secret := fresh(t)
	var got Message
	server := httptest.NewServer(Handler(verifier(t, []Secret{secret}), 0, func(_ context.Context, m Message) error {
		got = m
		return nil
	}, OnError(nil)))
	defer server.Close()

	post := func(body, signed string) int {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, bytes.NewReader([]byte(body)))
		require.NoError(t, err)
		now := time.Now()
		r.Header = headers("id-1", now.Unix(), signer(t, secret).Sign("id-1", now, []byte(signed)))
		response, err := server.Client().Do(r)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		return response.StatusCode
	}
	require.Equal(t, http.StatusUnauthorized, post(booked, `{}`))
	require.Equal(t, http.StatusNoContent, post(booked, booked))
	require.Equal(t, "meeting.booked", got.Type)
}

func TestHandlerPanicsWhenMisused(t *testing.T) {
	t.Parallel()

	next := func(context.Context, Message) error { return nil }
	v := verifier(t, []Secret{parse(t, vectorSecret)})
	require.Panics(t, func() { Handler(nil, 0, next) })
	require.Panics(t, func() { Handler(v, 0, nil) })
	require.Panics(t, func() { Handler(v, -1, next) })
}

func TestOpen(t *testing.T) {
	t.Parallel()

	secret := parse(t, vectorSecret)
	v := verifier(t, []Secret{secret}, at(vectorTime()))
	h := headers(vectorID, vectorUnix, signer(t, secret).Sign(vectorID, vectorTime(), []byte(booked)))

	m, err := v.Open(h, []byte(booked))
	require.NoError(t, err)
	require.Equal(t, vectorID, m.ID)
	require.Equal(t, "meeting.booked", m.Type)

	_, err = v.Open(h, []byte(`{}`))
	require.ErrorIs(t, err, ErrNoMatch)
	_, err = v.Open(http.Header{}, []byte(booked))
	require.ErrorIs(t, err, ErrMissingHeader)
	_, err = v.Open(headers(vectorID, vectorUnix, vectorSignature), []byte(vectorBody))
	require.ErrorIs(t, err, ErrMalformedMessage)
}

// FuzzOpen holds that whatever a sender signs, a receiver gets a message or a typed refusal.
func FuzzOpen(f *testing.F) {
	f.Add([]byte(booked), "1")
	f.Add([]byte(vectorBody), "")
	f.Add([]byte(`{"type":"a.b","time":"2026-01-01T00:00:00Z","data":null}`), "9223372036854775808")
	secret := parse(f, vectorSecret)
	s, v := signer(f, secret), verifier(f, []Secret{secret}, at(vectorTime()))
	f.Fuzz(func(t *testing.T, body []byte, sequence string) {
		h := headers(vectorID, vectorUnix, s.Sign(vectorID, vectorTime(), body))
		h.Set(HeaderEventSequence, sequence)
		m, err := v.Open(h, body)
		if err != nil {
			require.ErrorIs(t, err, ErrMalformedMessage)
			return
		}
		require.NotEmpty(t, m.Type)
		require.GreaterOrEqual(t, m.EventSequence, int64(0))
		require.Equal(t, body, m.Raw)
	})
}
