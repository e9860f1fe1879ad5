package operation_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/meetwire/meetwire/pkg/audit"
	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/operation"
	"github.com/meetwire/meetwire/pkg/rpc"
	"github.com/meetwire/meetwire/pkg/secret"
	accessv1 "github.com/meetwire/meetwire/proto/gen/meetwire/access/v1"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	operationv1 "github.com/meetwire/meetwire/proto/gen/meetwire/operation/v1"
)

const serviceToken = "service-token-of-the-tests-0123456789"

// config is a ConfigService that keeps what is recorded.
type config struct {
	configv1.UnimplementedConfigServiceServer

	mu       sync.Mutex
	recorded []*configv1.RecordActionRequest
	refusal  error
}

// RecordAction implements ConfigService.
func (c *config) RecordAction(_ context.Context, req *configv1.RecordActionRequest) (*configv1.RecordActionResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refusal == nil {
		c.recorded = append(c.recorded, req)
	}
	return &configv1.RecordActionResponse{}, c.refusal
}

// keys has one API key.
type keys struct{ key rpc.Key }

// Key implements rpc.Keys.
func (k keys) Key(_ context.Context, id string) (rpc.Key, error) {
	if id != k.key.ID {
		return rpc.Key{}, fault.New(fault.NotFound, "API_KEY_NOT_FOUND", "no such key")
	}
	return k.key, nil
}

// served is the service behind a gRPC server, with an administrator's client.
type served struct {
	*env

	operationv1.OperationServiceClient
	key    rpc.Key
	config *config
	stop   func()
}

func serve(t *testing.T) *served {
	t.Helper()
	e := &served{env: setup(t), config: &config{}}
	id, key, sum, err := rpc.NewKey()
	require.NoError(t, err)
	e.key = rpc.Key{ID: id, Organization: "acme", Role: accessv1.Role_ROLE_ADMIN, SecretSHA256: sum}
	server, err := rpc.NewServer(rpc.ServerConfig{
		Logger: slog.New(slog.DiscardHandler), Registry: prometheus.NewRegistry(),
		Keys: keys{e.key}, ServiceToken: secret.New(serviceToken),
	})
	require.NoError(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	dial := func(credential secret.String) *grpc.ClientConn {
		conn, err := rpc.Dial(listener.Addr().String(), rpc.WithServiceToken(credential))
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, conn.Close()) })
		return conn
	}
	log := audit.New(configv1.NewConfigServiceClient(dial(secret.New(serviceToken))), e.clock.Now)
	service := operation.NewService(e.PgStore, log)
	operationv1.RegisterOperationServiceServer(server, service)
	configv1.RegisterConfigServiceServer(server, e.config)
	ctx, cancel := context.WithCancel(context.Background())
	context.AfterFunc(ctx, service.Close)
	done := make(chan error, 1)
	go func() { done <- rpc.Serve(ctx, server, listener) }()
	e.stop = sync.OnceFunc(func() { cancel(); require.NoError(t, <-done) })
	t.Cleanup(e.stop)
	e.OperationServiceClient = operationv1.NewOperationServiceClient(dial(key))
	return e
}

func TestServiceShowsOperations(t *testing.T) {
	t.Parallel()
	e := serve(t)
	o := e.begin(t)
	w := e.take(t)
	total := int64(9)
	require.NoError(t, e.Advance(t.Context(), &w, operation.Step{Processed: 4, Affected: 3, Skipped: 2, Repeat: 1, Total: &total}))
	got, err := e.GetOperation(t.Context(), &operationv1.GetOperationRequest{Name: o.Name()})
	require.NoError(t, err)
	require.Equal(t, o.Name(), got.GetName())
	require.Equal(t, "count", got.GetType())
	require.Equal(t, "organizations/acme", got.GetTarget())
	require.Equal(t, operationv1.Operation_STATE_RUNNING, got.GetState())
	require.Equal(t, []int64{9, 4, 3, 2, 1}, []int64{
		got.GetTotalCount(), got.GetProcessedCount(), got.GetAffectedCount(), got.GetSkippedCount(), got.GetRepeatCount(),
	})
	require.Equal(t, o.CreateTime, got.GetCreateTime().AsTime())
	require.Nil(t, got.GetEndTime())

	want := []string{o.Name()}
	for range 4 {
		want = append([]string{e.begin(t).Name()}, want...)
	}
	req := &operationv1.ListOperationsRequest{Parent: "organizations/acme", PageSize: 2}
	var all []string
	for {
		page, err := e.ListOperations(t.Context(), req)
		require.NoError(t, err)
		for _, o := range page.GetOperations() {
			all = append(all, o.GetName())
		}
		if req.PageToken = page.GetNextPageToken(); req.GetPageToken() == "" {
			break
		}
		require.Len(t, page.GetOperations(), 2)
	}
	require.Equal(t, want, all)
	req.PageToken = "bm9uZQ"
	_, err = e.ListOperations(t.Context(), req)
	require.Equal(t, codes.InvalidArgument, status.Code(err), "%v", err)
}

