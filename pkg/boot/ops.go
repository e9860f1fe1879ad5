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
	<-served
	return err
}
