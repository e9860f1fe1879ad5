package bus

import (
	"fmt"
	"net"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	// gatherTime is how far apart what is written to a gathering connection is sent.
	gatherTime = time.Millisecond
	// gatherBytes is how much is gathered at most.
	gatherBytes = 64 << 10
	// gatherLimit bounds the sending of what was gathered, for which nobody waits.
	gatherLimit = 10 * time.Second
)

// Gather has a connection send what is written to it within a millisecond at once; what comes after a pause is sent
// immediately. Many small messages, such as records and acknowledgements, then cost both sides a few system calls instead of
// some for each. It is for a connection of which no answer is waited for by anybody who is in a hurry.
func Gather() nats.Option {
	return nats.SetCustomDialer(gatherer{net.Dialer{Timeout: connectTimeout}})
}

// gatherer makes connections that gather.
type gatherer struct{ net.Dialer }

// Dial implements nats.CustomDialer.
func (g gatherer) Dial(network, address string) (net.Conn, error) {
	conn, err := g.Dialer.Dial(network, address)
	if err != nil {
		return nil, err //nolint:wrapcheck // the client library tells whom it has asked
	}
	return newGathering(conn), nil
}

// gathering is a connection that sends what is written within a short time at once.
type gathering struct {
	net.Conn

	mu      sync.Mutex
	timer   *time.Timer
	armed   bool // the timer will send what is pending
	pending []byte
	sent    time.Time // when something was last sent
	err     error     // of a write for which nobody waited, or of Close: nothing is written any more
}

func newGathering(conn net.Conn) *gathering {
	g := &gathering{Conn: conn}
	g.timer = time.AfterFunc(gatherLimit, g.fire)
	g.timer.Stop()
	return g
}

// Write implements net.Conn. What it takes is sent before long; when that fails, the next call tells.
func (g *gathering) Write(p []byte) (int, error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err != nil {
		return 0, g.err
	}
	if !g.armed {
		wait := gatherTime - time.Since(g.sent)
		if wait <= 0 {
			n, err := g.Conn.Write(p)
			g.sent = time.Now()
			return n, err //nolint:wrapcheck // as if it were not there
		}
		g.armed = true
		g.timer.Reset(wait)
	}
	g.pending = append(g.pending, p...)
	if len(g.pending) >= gatherBytes {
		g.send(gatherLimit)
	}
	return len(p), g.err
}

// fire sends what is pending when its time has come.
func (g *gathering) fire() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.armed = false
	g.send(gatherLimit)
}

// send sends what is pending. A connection that does not take it in time is closed, so that its reader notices as well.
func (g *gathering) send(limit time.Duration) {
	if len(g.pending) == 0 || g.err != nil {
		return
	}
	err := g.Conn.SetWriteDeadline(time.Now().Add(limit))
	if err == nil {
		_, err = g.Conn.Write(g.pending)
	}
	if err == nil {
		err = g.Conn.SetWriteDeadline(time.Time{})
	}
	if err != nil {
		g.err = fmt.Errorf("send what was gathered: %w", err)
		_ = g.Conn.Close() // it is of no use any more
	}
	g.pending, g.sent = g.pending[:0], time.Now()
}

// SetWriteDeadline implements net.Conn. That of a gathered write which is under way stays as it is.
func (g *gathering) SetWriteDeadline(t time.Time) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.Conn.SetWriteDeadline(t) //nolint:wrapcheck // as if it were not there
}

// closeTime bounds the last write.
const closeTime = time.Second

// Close sends what is pending, and closes the connection.
func (g *gathering) Close() error {
	_ = g.Conn.SetWriteDeadline(time.Now().Add(closeTime)) // of a write that is under way; fails only when all is closed
	g.mu.Lock()
	defer g.mu.Unlock()
	g.timer.Stop()
	g.send(closeTime)
	if g.err == nil {
		g.err = net.ErrClosed
	}
	return g.Conn.Close() //nolint:wrapcheck // as if it were not there
}
