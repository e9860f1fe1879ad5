// Package sender owns the HTTP requests to receivers: addresses that may be reached, time-outs, how much of an
// answer is read. It decides neither what is sent nor what follows from an answer.
package sender

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

// Limits of what is kept of an answer.
const (
	maxResponseBody    = 64 << 10
	maxResponseHeaders = 16 << 10
)

// idleConnTimeout is how long a connection is kept that nothing is sent over.
const idleConnTimeout = 60 * time.Second

// Sender implements core.Sender.
type Sender struct {
	transport http.RoundTripper
	dialer    *dialer
	turns     chan struct{} // one is held by each attempt
	newID     func() string
	now       func() time.Time
}

// New makes a sender that reaches public addresses, and of the others only those that are allowed.
func New(config Config) *Sender {
	if config.Files <= 0 {
		config.Files = openFiles()
	}
	bounds := boundsOf(config.Files)
	dialer := newDialer(&config, bounds.open)
	transport := &http.Transport{
		DialContext:            dialer.dial,
		DialTLSContext:         dialer.dialTLS,
		ForceAttemptHTTP2:      true,
		HTTP2:                  http2Config(),
		MaxIdleConns:           bounds.idle,
		MaxIdleConnsPerHost:    config.PerHost,
		IdleConnTimeout:        idleConnTimeout,
		MaxResponseHeaderBytes: 4 * maxResponseHeaders,
		DisableCompression:     true, // the answer is kept as it came
	}
	dialer.relieve = transport.CloseIdleConnections
	return &Sender{
		transport: transport,
		dialer:    dialer,
		turns:     make(chan struct{}, bounds.attempts),
		newID:     config.NewID,
		now:       config.Now,
	}
}

// http2Config has connections of HTTP/2 asked for a sign of life when they are silent, so that a dead one does not
// fail one attempt after the other, and lets a receiver send not much more ahead than is read of an answer. A
// receiver that allows few requests at once gets further connections: to wait for a slow answer over one would make
// others late.
func http2Config() *http.HTTP2Config {
	return &http.HTTP2Config{
		SendPingTimeout:               15 * time.Second,
		PingTimeout:                   10 * time.Second,
		MaxReceiveBufferPerStream:     2 * maxResponseBody,
		MaxReceiveBufferPerConnection: 16 * maxResponseBody,
		StrictMaxConcurrentRequests:   false,
	}
}

// Close closes idle connections, and ends the making of those that nobody waits for any more.
func (s *Sender) Close() { s.dialer.relieve() }

// Send implements core.Sender. It waits for its turn while as many attempts are being made as this process can afford,
// and while the system gives it no connection: for the latter not for longer than the attempt may take.
func (s *Sender) Send(ctx context.Context, request core.Request) (core.Attempt, error) {
	select {
	case s.turns <- struct{}{}:
		defer func() { <-s.turns }()
	case <-ctx.Done():
		return core.Attempt{}, ctx.Err()
	}
	const shortest, longest = 10 * time.Millisecond, time.Second
	began := time.Now()
	for wait := shortest; ; wait = min(2*wait, longest) {
		attempt, again, err := s.try(ctx, request)
		if !again || time.Since(began)+wait > request.Timeout {
			return attempt, err
		}
		s.dialer.relieve()
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return core.Attempt{}, ctx.Err()
		}
	}
}

// try makes one attempt. It can be made again if the system gave it no connection.
func (s *Sender) try(ctx context.Context, request core.Request) (attempt core.Attempt, again bool, err error) {
	attempt = core.Attempt{ID: s.newID(), StartedAt: s.now(), Request: request}
	limited, cancel := context.WithTimeout(ctx, request.Timeout)
	defer cancel()
	traced, trace := newTrace(limited)
	err = s.exchange(traced, &attempt)
	accepted := attempt.StatusCode >= 200 && attempt.StatusCode <= 299
	if err != nil && ctx.Err() != nil && !accepted {
		return core.Attempt{}, false, ctx.Err()
	}
	trace.describe(&attempt)
	switch {
	case accepted:
		// The receiver has said yes; what happens to the rest of its answer changes nothing.
	case err != nil && (attempt.StatusCode == 0 || isTimeout(err)):
		attempt.ErrorClass, attempt.ErrorMessage = classify(err, request.Timeout, trace.stage())
		if proxy := s.dialer.proxy; proxy != nil && attempt.ErrorClass == core.ErrorReset && proxy.lost(limited) {
			attempt.ErrorClass, attempt.ErrorMessage = core.ErrorProxy, "the egress proxy was lost before there was an answer"
		}
	default:
		attempt.ErrorClass = core.ErrorStatus
		attempt.ErrorMessage = fmt.Sprintf("the receiver answered with status %d", attempt.StatusCode)
	}
	return attempt, attempt.ErrorClass == core.ErrorOverload, nil
}

// exchange sends the request and reads the answer into the attempt.
func (s *Sender) exchange(ctx context.Context, attempt *core.Attempt) (err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, attempt.Request.URL, bytes.NewReader(attempt.Request.Body))
	if err != nil {
		return fmt.Errorf("make the request: %w", err)
	}
	// A receiver may close a connection that it has kept at the moment at which we use it. With a header of this name the
	// transport takes a request for one that it may repeat then, over another connection; without a value none is sent.
	// Receivers know an event that they get twice by its id.
	request.Header["X-Idempotency-Key"] = nil
	for _, header := range attempt.Request.Headers {
		request.Header.Set(header.Name, header.Value)
	}
	// Not with a client, which follows redirects: one could lead to where the webhook's owner may not send us, and is an
	// answer like others, wherever it points.
	response, err := s.transport.RoundTrip(request)
	if err != nil {
		return err
	}
	// Close without reading on: the transport reuses the connection only if the body has been read to its end.
	defer func() { err = errors.Join(err, response.Body.Close()) }()
	attempt.StatusCode = response.StatusCode
	attempt.ResponseHeaders = keptHeaders(response.Header)
	attempt.RetryAfter = response.Header.Get("Retry-After")
	if response.StatusCode == http.StatusSwitchingProtocols {
		return nil // what follows is no body and may never end
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxResponseBody+1))
	if len(body) > maxResponseBody {
		body, attempt.ResponseTruncated = body[:maxResponseBody], true
	}
	attempt.ResponseBody = body
	if err != nil {
		attempt.ResponseTruncated = true
		return fmt.Errorf("read the answer: %w", err)
	}
	return nil
}

// keptHeaders returns the answer's headers in the order of their names: all that still fit. What is no UTF-8 could be
// neither stored nor shown as it is, and is replaced.
func keptHeaders(header http.Header) []core.Header {
	names := make([]string, 0, len(header))
	for name := range header {
		names = append(names, name)
	}
	slices.Sort(names)
	var kept []core.Header
	size := 0
	for _, name := range names {
		for _, value := range header[name] {
			value = strings.ToValidUTF8(value, "\uFFFD")
			more := len(name) + len(value)
			if size+more > maxResponseHeaders {
				continue
			}
			size += more
			kept = append(kept, core.Header{Name: name, Value: value})
		}
	}
	return kept
}
