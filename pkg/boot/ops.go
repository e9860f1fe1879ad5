package boot

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/meetwire/meetwire/pkg/lifecycle"
	"github.com/meetwire/meetwire/pkg/telemetry"
)

// serveOps serves the operators' endpoints until the context ends.
func serveOps(ctx context.Context, listener net.Listener, r *Runtime) error {
	server := &http.Server{
		Handler:           telemetry.OpsHandler(r.Registry, r.ready),
		BaseContext:       func(net.Listener) context.Context { return lifecycle.Grace(ctx) },
		ErrorLog:          slog.NewLogLogger(r.Logger.Handler(), slog.LevelWarn),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
	}
	return ServeHTTP(ctx, server, listener)
}

// ServeHTTP serves until the context ends, then finishes the requests that are in flight, and cuts off those that
// take longer than the grace period.
func ServeHTTP(ctx context.Context, server *http.Server, listener net.Listener) error {
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	err := server.Shutdown(lifecycle.Grace(ctx))
	if err != nil {
		// Time is up: cut off who is still connected.
		err = errors.Join(fmt.Errorf("shut down: %w", err), server.Close())
	}
	if ended := <-served; !errors.Is(ended, http.ErrServerClosed) {
		err = errors.Join(err, fmt.Errorf("serve: %w", ended))
	}
	return err
}

// askTime bounds a health check.
const askTime = 5 * time.Second

// errNotReady is what a health check finds when the process answers, but is not ready.
var errNotReady = errors.New("not ready")

// askReady asks the process that serves an address whether it is ready.
func askReady(ctx context.Context, addr string) error {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return fmt.Errorf("read the address: %w", err)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1" // what listens on every address also does on this one
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+net.JoinHostPort(host, port)+"/readyz", nil)
	if err != nil {
		return fmt.Errorf("ask whether it is ready: %w", err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("ask whether it is ready: %w", err)
	}
	if err := response.Body.Close(); err != nil {
		return fmt.Errorf("ask whether it is ready: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%w: status %d", errNotReady, response.StatusCode)
	}
	return nil
}
