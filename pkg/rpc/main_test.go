package rpc_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/rpc"
	"github.com/meetwire/meetwire/pkg/secret"
	accessv1 "github.com/meetwire/meetwire/proto/gen/meetwire/access/v1"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	ingestv1 "github.com/meetwire/meetwire/proto/gen/meetwire/ingest/v1"
	subscriptionv1 "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	serviceToken = "a service token of the tests, long enough"
	webhookName  = "organizations/acme/webhooks/0b3c7f6e-0000-4000-8000-000000000001"
)

// memoryKeys is a rpc.Keys. It counts what it is asked.
type memoryKeys struct {
	mu    sync.Mutex
	keys  map[string]rpc.Key
	err   error
	asked int
	used  []string
}

// KeyUsed implements rpc.KeyUses.
func (k *memoryKeys) KeyUsed(id string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.used = append(k.used, id)
}

func (k *memoryKeys) Key(_ context.Context, id string) (rpc.Key, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.asked++
	if k.err != nil {
		return rpc.Key{}, k.err
	}
	key, ok := k.keys[id]
	if !ok {
		return rpc.Key{}, fault.New(fault.NotFound, "KEY_NOT_FOUND", "no such key")
	}
	return key, nil
}

// add makes a key and returns its text.
func (k *memoryKeys) add(t testing.TB, role accessv1.Role, organization string) string {
	t.Helper()
	id, key, sum, err := rpc.NewKey()
	require.NoError(t, err)
	k.put(rpc.Key{ID: id, Organization: organization, Role: role, SecretSHA256: sum})
	return key.Reveal()
}

func (k *memoryKeys) put(key rpc.Key) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.keys[key.ID] = key
}

func (k *memoryKeys) fail(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.err = err
}

// services are the fakes of three real services. What a method does is up to the test.
type services struct {
	subscriptionv1.UnimplementedWebhookServiceServer
	ingestv1.UnimplementedEventServiceServer
	configv1.UnimplementedConfigServiceServer

	get     func(context.Context, *subscriptionv1.GetWebhookRequest) (*subscriptionv1.Webhook, error)
	watch   func(*configv1.WatchConfigRequest, grpc.ServerStreamingServer[configv1.WatchConfigResponse]) error
	mu      sync.Mutex
	callers []rpc.Caller
}