func TestChangesAreRecordedBefore(t *testing.T) {
	t.Parallel()
	e := serve(t)
	o := e.begin(t)
	cancelReq, resumeReq := &operationv1.CancelOperationRequest{Name: o.Name()}, &operationv1.ResumeOperationRequest{Name: o.Name()}
	_, err := e.ResumeOperation(t.Context(), resumeReq)
	require.Equal(t, codes.FailedPrecondition, status.Code(err))
	e.config.refusal = fault.New(fault.Unavailable, "AWAY", "the audit log is away")
	_, err = e.CancelOperation(t.Context(), cancelReq)
	require.Equal(t, codes.Unavailable, status.Code(err))
	require.Equal(t, operation.Running, e.get(t, o.ID).State, "what cannot be recorded is not done")
	e.config.refusal = nil
	_, err = e.CancelOperation(t.Context(), &operationv1.CancelOperationRequest{Name: "organizations/acme/operations/" + uuid.NewString()})
	require.Equal(t, codes.NotFound, status.Code(err))
	require.Empty(t, e.config.recorded, "what is not possible is not recorded")

	canceled, err := e.CancelOperation(t.Context(), cancelReq)
	require.NoError(t, err)
	require.Equal(t, operationv1.Operation_STATE_CANCELED, canceled.GetState())
	resumed, err := e.ResumeOperation(t.Context(), resumeReq)
	require.NoError(t, err)
	require.Equal(t, operationv1.Operation_STATE_RUNNING, resumed.GetState())
	require.Len(t, e.config.recorded, 2)
	for i, action := range []string{"cancel", "resume"} {
		entry := e.config.recorded[i]
		require.Equal(t, action, entry.GetAction())
		require.NoError(t, uuid.Validate(entry.GetId()))
		require.Equal(t, "acme", entry.GetOrganization())
		require.Equal(t, o.Name(), entry.GetResource())
		require.Equal(t, "apiKeys/"+e.key.ID, entry.GetActor())
		require.Equal(t, accessv1.Role_ROLE_ADMIN, entry.GetRole())
		require.Equal(t, "127.0.0.1", entry.GetAddress())
		require.Contains(t, entry.GetUserAgent(), "grpc-go")
		require.Equal(t, "count", entry.GetDetails().GetFields()["type"].GetStringValue())
		require.WithinDuration(t, e.clock.Now(), entry.GetTime().AsTime(), time.Second)
	}
}

func TestWatchersSeeEveryState(t *testing.T) {
	t.Parallel()
	e := serve(t)
	o := e.begin(t)
	stream, err := e.WatchOperation(t.Context(), &operationv1.WatchOperationRequest{Name: o.Name()})
	require.NoError(t, err)
	first, err := stream.Recv()
	require.NoError(t, err)
	require.Zero(t, first.GetProcessedCount())
	w := e.take(t)
	require.NoError(t, e.Advance(t.Context(), &w, operation.Step{Processed: 5}))
	second, err := stream.Recv()
	require.NoError(t, err)
	require.EqualValues(t, 5, second.GetProcessedCount())
	require.NoError(t, e.Advance(t.Context(), &w, operation.Step{Processed: 1}))
	require.NoError(t, e.End(t.Context(), w, nil))
	var last *operationv1.Operation
	for {
		next, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		last = next
	}
	require.True(t, last.GetDone())
	require.EqualValues(t, 6, last.GetProcessedCount())

	stream, err = e.WatchOperation(t.Context(), &operationv1.WatchOperationRequest{Name: o.Name()})
	require.NoError(t, err)
	last, err = stream.Recv()
	require.NoError(t, err)
	require.True(t, last.GetDone(), "what has ended is told once")
	_, err = stream.Recv()
	require.ErrorIs(t, err, io.EOF)
	stream, err = e.WatchOperation(t.Context(), &operationv1.WatchOperationRequest{Name: "organizations/acme/operations/" + uuid.NewString()})
	require.NoError(t, err)
	_, err = stream.Recv()
	require.Equal(t, codes.NotFound, status.Code(err))
}

func TestWatchingEndsWithTheServiceAndWithTheOperation(t *testing.T) {
	t.Parallel()
	e := serve(t)
	o, other := e.begin(t), e.begin(t)
	watch := func(o operation.Operation) func() error {
		stream, err := e.WatchOperation(t.Context(), &operationv1.WatchOperationRequest{Name: o.Name()})
		require.NoError(t, err)
		_, err = stream.Recv()
		require.NoError(t, err)
		return func() error { _, err := stream.Recv(); return err }
	}
	removed, stopped := watch(o), watch(other)
	_, err := e.pool.Exec(t.Context(), "DELETE FROM work.operation WHERE id = $1", o.ID)
	require.NoError(t, err)
	require.Equal(t, codes.NotFound, status.Code(removed()))
	e.stop() // it would wait for the stream
	err = stopped()
	require.Equal(t, codes.Unavailable, status.Code(err), "%v", err)
	require.Equal(t, "STOPPING", fault.From(rpc.FaultFromStatus(err)).Reason)
}
