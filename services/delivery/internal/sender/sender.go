// Package sender owns the HTTP requests to receivers: addresses that may be reached, time-outs, how much of an
// answer is read. It decides neither what is sent nor what follows from an answer.
package sender

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"code.dny.dev/ssrf"

	"github.com/meetwire/meetwire/pkg/target"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

// Limits of what is kept of an answer.
const (
	maxResponseBody    = 64 << 10
	maxResponseHeaders = 16 << 10
)

// Bounds of connections. The idle ones of a host are as many as the attempts that it gets at once.
const (
	maxIdleConns    = 4096
	idleConnTimeout = 60 * time.Second
	connectTimeout  = 10 * time.Second
)

// Sender implements core.Sender.
type Sender struct {
	client *http.Client
	newID  func() string
	now    func() time.Time
}

// New makes a sender that reaches public addresses, and of the others only those in allowed.
func New(allowed []netip.Prefix, perHost int, now func() time.Time, newID func() string) *Sender {
	dialer := &net.Dialer{Timeout: connectTimeout, Control: target.New(allowed).Control}
	return &Sender{
		client: &http.Client{
			Transport: &http.Transport{
				DialContext:            dialer.DialContext,
				ForceAttemptHTTP2:      true,
				TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
				TLSHandshakeTimeout:    connectTimeout,
				MaxIdleConns:           maxIdleConns,
				MaxIdleConnsPerHost:    perHost,
				IdleConnTimeout:        idleConnTimeout,
				MaxResponseHeaderBytes: 4 * maxResponseHeaders,
				DisableCompression:     true, // the answer is kept as it came
			},
			// A redirect could lead to where the webhook's owner may not send us. It is an answer like others.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		newID: newID,
		now:   now,
	}
}

// Close closes idle connections.
func (s *Sender) Close() { s.client.CloseIdleConnections() }

// Send implements core.Sender.
func (s *Sender) Send(ctx context.Context, request core.Request) (core.Attempt, error) {
	attempt := core.Attempt{ID: s.newID(), StartedAt: s.now(), Request: request}
	began := time.Now()
	limited, cancel := context.WithTimeout(ctx, request.Timeout)
	defer cancel()

	var noTLS atomic.Bool
	limited = httptrace.WithClientTrace(limited, &httptrace.ClientTrace{
		TLSHandshakeDone: func(_ tls.ConnectionState, err error) { noTLS.Store(err != nil) },
	})
	err := s.exchange(limited, &attempt)
	accepted := attempt.StatusCode >= 200 && attempt.StatusCode <= 299
	if err != nil && ctx.Err() != nil && !accepted {
		return core.Attempt{}, ctx.Err()
	}
	attempt.Duration = time.Since(began)
	switch {
	case accepted:
		// The receiver has said yes; what happens to the rest of its answer changes nothing.
	case err != nil && (attempt.StatusCode == 0 || isTimeout(err)):
		attempt.ErrorClass, attempt.ErrorMessage = classify(err, request.Timeout, noTLS.Load())
	default:
		attempt.ErrorClass = core.ErrorStatus
		attempt.ErrorMessage = fmt.Sprintf("the receiver answered with status %d", attempt.StatusCode)
	}
	return attempt, nil
}

// exchange sends the request and reads the answer into the attempt.
func (s *Sender) exchange(ctx context.Context, attempt *core.Attempt) (err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, attempt.Request.URL, bytes.NewReader(attempt.Request.Body))
	if err != nil {
		return fmt.Errorf("make the request: %w", err)
	}
	for _, header := range attempt.Request.Headers {
		request.Header.Set(header.Name, header.Value)
	}
	response, err := s.client.Do(request)
	if err != nil {
		return err
	}
	// Close without reading on: the transport reuses the connection only if the body has been read to its end.
	defer func() { err = errors.Join(err, response.Body.Close()) }()
	attempt.StatusCode = response.StatusCode
	attempt.ResponseHeaders = keptHeaders(response.Header)
	attempt.RetryAfter = response.Header.Get("Retry-After")
	body, err := io.ReadAll(io.LimitReader(response.Body, maxResponseBody+1))
	if len(body) > maxResponseBody {
		body, attempt.ResponseTruncated = body[:maxResponseBody], true
	}
	attempt.ResponseBody = body
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	return nil
}

// keptHeaders returns the answer's headers in the order of their names, as far as they fit. Values that are no
// UTF-8 are left out: they could be neither stored nor shown as they are.
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
			if !utf8.ValidString(value) {
				continue
			}
			if size += len(name) + len(value); size > maxResponseHeaders {
				return kept
			}
			kept = append(kept, core.Header{Name: name, Value: value})
		}
	}
	return kept
}

func isTimeout(err error) bool {
	var network net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &network) && network.Timeout()
}

// classify names the failure of an attempt and says it in words that hold nothing of our own network. noTLS is
// whether a TLS handshake was begun and failed.
func classify(err error, timeout time.Duration, noTLS bool) (class, message string) {
	var (
		dns         *net.DNSError
		certificate *tls.CertificateVerificationError
		record      tls.RecordHeaderError
		op          *net.OpError
	)
	switch {
	case errors.Is(err, ssrf.ErrProhibitedIP), errors.Is(err, ssrf.ErrProhibitedNetwork), errors.Is(err, ssrf.ErrProhibitedPort):
		return core.ErrorAddress, "the host's address is not one that may be called"
	case errors.As(err, &dns):
		return core.ErrorDNS, "the host name has no address"
	case isTimeout(err):
		return core.ErrorTimeout, fmt.Sprintf("no complete answer within %s", timeout)
	case errors.As(err, &certificate):
		return core.ErrorTLS, "the certificate is not valid: " + certificate.Err.Error()
	case errors.As(err, &record), errors.Is(err, http.ErrSchemeMismatch):
		return core.ErrorTLS, "the receiver does not speak TLS"
	case errors.As(err, &op) && (op.Op == "remote error" || op.Op == "local error"):
		// That is how crypto/tls tells of an alert. One can also come after our side of the handshake.
		return core.ErrorTLS, "the TLS handshake failed: " + op.Err.Error()
	case errors.As(err, &op) && op.Op == "dial":
		return core.ErrorConnect, "no connection: the receiver does not accept any"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.As(err, &op):
		return core.ErrorReset, "the connection was closed before there was an answer"
	case noTLS:
		return core.ErrorTLS, "the TLS handshake failed"
	}
	return core.ErrorProtocol, "the answer is not HTTP"
}
