package operations_test

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/meetwire/meetwire/pkg/aip"
	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/rpc"
	operationv1 "github.com/meetwire/meetwire/proto/gen/meetwire/operation/v1"
	"github.com/meetwire/meetwire/services/gateway/internal/operations"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 20 * time.Second

// service is an OperationService that has some operations, the newest first.
type service struct {
	operationv1.UnimplementedOperationServiceServer

	mu         sync.Mutex
	operations []*operationv1.Operation
	refusal    error                       // of every call; nil: none
	changes    chan *operationv1.Operation // what watchers hear after the first state, until it is closed
	credential []string
	watchers   sync.WaitGroup
}

func (s *service) of(ctx context.Context, name string) (*operationv1.Operation, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	md, _ := metadata.FromIncomingContext(ctx)
	s.credential = append(s.credential, md.Get("authorization")...)
	if s.refusal != nil {
		return nil, s.refusal
	}
	for _, o := range s.operations {
		if o.GetName() == name {
			return o, nil
		}
	}
	return nil, rpc.Status(fault.New(fault.NotFound, "OPERATION_NOT_FOUND", "%s does not exist", name)).Err()
}

// GetOperation implements OperationService.
func (s *service) GetOperation(ctx context.Context, req *operationv1.GetOperationRequest) (*operationv1.Operation, error) {
	return s.of(ctx, req.GetName())
}

// CancelOperation implements OperationService.
func (s *service) CancelOperation(ctx context.Context, req *operationv1.CancelOperationRequest) (*operationv1.Operation, error) {
	o, err := s.of(ctx, req.GetName())
	if err == nil && o.GetDone() {
		err = rpc.Status(fault.New(fault.FailedPrecondition, "OPERATION_ENDED", "it has ended")).Err()
	}
	return o, err
}

// ResumeOperation implements OperationService.
func (s *service) ResumeOperation(ctx context.Context, req *operationv1.ResumeOperationRequest) (*operationv1.Operation, error) {
	return s.of(ctx, req.GetName())
}

// WatchOperation implements OperationService.
func (s *service) WatchOperation(req *operationv1.WatchOperationRequest, stream grpc.ServerStreamingServer[operationv1.Operation]) error {
	s.watchers.Add(1)
	defer s.watchers.Done()
	o, err := s.of(stream.Context(), req.GetName())
	if err != nil {
		return err
	}
	for {
		if err := stream.Send(o); err != nil {
			return err
		}
		var more bool
		select {
		case o, more = <-s.changes:
			if !more {
				return nil
			}
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}

// ListOperations implements OperationService.
func (s *service) ListOperations(_ context.Context, req *operationv1.ListOperationsRequest) (*operationv1.ListOperationsResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.refusal != nil {
		return nil, s.refusal
	}
	after := aip.NewestFirst()
	if err := aip.DecodeToken(req, req.GetPageToken(), &after); err != nil {
		return nil, rpc.Status(err).Err()
	}
	answer := &operationv1.ListOperationsResponse{}
	for _, o := range s.operations {
		at, id := o.GetCreateTime().AsTime(), o.GetName()[len(o.GetName())-36:]
		if at.After(after.Time) || at.Equal(after.Time) && id >= after.ID.String() {
			continue
		}
		if len(answer.Operations) == aip.PageSize(req.GetPageSize()) {
			answer.NextPageToken = "more"
			break
		}
		answer.Operations = append(answer.Operations, o)
	}
	return answer, nil
}

// serve starts a server for the service and returns a connection to it.
func serve(t *testing.T, s operationv1.OperationServiceServer) grpc.ClientConnInterface {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := grpc.NewServer()
	if s != nil {
		operationv1.RegisterOperationServiceServer(server, s)
	}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) })
	t.Cleanup(func() { server.Stop(); serving.Wait() })
	return dial(t, listener.Addr().String())
}

func dial(t *testing.T, address string) grpc.ClientConnInterface {
	t.Helper()
	conn, err := rpc.Dial(address)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	return conn
}

// nobody is a connection to an address where nobody listens.
func nobody(t *testing.T) (conn grpc.ClientConnInterface, address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	return dial(t, listener.Addr().String()), listener.Addr().String()
}

var epoch = time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)

// operation returns one of acme that began so many seconds after the epoch.
func operation(seconds int) *operationv1.Operation {
	return &operationv1.Operation{
		Name:  "organizations/acme/operations/" + uuid.NewString(),
		State: operationv1.Operation_STATE_RUNNING, CreateTime: timestamppb.New(epoch.Add(time.Duration(seconds) * time.Second)),
	}
}

// requireStatus asserts the code and the reason of an error, and that it tells nothing of the inside.
func requireStatus(t *testing.T, err error, code codes.Code, reason string) {
	t.Helper()
	require.Equal(t, code, status.Code(err), "%v", err)
	require.Equal(t, reason, fault.From(rpc.FaultFromStatus(err)).Reason, "%v", err)
	require.NotContains(t, err.Error(), "127.0.0.1")
}

// ways are the calls about one operation.
func ways(c *operations.Client) map[string]func(ctx context.Context, name string) (*operationv1.Operation, error) {
	return map[string]func(ctx context.Context, name string) (*operationv1.Operation, error){
		"get": func(ctx context.Context, name string) (*operationv1.Operation, error) {
			return c.GetOperation(ctx, &operationv1.GetOperationRequest{Name: name})
		},
		"cancel": func(ctx context.Context, name string) (*operationv1.Operation, error) {
			return c.CancelOperation(ctx, &operationv1.CancelOperationRequest{Name: name})
		},
		"resume": func(ctx context.Context, name string) (*operationv1.Operation, error) {
			return c.ResumeOperation(ctx, &operationv1.ResumeOperationRequest{Name: name})
		},
		"watch": func(ctx context.Context, name string) (*operationv1.Operation, error) {
			stream, err := c.WatchOperation(ctx, &operationv1.WatchOperationRequest{Name: name})
			if err != nil {
				return nil, err
			}
			return stream.Recv()
		},
	}
}
