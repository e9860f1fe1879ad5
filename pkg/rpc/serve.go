package rpc

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"google.golang.org/grpc"

	"github.com/meetwire/meetwire/pkg/lifecycle"
)

const (
	// maxDrain bounds how long calls in flight may take after the server was told to stop, when no grace
	// deadline comes earlier.
	maxDrain = 30 * time.Second
	// maxAbort is how long calls may then take to notice that they were cut off.
	maxAbort = 5 * time.Second
)

// errStuck is returned when a handler goes on although its call was cut off.
var errStuck = errors.New("calls that were cut off have not ended")

// Serve accepts connections until the context ends. Then it refuses new calls, lets those in flight finish until
// the grace deadline of the part that it runs in, at most 30 s, and cuts off the rest. It returns nil after that,
// and closes the listener in every case. A stream that does not end by itself must be ended by its owner when the
// context ends, or lasts until the deadline.
func Serve(ctx context.Context, server *grpc.Server, listener net.Listener) error {
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	select {
	case err := <-served:
		server.Stop()
		if err == nil {
			err = grpc.ErrServerStopped // by somebody else
		}
		return fmt.Errorf("serve gRPC: %w", err)
	case <-ctx.Done():
	}

	if h := healthOf(server); h != nil {
		h.stop()
	}
	grace, cancel := context.WithTimeout(lifecycle.Grace(ctx), maxDrain)
	defer cancel()
	if err := stop(grace, server, maxAbort); err != nil {
		return err
	}
	if err := <-served; err != nil && !errors.Is(err, grpc.ErrServerStopped) { // stopped before it had begun
		return fmt.Errorf("serve gRPC: %w", err)
	}
	return nil
}

// stop lets calls finish until the context ends, then cuts off the rest, and returns errStuck when they have not
// ended after abort.
func stop(ctx context.Context, server *grpc.Server, abort time.Duration) error {
	stopped := closedAfter(server.GracefulStop)
	select {
	case <-stopped:
		return nil
	case <-ctx.Done():
	}
	aborted := closedAfter(server.Stop) // makes the graceful stop end too; both may wait for handlers
	timer := time.NewTimer(abort)
	defer timer.Stop()
	for _, done := range []<-chan struct{}{stopped, aborted} {
		select {
		case <-done:
		case <-timer.C:
			return errStuck
		}
	}
	return nil
}

// closedAfter calls a function and returns a channel that is closed when it has returned.
func closedAfter(f func()) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	return done
}