func (s *services) note(ctx context.Context) {
	caller, ok := rpc.CallerFrom(ctx)
	if !ok {
		panic("a handler was called for nobody")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.callers = append(s.callers, caller)
}

// takeCallers returns who has reached a handler since the last time.
func (s *services) takeCallers() []rpc.Caller {
	s.mu.Lock()
	defer s.mu.Unlock()
	callers := s.callers
	s.callers = nil
	return callers
}

func (s *services) CreateWebhook(ctx context.Context, req *subscriptionv1.CreateWebhookRequest) (*subscriptionv1.Webhook, error) {
	s.note(ctx)
	return req.GetWebhook(), nil
}

func (s *services) GetWebhook(ctx context.Context, req *subscriptionv1.GetWebhookRequest) (*subscriptionv1.Webhook, error) {
	s.note(ctx)
	if s.get != nil {
		return s.get(ctx, req)
	}
	return &subscriptionv1.Webhook{Name: req.GetName()}, nil
}

func (s *services) ListWebhooks(ctx context.Context, _ *subscriptionv1.ListWebhooksRequest) (*subscriptionv1.ListWebhooksResponse, error) {
	s.note(ctx)
	return &subscriptionv1.ListWebhooksResponse{}, nil
}

func (s *services) UpdateWebhook(ctx context.Context, req *subscriptionv1.UpdateWebhookRequest) (*subscriptionv1.Webhook, error) {
	s.note(ctx)
	return req.GetWebhook(), nil
}

func (s *services) PublishEvent(ctx context.Context, _ *ingestv1.PublishEventRequest) (*ingestv1.PublishEventResponse, error) {
	s.note(ctx)
	return &ingestv1.PublishEventResponse{Sequence: 7}, nil
}

func (s *services) WatchConfig(req *configv1.WatchConfigRequest, stream grpc.ServerStreamingServer[configv1.WatchConfigResponse]) error {
	s.note(stream.Context())
	if s.watch != nil {
		return s.watch(req, stream)
	}
	return stream.Send(&configv1.WatchConfigResponse{
		Message: &configv1.WatchConfigResponse_Heartbeat{Heartbeat: &configv1.Heartbeat{Revision: req.GetAfterRevision()}},
	})
}

// world is a server that listens and a connection to it.
type world struct {
	*services
	keys     *memoryKeys
	registry *prometheus.Registry
	log      *logBuffer
	server   *grpc.Server
	address  string
	conn     *grpc.ClientConn // without a credential
	webhooks subscriptionv1.WebhookServiceClient
	events   ingestv1.EventServiceClient
	config   configv1.ConfigServiceClient
	stop     func() error // stops the server and returns what Serve returned
}

func setup(t testing.TB, change ...func(*rpc.ServerConfig)) *world {
	t.Helper()
	return setupWith(t, func(*grpc.Server) {}, change...)
}

// setupWith registers more services than the three.
func setupWith(t testing.TB, register func(*grpc.Server), change ...func(*rpc.ServerConfig)) *world {
	t.Helper()
	w := &world{
		services: &services{},
		keys:     &memoryKeys{keys: map[string]rpc.Key{}},
		registry: prometheus.NewRegistry(),
		log:      &logBuffer{},
	}
	config := rpc.ServerConfig{
		Logger: slog.New(slog.NewJSONHandler(w.log, nil)), Registry: w.registry,
		Keys: w.keys, ServiceToken: secret.New(serviceToken),
	}
	for _, f := range change {
		f(&config)
	}
	var err error
	w.server, err = rpc.NewServer(config)
	require.NoError(t, err)
	subscriptionv1.RegisterWebhookServiceServer(w.server, w.services)
	ingestv1.RegisterEventServiceServer(w.server, w.services)
	configv1.RegisterConfigServiceServer(w.server, w.services)
	register(w.server)

	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	w.address = listener.Addr().String()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	served := make(chan error, 1)
	go func() { served <- rpc.Serve(ctx, w.server, listener) }()
	w.stop = sync.OnceValue(func() error {
		cancel()
		return <-served
	})
	t.Cleanup(func() { require.NoError(t, w.stop()) })

	w.conn = dial(t, w.address)
	w.webhooks = subscriptionv1.NewWebhookServiceClient(w.conn)
	w.events = ingestv1.NewEventServiceClient(w.conn)
	w.config = configv1.NewConfigServiceClient(w.conn)
	return w
}

func dial(t testing.TB, address string, options ...rpc.Option) *grpc.ClientConn {
	t.Helper()
	conn, err := rpc.Dial(address, options...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	return conn
}

// as returns a context whose calls carry a credential.
func as(t testing.TB, credential string) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+credential)
}

// requireFault asserts what a call failed with, and that it was told with our domain.
func requireFault(t testing.TB, err error, kind fault.Kind, reason string) *fault.Error {
	t.Helper()
	var f *fault.Error
	require.ErrorAs(t, rpc.FaultFromStatus(err), &f)
	require.Equal(t, kind, f.Kind, f)
	require.Equal(t, reason, f.Reason, f)
	return f
}

// logBuffer keeps log lines.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

// lines returns what was logged, decoded.
func (b *logBuffer) lines(t testing.TB) []map[string]any {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	lines := []map[string]any{}
	for line := range strings.Lines(b.text.String()) {
		decoded := map[string]any{}
		require.NoError(t, json.Unmarshal([]byte(line), &decoded))
		lines = append(lines, decoded)
	}
	return lines
}

// otherSecret returns a key with the same id and another secret.
func otherSecret(t testing.TB, key string) string {
	t.Helper()
	_, other, _, err := rpc.NewKey()
	require.NoError(t, err)
	return key[:len("mwk_")+17] + other.Reveal()[len("mwk_")+17:]
}

// sumOf is what is stored of a key.
func sumOf(t testing.TB, key string) (string, [sha256.Size]byte) {
	t.Helper()
	id, sum, ok := rpc.ParseKey(key)
	require.True(t, ok)
	return id, sum
}
