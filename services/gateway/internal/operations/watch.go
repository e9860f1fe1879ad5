package operations

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"

	operationv1 "github.com/meetwire/meetwire/proto/gen/meetwire/operation/v1"
)

// errClosed is why streams end when the gateway stops, and errLate when nobody has answered in time.
var (
	errClosed = errors.New("the gateway stops")
	errLate   = errors.New("no answer in time")
)

// WatchOperation implements operationv1.OperationServiceClient. It returns when one service has told the state of the
// operation, or none of them knows it.
func (c *Client) WatchOperation(ctx context.Context, req *operationv1.WatchOperationRequest, _ ...grpc.CallOption) (grpc.ServerStreamingClient[operationv1.Operation], error) {
	if c.closing.Err() != nil {
		return nil, ended()
	}
	ctx, cancel := context.WithCancelCause(ctx)
	unhook := context.AfterFunc(c.closing, func() { cancel(errClosed) }) //nolint:contextcheck // the end of the gateway is not that of a call
	context.AfterFunc(ctx, func() { unhook() })                          // also when nobody reads to the end
	late := time.AfterFunc(askTimeout, func() { cancel(errLate) })
	found, err := c.find(ctx, req)
	late.Stop()
	if err != nil {
		err = endOf(ctx, err)
		cancel(nil)
		return nil, err
	}
	found.ctx, found.end = ctx, func() { cancel(nil) }
	return found, nil
}

// find begins to watch at all services at once, and goes on with the first that knows the operation.
func (c *Client) find(ctx context.Context, req *operationv1.WatchOperationRequest) (*stream, error) {
	begun := make(chan answer[*stream], len(c.services))
	cancels := make([]context.CancelFunc, len(c.services))
	var asking sync.WaitGroup
	defer asking.Wait()
	for i, service := range c.services {
		var own context.Context
		own, cancels[i] = context.WithCancel(ctx)
		asking.Go(func() {
			s, err := begin(own, service, req, i)
			begun <- answer[*stream]{s, err}
		})
	}
	var found *stream
	var none error
	for range c.services {
		a := <-begun
		if a.err == nil {
			found = a.value
			break
		}
		none = worse(none, a.err)
		if knows(a.err) {
			none = a.err
			break
		}
	}
	for i, cancel := range cancels {
		if found == nil || found.service != i {
			cancel() // who is not waited for any more; that of the one that is found ends with all of them
		}
	}
	if found == nil {
		return nil, none
	}
	return found, nil
}

// begin asks one service, and waits for the first message.
func begin(ctx context.Context, service operationv1.OperationServiceClient, req *operationv1.WatchOperationRequest, number int) (*stream, error) {
	s, err := service.WatchOperation(ctx, req)
	if err != nil {
		return nil, unexpected("watch an operation", err)
	}
	first, err := s.Recv()
	if errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return nil, unexpected("watch an operation", err)
	}
	return &stream{ServerStreamingClient: s, first: first, service: number}, nil
}

// stream is that of a service, of which the first message was read already.
type stream struct {
	grpc.ServerStreamingClient[operationv1.Operation]

	service int
	first   *operationv1.Operation
	ctx     context.Context // of the watching
	end     func()
}

// Recv implements grpc.ServerStreamingClient.
func (s *stream) Recv() (*operationv1.Operation, error) {
	if first := s.first; first != nil {
		s.first = nil
		return first, nil
	}
	o, err := s.ServerStreamingClient.Recv()
	if err == nil {
		return o, nil
	}
	err = endOf(s.ctx, err)
	s.end()
	return nil, err
}

// endOf says why a stream has ended.
func endOf(ctx context.Context, err error) error {
	switch cause := context.Cause(ctx); {
	case errors.Is(err, io.EOF):
		return err
	case errors.Is(cause, errClosed):
		return ended()
	case errors.Is(cause, errLate):
		return told(context.DeadlineExceeded)
	default:
		return told(err)
	}
}
