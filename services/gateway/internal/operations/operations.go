// Package operations makes one OperationService of those that the services have. An operation is in one of them: whoever
// knows it answers. It keeps nothing and decides nothing.
package operations

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/rpc"
	operationv1 "github.com/meetwire/meetwire/proto/gen/meetwire/operation/v1"
)

// askTimeout bounds a call of the services, so that one that hangs is told from one that knows nothing.
const askTimeout = 20 * time.Second

// Client implements operationv1.OperationServiceClient over several services. It passes on the metadata of the context,
// and with it the caller's credential; options of calls it does not, since several calls cannot share what these write to.
type Client struct {
	services []operationv1.OperationServiceClient
	closing  context.Context // ends when streams have to
	close    context.CancelFunc
}

// New returns the client over connections to the services.
func New(conns ...grpc.ClientConnInterface) *Client {
	c := &Client{}
	c.closing, c.close = context.WithCancel(context.Background())
	for _, conn := range conns {
		c.services = append(c.services, operationv1.NewOperationServiceClient(conn))
	}
	return c
}

// Close ends all streams, so that a server can stop.
func (c *Client) Close() { c.close() }

// GetOperation implements operationv1.OperationServiceClient.
func (c *Client) GetOperation(ctx context.Context, req *operationv1.GetOperationRequest, _ ...grpc.CallOption) (*operationv1.Operation, error) {
	return one(ctx, c, func(ctx context.Context, service operationv1.OperationServiceClient) (*operationv1.Operation, error) {
		return service.GetOperation(ctx, req)
	})
}

// CancelOperation implements operationv1.OperationServiceClient.
func (c *Client) CancelOperation(ctx context.Context, req *operationv1.CancelOperationRequest, _ ...grpc.CallOption) (*operationv1.Operation, error) {
	return one(ctx, c, func(ctx context.Context, service operationv1.OperationServiceClient) (*operationv1.Operation, error) {
		return service.CancelOperation(ctx, req)
	})
}

// ResumeOperation implements operationv1.OperationServiceClient.
func (c *Client) ResumeOperation(ctx context.Context, req *operationv1.ResumeOperationRequest, _ ...grpc.CallOption) (*operationv1.Operation, error) {
	return one(ctx, c, func(ctx context.Context, service operationv1.OperationServiceClient) (*operationv1.Operation, error) {
		return service.ResumeOperation(ctx, req)
	})
}

// one asks all services at once, and returns the first answer of one that knows.
func one(ctx context.Context, c *Client,
	ask func(context.Context, operationv1.OperationServiceClient) (*operationv1.Operation, error),
) (*operationv1.Operation, error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	answers := make(chan answer[*operationv1.Operation], len(c.services))
	var asking sync.WaitGroup
	defer asking.Wait()
	defer cancel() // those that are not waited for any more
	for _, service := range c.services {
		asking.Go(func() {
			o, err := ask(ctx, service)
			answers <- answer[*operationv1.Operation]{o, err}
		})
	}
	var none error
	for range c.services {
		a := <-answers
		if knows(a.err) {
			return a.value, a.err
		}
		none = worse(none, a.err)
	}
	return nil, told(none)
}

// answer is what a service says.
type answer[V any] struct {
	value V
	err   error
}

// knows reports whether an answer is that of a service that has the operation, or what all of them would say.
func knows(err error) bool {
	switch status.Code(err) {
	case codes.OK, codes.FailedPrecondition, codes.Aborted, codes.InvalidArgument:
		return true
	default:
		return false
	}
}

// weight orders what services say that do not know an operation: NotFound holds only when all of them say so.
func weight(err error) int {
	switch status.Code(err) {
	case codes.NotFound:
		return 1
	case codes.Unimplemented: // it has no operations
		return 0
	case codes.Unauthenticated, codes.PermissionDenied:
		return 4
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled:
		return 2
	default:
		return 3
	}
}

// worse returns the one of two errors that says more about why nothing is known.
func worse(a, b error) error {
	if a == nil || weight(b) > weight(a) {
		return b
	}
	return a
}

// told is an error as clients are told it: nothing of the inside.
func told(err error) error {
	switch statusOf(err) {
	case codes.Unimplemented:
		return rpc.Status(fault.New(fault.NotFound, "OPERATION_NOT_FOUND", "the operation does not exist")).Err()
	case codes.DeadlineExceeded:
		return rpc.Status(fault.Wrap(fault.Unavailable, "DEADLINE_EXCEEDED", err, "a service takes too long to answer: try again")).Err()
	default:
		return rpc.Status(rpc.FaultFromStatus(err)).Err()
	}
}

// statusOf is the code of an error, also of a context's end.
func statusOf(err error) codes.Code {
	if errors.Is(err, context.DeadlineExceeded) {
		return codes.DeadlineExceeded
	}
	return status.Code(err)
}

// ended is what the watchers hear when the gateway stops.
func ended() error {
	return rpc.Status(fault.New(fault.Unavailable, "STOPPING", "the gateway stops: watch again")).Err()
}

// unexpected wraps an error that no service can have made.
func unexpected(what string, err error) error {
	return fmt.Errorf("%s: %w", what, err)
}
