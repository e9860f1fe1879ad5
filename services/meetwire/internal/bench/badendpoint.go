package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
)

// badEndpoints are endpoints that never answer, and ports that refuse connections.
type badEndpoints struct {
	listeners []net.Listener
	accepting sync.WaitGroup

	mu       sync.Mutex
	accepted []net.Conn
	// held are connections from ports that nobody else can listen on as long as they are open: whoever connects to such
	// a port is refused.
	held []net.Conn
}

func openBadEndpoints(ctx context.Context, hung, refused int) (*badEndpoints, error) {
	b := &badEndpoints{}
	var config net.ListenConfig
	for range hung {
		listener, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, errors.Join(fmt.Errorf("listen: %w", err), b.close())
		}
		b.listeners = append(b.listeners, listener)
		b.accepting.Go(func() { b.accept(listener) })
	}
	var dialer net.Dialer
	for range refused {
		conn, err := dialer.DialContext(ctx, "tcp", b.listeners[0].Addr().String())
		if err != nil {
			return nil, errors.Join(fmt.Errorf("hold a port: %w", err), b.close())
		}
		b.held = append(b.held, conn)
	}
	return b, nil
}

// accept takes connections and leaves them alone.
func (b *badEndpoints) accept(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return // it was closed
		}
		b.mu.Lock()
		b.accepted = append(b.accepted, conn)
		b.mu.Unlock()
	}
}

func (b *badEndpoints) hung() []string {
	all := make([]string, len(b.listeners))
	for i, listener := range b.listeners {
		all[i] = listener.Addr().String()
	}
	return all
}

func (b *badEndpoints) refused() []string {
	all := make([]string, len(b.held))
	for i, conn := range b.held {
		all[i] = conn.LocalAddr().String()
	}
	return all
}

func (b *badEndpoints) close() error {
	var failures []error
	for _, listener := range b.listeners {
		failures = append(failures, listener.Close())
	}
	b.accepting.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, conn := range append(b.accepted, b.held...) {
		failures = append(failures, conn.Close())
	}
	return errors.Join(failures...)
}
