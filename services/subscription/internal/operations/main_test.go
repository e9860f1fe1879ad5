package operations_test

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"github.com/meetwire/meetwire/pkg/pgtest"
	"github.com/meetwire/meetwire/pkg/rpc"
	"github.com/meetwire/meetwire/pkg/seal"
	"github.com/meetwire/meetwire/pkg/secret"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	ingestv1 "github.com/meetwire/meetwire/proto/gen/meetwire/ingest/v1"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
	"github.com/meetwire/meetwire/services/subscription/internal/operations"
	"github.com/meetwire/meetwire/services/subscription/internal/pgstore"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

const (
	patience     = 20 * time.Second
	tick         = 5 * time.Millisecond
	serviceToken = "service-token-of-the-tests-0123456789"
)

// peer is a real gRPC server that stands in for ingest and for delivery.
type peer struct {
	ingestv1.UnimplementedInternalServiceServer

	mu       sync.Mutex
	history  func(ctx context.Context, req *ingestv1.FanOutHistoryRequest) (*ingestv1.FanOutHistoryResponse, error)
	purge    func(organization string, revision int64) (int64, error)
	asked    []*ingestv1.FanOutHistoryRequest
	purged   []int64 // revisions with which ingest was asked to purge
	received []int64 // and delivery
}

// FanOutHistory implements InternalService of ingest.
func (p *peer) FanOutHistory(ctx context.Context, req *ingestv1.FanOutHistoryRequest) (*ingestv1.FanOutHistoryResponse, error) {
	p.mu.Lock()
	p.asked = append(p.asked, req)
	answer := p.history
	p.mu.Unlock()
	return answer(ctx, req)
}

// requests returns what FanOutHistory was asked for so far.
func (p *peer) requests() []*ingestv1.FanOutHistoryRequest {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]*ingestv1.FanOutHistoryRequest(nil), p.asked...)
}

// PurgeOrganization implements InternalService of ingest.
func (p *peer) PurgeOrganization(_ context.Context, req *ingestv1.PurgeOrganizationRequest) (*ingestv1.PurgeOrganizationResponse, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.purged = append(p.purged, req.GetRevision())
	count, err := p.purge(req.GetOrganization(), req.GetRevision())
	return &ingestv1.PurgeOrganizationResponse{MessageCount: count}, err
}

// deliveryPeer is the part that stands in for delivery, whose service has methods of the same names.
type deliveryPeer struct {
	deliveryv1.UnimplementedInternalServiceServer

	*peer
}

// PurgeOrganization implements InternalService of delivery.
func (p *deliveryPeer) PurgeOrganization(_ context.Context, req *deliveryv1.PurgeOrganizationRequest) (*deliveryv1.PurgeOrganizationResponse, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.received = append(p.received, req.GetRevision())
	count, err := p.purge(req.GetOrganization(), req.GetRevision())
	return &deliveryv1.PurgeOrganizationResponse{MessageCount: count, RowCount: count}, err
}

// env is a database, a peer, and what runners are made of.
type env struct {
	pool  *pgxpool.Pool
	store *pgstore.Store
	box   *seal.Box
	peer  *peer
	conn  *grpc.ClientConn
}

func setup(t *testing.T) *env {
	t.Helper()
	pool := pgtest.Database(t, "operations", pgstore.Migrate)
	keyset, err := seal.GenerateKeyset()
	require.NoError(t, err)
	box, err := seal.New(keyset)
	require.NoError(t, err)
	e := &env{pool: pool, store: pgstore.New(pool, slog.New(slog.DiscardHandler), time.Now), box: box, peer: &peer{}}
	server, err := rpc.NewServer(rpc.ServerConfig{
		Logger: slog.New(slog.DiscardHandler), Registry: prometheus.NewRegistry(), ServiceToken: secret.New(serviceToken),
	})
	require.NoError(t, err)
	ingestv1.RegisterInternalServiceServer(server, e.peer)
	deliveryv1.RegisterInternalServiceServer(server, &deliveryPeer{peer: e.peer})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- rpc.Serve(ctx, server, listener) }()
	t.Cleanup(func() { cancel(); require.NoError(t, <-done) })
	e.conn, err = rpc.Dial(listener.Addr().String(), rpc.WithServiceToken(secret.New(serviceToken)))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.conn.Close()) })
	now := core.Stored(time.Now())
	require.NoError(t, e.store.InsertOrganization(t.Context(), core.Organization{
		ID: "acme", DisplayName: "Acme", Version: 1, CreateTime: now, UpdateTime: now,
	}, core.Request{}))
	return e
}

// run starts an instance; stop ends it in order and waits.
func (e *env) run(t *testing.T, secrets operations.Secrets, lease time.Duration) (stop func()) {
	t.Helper()
	runner, err := operations.New(operations.Config{
		Store: e.store, Secrets: secrets, Logger: slog.New(slog.DiscardHandler), Lease: lease, Poll: 20 * time.Millisecond,
		Now: time.Now, Settle: time.Second,
		Ingest: ingestv1.NewInternalServiceClient(e.conn), Delivery: deliveryv1.NewInternalServiceClient(e.conn),
	})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- runner.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			require.NoError(t, err)
		case <-time.After(patience):
			require.Fail(t, "the runner does not stop")
		}
	})
	t.Cleanup(stop)
	return stop
}

// begin stores an operation that sends a webhook what it has missed.
func (e *env) begin(t *testing.T) core.Operation {
	t.Helper()
	id := uuid.NewString()
	parameters := `{"organization":"acme","webhook":"` + id + `","start_time":"2026-05-01T00:00:00Z","end_time":"2026-05-02T00:00:00Z","revision":7}`
	_, err := e.pool.Exec(t.Context(), `
		INSERT INTO subscription.operation (id, organization, type, target, state, parameters, progress, lease_time, create_time, update_time)
		VALUES ($1, 'acme', 'resume_webhook', $2, 'running', $3, '{}', now(), now(), now())`,
		id, "organizations/acme/webhooks/"+id, parameters)
	require.NoError(t, err)
	o, err := e.store.Operation(t.Context(), "acme", id)
	require.NoError(t, err)
	return o
}

// await waits until an operation has ended and returns it.
func (e *env) await(t *testing.T, o core.Operation) core.Operation {
	t.Helper()
	return e.awaitThat(t, o, core.Operation.Done)
}

// awaitThat waits until something holds for an operation and returns it.
func (e *env) awaitThat(t *testing.T, o core.Operation, holds func(core.Operation) bool) core.Operation {
	t.Helper()
	require.Eventually(t, func() bool {
		var err error
		o, err = e.store.Operation(t.Context(), o.Organization, o.ID)
		require.NoError(t, err)
		return holds(o)
	}, patience, tick)
	return o
}
