package sender

import (
	"context"
	"crypto/tls"
	"net"
	"net/http/httptrace"
	"sync"
	"time"

	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

// phase is a part of making a connection.
type phase struct {
	began time.Time
	took  time.Duration // 0: it has not ended
}

// begin notes the first beginning: there can be several, when a host has several addresses.
func (p *phase) begin() {
	if p.began.IsZero() {
		p.began = time.Now()
	}
}

func (p *phase) end() { p.took = max(time.Since(p.began), 1) }

func (p *phase) pending() bool { return !p.began.IsZero() && p.took == 0 }

// duration is how long it took, or has taken until now.
func (p *phase) duration() time.Duration {
	if p.pending() {
		return time.Since(p.began)
	}
	return p.took
}

// trace is what the network tells about one attempt. It goes on telling after the attempt has ended: a connection
// that is being made is finished for those who come later.
type trace struct {
	began    time.Time
	deadline time.Time // of the attempt
	hooks    httptrace.ClientTrace

	mu        sync.Mutex
	host      string
	got       bool // a connection: what is told of others has no meaning
	connected bool
	noTLS     bool // a TLS handshake was begun and failed
	noAddress bool // the host's name was looked up in vain
	dns       phase
	connect   phase
	tls       phase
	firstByte time.Duration
	remote    string
	call      *call // through a proxy
}

type traceKey struct{}

// newTrace begins the trace of an attempt. It is told what happens under the context that it returns.
func newTrace(ctx context.Context) (context.Context, *trace) {
	t := &trace{began: time.Now()}
	t.deadline, _ = ctx.Deadline()
	t.hooks = httptrace.ClientTrace{
		GetConn:              t.getConn,
		GotConn:              t.gotConn,
		GotFirstResponseByte: t.gotFirstByte,
		DNSStart:             t.dnsStart,
		DNSDone:              t.dnsDone,
		ConnectStart:         t.connectStart,
		ConnectDone:          t.connectDone,
		TLSHandshakeStart:    t.tlsStart,
		TLSHandshakeDone:     t.tlsDone,
	}
	return httptrace.WithClientTrace(context.WithValue(ctx, traceKey{}, t), &t.hooks), t
}

// update notes something about the connection that is being made.
func (t *trace) update(note func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.got {
		note()
	}
}

// getConn begins anew: an attempt on a connection that turns out to be closed already is made on another one.
func (t *trace) getConn(address string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.host, _, _ = net.SplitHostPort(address) // the transport has put it together
	t.got, t.connected, t.noTLS, t.noAddress, t.remote, t.call = false, false, false, false, "", nil
	t.dns, t.connect, t.tls = phase{}, phase{}, phase{}
}

func (t *trace) gotConn(info httptrace.GotConnInfo) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.got, t.noAddress = true, false
	t.remote = info.Conn.RemoteAddr().String()
	if info.Reused {
		t.dns, t.connect, t.tls = phase{}, phase{}, phase{}
	}
}

func (t *trace) gotFirstByte() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.firstByte = time.Since(t.began)
}

func (t *trace) dnsStart(info httptrace.DNSStartInfo) {
	t.update(func() {
		if info.Host == t.host { // and not the proxy
			t.dns.begin()
		}
	})
}

func (t *trace) dnsDone(info httptrace.DNSDoneInfo) {
	t.update(func() {
		if t.dns.pending() {
			t.noAddress = info.Err != nil
			t.dns.end()
		}
	})
}

func (t *trace) connectStart(string, string) { t.update(t.connect.begin) }

func (t *trace) connectDone(_, _ string, err error) {
	t.update(func() {
		if !t.connected { // of several addresses that one counts which is connected to
			t.connected = err == nil
			t.connect.end()
		}
	})
}

func (t *trace) tlsStart() { t.update(t.tls.begin) }

func (t *trace) tlsDone(_ tls.ConnectionState, err error) {
	t.update(func() {
		t.noTLS = err != nil
		t.tls.end()
	})
}

// describe adds to an attempt what is known at its end.
func (t *trace) describe(attempt *core.Attempt) {
	t.mu.Lock()
	defer t.mu.Unlock()
	attempt.Duration = time.Since(t.began)
	attempt.RemoteAddr = t.remote
	attempt.Timings = core.Timings{
		DNS: t.dns.duration(), Connect: t.connect.duration(), TLS: t.tls.duration(), FirstByte: t.firstByte,
	}
}

// stage is how far an attempt has come.
type stage struct {
	over      bool  // its time
	resolving bool  // the host's name has no address yet
	noTLS     bool  // a handshake has failed
	call      *call // a proxy has not yet connected it
}

func (t *trace) stage() stage {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := stage{over: !time.Now().Before(t.deadline), resolving: t.dns.pending() || t.noAddress, noTLS: t.noTLS}
	if !t.got {
		s.call = t.call
	}
	return s
}
