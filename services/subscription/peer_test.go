package subscription_test

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/natstest"
	"github.com/meetwire/meetwire/pkg/rpc"
	"github.com/meetwire/meetwire/pkg/secret"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	ingestv1 "github.com/meetwire/meetwire/proto/gen/meetwire/ingest/v1"
	"github.com/meetwire/meetwire/services/subscription"
)

// peer is a real gRPC server that stands in for ingest and for delivery, whom services may not import.
type peer struct {
	ingestv1.UnimplementedInternalServiceServer

	address string

	mu      sync.Mutex
	history []*ingestv1.FanOutHistoryRequest
	purged  []string // organizations, once for each service that was asked
	tests   []*deliveryv1.SendTestRequest
	refused error // of tests
}

// FanOutHistory implements InternalService of ingest: there is one part, with one event.
func (p *peer) FanOutHistory(_ context.Context, req *ingestv1.FanOutHistoryRequest) (*ingestv1.FanOutHistoryResponse, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.history = append(p.history, req)
	return &ingestv1.FanOutHistoryResponse{AfterSequence: 1, EventCount: 1, MatchedCount: 1, Done: true}, nil
}

// PurgeOrganization implements InternalService of ingest.
func (p *peer) PurgeOrganization(_ context.Context, req *ingestv1.PurgeOrganizationRequest) (*ingestv1.PurgeOrganizationResponse, error) {
	p.note(req.GetOrganization())
	return &ingestv1.PurgeOrganizationResponse{MessageCount: 2}, nil
}

func (p *peer) note(organization string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.purged = append(p.purged, organization)
}

// purges returns which organizations were purged so far.
func (p *peer) purges() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.purged...)
}

// deliveryPeer is the part that stands in for delivery, whose service has a method of the same name.
type deliveryPeer struct {
	deliveryv1.UnimplementedInternalServiceServer

	*peer
}

// PurgeOrganization implements InternalService of delivery.
func (p *deliveryPeer) PurgeOrganization(_ context.Context, req *deliveryv1.PurgeOrganizationRequest) (*deliveryv1.PurgeOrganizationResponse, error) {
	p.note(req.GetOrganization())
	return &deliveryv1.PurgeOrganizationResponse{MessageCount: 3, RowCount: 4}, nil
}

// SendTest implements InternalService of delivery: it sends nothing.
func (p *deliveryPeer) SendTest(_ context.Context, req *deliveryv1.SendTestRequest) (*deliveryv1.SendTestResponse, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refused != nil {
		return nil, p.refused
	}
	p.tests = append(p.tests, req)
	return &deliveryv1.SendTestResponse{Attempt: &deliveryv1.Attempt{
		StatusCode: 200, Webhook: "organizations/" + req.GetWebhook().GetOrganization() + "/webhooks/" + req.GetWebhook().GetId(),
	}}, nil
}

// tested returns the tests that were sent so far.
func (p *peer) tested() []*deliveryv1.SendTestRequest {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]*deliveryv1.SendTestRequest(nil), p.tests...)
}

// newPeer runs a peer that knows the service token.
func newPeer(t *testing.T, token secret.String) *peer {
	t.Helper()
	p := &peer{}
	server, err := rpc.NewServer(rpc.ServerConfig{
		Logger: slog.New(slog.DiscardHandler), Registry: prometheus.NewRegistry(), ServiceToken: token,
	})
	require.NoError(t, err)
	ingestv1.RegisterInternalServiceServer(server, p)
	deliveryv1.RegisterInternalServiceServer(server, &deliveryPeer{peer: p})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p.address = listener.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- rpc.Serve(ctx, server, listener) }()
	t.Cleanup(func() { cancel(); require.NoError(t, <-done) })
	return p
}

// dial returns a connection as the service has it.
func (p *peer) dial(t *testing.T, token secret.String) *grpc.ClientConn {
	t.Helper()
	conn, err := rpc.Dial(p.address, rpc.WithServiceToken(token))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	return conn
}

// newBroker starts NATS with the streams of Meetwire.
func newBroker(t *testing.T) *natstest.Server {
	t.Helper()
	broker := natstest.Start(t)
	_, js := broker.Connect(t)
	require.NoError(t, bus.EnsureStreams(t.Context(), js, bus.DefaultConfig(), slog.New(slog.DiscardHandler)))
	return broker
}

// deps returns what an instance is given.
func (i *installation) deps(t *testing.T, listener net.Listener) subscription.Deps {
	t.Helper()
	conn, _ := i.broker.Connect(t)
	services := i.peer.dial(t, i.serviceToken)
	return subscription.Deps{
		Logger: i.logger, Registry: prometheus.NewRegistry(),
		DB: i.pool, NATS: conn, Ingest: services, Delivery: services, Listener: listener,
	}
}
