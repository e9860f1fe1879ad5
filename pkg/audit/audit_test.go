package audit_test

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

	"github.com/meetwire/meetwire/pkg/audit"
	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/rpc"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

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
	c.recorded = append(c.recorded, req)
	return &configv1.RecordActionResponse{}, c.refusal
}

// setup returns a log whose entries come to a ConfigService, and how to stop that.
func setup(t *testing.T, now time.Time) (log *audit.Log, c *config, stop func()) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	c = &config{}
	server := grpc.NewServer()
	configv1.RegisterConfigServiceServer(server, c)
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) })
	stop = func() { server.Stop(); serving.Wait() }
	t.Cleanup(stop)
	conn, err := rpc.Dial(listener.Addr().String())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	return audit.New(configv1.NewConfigServiceClient(conn), func() time.Time { return now }), c, stop
}

func TestActionIsRecordedAsItIs(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 5, 1, 10, 0, 0, 5000, time.UTC)
	log, c, _ := setup(t, now)
	action := audit.Action{
		ID: uuid.NewString(), Organization: "acme", Action: audit.Erase, Resource: "organizations/acme",
		Details: map[string]any{"ids": []string{"a", "b"}, "since": now, "count": int64(7), "text": "a\xffb\x00"},
	}
	require.NoError(t, log.Record(t.Context(), action))
	require.NoError(t, log.Record(t.Context(), audit.Action{Action: audit.Purge, Resource: "organizations/-"}))
	require.Len(t, c.recorded, 2)
	got := c.recorded[0]
	require.Equal(t, action.ID, got.GetId())
	require.Equal(t, "erase", got.GetAction())
	require.Equal(t, "acme", got.GetOrganization())
	require.Equal(t, "organizations/acme", got.GetResource())
	require.Equal(t, now, got.GetTime().AsTime())
	require.Equal(t, audit.System, got.GetActor(), "nobody calls")
	require.Empty(t, got.GetAddress())
	require.Equal(t, map[string]any{
		"ids": []any{"a", "b"}, "since": "2026-05-01T10:00:00.000005Z", "count": 7.0, "text": "a\ufffdb\x00",
	}, got.GetDetails().AsMap())
	require.NoError(t, uuid.Validate(c.recorded[1].GetId()))
	require.Nil(t, c.recorded[1].GetDetails())
}

func TestWhatCannotBeRecordedIsAFault(t *testing.T) {
	t.Parallel()
	log, c, stop := setup(t, time.Now())
	require.Error(t, log.Record(t.Context(), audit.Action{Action: audit.Purge, Details: map[string]any{"x": make(chan int)}}))
	require.Empty(t, c.recorded)
	c.refusal = rpc.Status(fault.New(fault.NotFound, "ORGANIZATION_NOT_FOUND", "it is gone")).Err()
	err := log.Record(t.Context(), audit.Action{Action: audit.Purge, Resource: "organizations/acme"})
	require.True(t, fault.Is(err, fault.NotFound), "%v", err)
	stop()
	err = log.Record(t.Context(), audit.Action{Action: audit.Purge, Resource: "organizations/acme"})
	require.True(t, fault.Is(err, fault.Unavailable), "%v", err)
}
