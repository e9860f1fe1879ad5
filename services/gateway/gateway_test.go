package gateway_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"

	"github.com/meetwire/meetwire/pkg/lifecycle"
	"github.com/meetwire/meetwire/pkg/rpc"
	"github.com/meetwire/meetwire/pkg/secret"
	ingestv1 "github.com/meetwire/meetwire/proto/gen/meetwire/ingest/v1"
	"github.com/meetwire/meetwire/services/gateway"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	// patience is how long a test waits for something that should be there at once.
	patience     = 20 * time.Second
	tick         = 10 * time.Millisecond
	serviceToken = "service-token-of-the-tests-0123456789"
)

// Names and defaults are what installations are configured with: this is all of them.
func TestFlagsAndVariables(t *testing.T) {
	t.Parallel()
	var config gateway.Config
	parser, err := kong.New(&config)
	require.NoError(t, err)
	have := make(map[string][2]string)
	for _, group := range parser.Model.AllFlags(false) {
		for _, flag := range group {
			if flag.Name != "help" {
				have[flag.Name] = [2]string{strings.Join(flag.Envs, " "), flag.Default}
			}
		}
	}
	require.Equal(t, map[string][2]string{
		"http-addr":         {"MEETWIRE_HTTP_ADDR", "127.0.0.1:8080"},
		"subscription-addr": {"MEETWIRE_SUBSCRIPTION_ADDR", "127.0.0.1:9001"},
		"ingest-addr":       {"MEETWIRE_INGEST_ADDR", "127.0.0.1:9002"},
		"delivery-addr":     {"MEETWIRE_DELIVERY_ADDR", "127.0.0.1:9003"},
	}, have)
}

func TestValidateReportsEverythingAtOnce(t *testing.T) {
	t.Parallel()
	broken := &gateway.Config{}
	for _, variable := range []string{
		"MEETWIRE_HTTP_ADDR", "MEETWIRE_SUBSCRIPTION_ADDR", "MEETWIRE_INGEST_ADDR", "MEETWIRE_DELIVERY_ADDR",
	} {
		require.ErrorContains(t, broken.Validate(), variable)
	}
	_, err := gateway.New(t.Context(), *broken, gateway.Deps{})
	require.ErrorContains(t, err, "MEETWIRE_HTTP_ADDR")
}

// backend is a service with nothing but its health.
type backend struct {
	healthy atomic.Bool
	address string
}

func newBackend(t *testing.T) *backend {
	t.Helper()
	b := &backend{}
	b.healthy.Store(true)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	b.address = listener.Addr().String()
	server, err := rpc.NewServer(rpc.ServerConfig{
		Logger: slog.New(slog.DiscardHandler), Registry: prometheus.NewRegistry(), ServiceToken: secret.New(serviceToken),
		Health: func(context.Context) error {
			if !b.healthy.Load() {
				return errors.New("postgres://user:password@db.internal is away")
			}
			return nil
		},
	})
	require.NoError(t, err)
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) })
	t.Cleanup(func() {
		server.Stop()
		serving.Wait()
	})
	return b
}

// slow is an EventService whose calls last until they are released.
type slow struct {
	ingestv1.UnimplementedEventServiceServer
	began, release chan struct{}
}

// PublishEvent implements EventService.
func (s *slow) PublishEvent(ctx context.Context, _ *ingestv1.PublishEventRequest) (*ingestv1.PublishEventResponse, error) {
	s.began <- struct{}{}
	select {
	case <-s.release:
		return &ingestv1.PublishEventResponse{Id: "1", Sequence: 1}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// env is a gateway that runs.
type env struct {
	service *gateway.Service
	url     string
	client  *http.Client
	stop    func() error
}

func start(t *testing.T, grace time.Duration, subscription, ingest, delivery string) *env {
	t.Helper()
	dial := func(address string) *grpc.ClientConn {
		conn, err := rpc.Dial(address)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, conn.Close()) })
		return conn
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	e := &env{url: "http://" + listener.Addr().String(), client: &http.Client{Transport: &http.Transport{}}}
	e.service, err = gateway.New(t.Context(), gateway.Config{HTTPAddr: "x", SubscriptionAddr: "x", IngestAddr: "x", DeliveryAddr: "x"}, gateway.Deps{
		Logger: slog.New(slog.DiscardHandler), Listener: listener,
		Subscription: dial(subscription), Ingest: dial(ingest), Delivery: dial(delivery),
	})
	require.NoError(t, err)
	group := lifecycle.NewGroup(slog.New(slog.DiscardHandler), grace)
	group.Add("gateway", e.service.Run)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- group.Run(ctx) }()
	e.stop = sync.OnceValue(func() error {
		cancel()
		select {
		case err := <-done:
			return err
		case <-time.After(patience):
			return errors.New("the gateway does not stop")
		}
	})
	t.Cleanup(func() {
		_ = e.stop() // its error is for the tests that stop
		e.client.CloseIdleConnections()
	})
	return e
}

func (e *env) get(t *testing.T, path string) (int, string) {
	t.Helper()
	response, err := e.client.Get(e.url + path)
	require.NoError(t, err)
	defer func() { require.NoError(t, response.Body.Close()) }()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response.StatusCode, string(body)
}

func TestReadinessNamesTheServiceThatIsNot(t *testing.T) {
	t.Parallel()
	subscription, ingest, delivery := newBackend(t), newBackend(t), newBackend(t)
	e := start(t, patience, subscription.address, ingest.address, delivery.address)
	status, body := e.get(t, "/readyz")
	require.Equal(t, http.StatusOK, status, body)
	require.NoError(t, e.service.Ready(t.Context()))

	ingest.healthy.Store(false)
	require.Eventually(t, func() bool {
		status, body = e.get(t, "/readyz")
		return status == http.StatusServiceUnavailable
	}, patience, 50*time.Millisecond)
	require.JSONEq(t, `{"ready":false,"error":"ingest: not ready"}`, body, "and nothing of the inside")
	status, _ = e.get(t, "/healthz")
	require.Equal(t, http.StatusOK, status)
	ingest.healthy.Store(true)
	require.Eventually(t, func() bool { return e.service.Ready(t.Context()) == nil }, patience, 50*time.Millisecond)
	require.NoError(t, e.stop())
}

func TestReadinessWithoutAService(t *testing.T) {
	t.Parallel()
	subscription, delivery := newBackend(t), newBackend(t)
	nobody, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, nobody.Close())
	e := start(t, patience, subscription.address, nobody.Addr().String(), delivery.address)
	status, body := e.get(t, "/readyz")
	require.Equal(t, http.StatusServiceUnavailable, status)
	require.JSONEq(t, `{"ready":false,"error":"ingest: not reachable"}`, body)
}

// newSlow serves an EventService whose calls wait.
func newSlow(t *testing.T) (*slow, string) {
	t.Helper()
	s := &slow{began: make(chan struct{}, 1), release: make(chan struct{})}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := grpc.NewServer()
	ingestv1.RegisterEventServiceServer(server, s)
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) })
	t.Cleanup(func() {
		server.Stop()
		serving.Wait()
	})
	return s, listener.Addr().String()
}

// publish sends an event and returns the status of the answer, 0 when there is none.
func (e *env) publish() <-chan int {
	answered := make(chan int, 1)
	go func() {
		response, err := e.client.Post(e.url+"/v1/organizations/acme/events", "application/json", strings.NewReader("{}"))
		if err != nil {
			answered <- 0
			return
		}
		_ = response.Body.Close()
		answered <- response.StatusCode
	}()
	return answered
}

func TestStopFinishesWhatIsInFlight(t *testing.T) {
	t.Parallel()
	s, address := newSlow(t)
	other := newBackend(t)
	e := start(t, patience, other.address, address, other.address)
	answered := e.publish()
	<-s.began
	stopped := make(chan error, 1)
	go func() { stopped <- e.stop() }()
	require.Eventually(t, func() bool {
		conn, err := net.Dial("tcp", strings.TrimPrefix(e.url, "http://"))
		if err == nil {
			_ = conn.Close()
		}
		return err != nil
	}, patience, tick, "it takes nothing new")
	require.Empty(t, answered)
	close(s.release)
	require.Equal(t, http.StatusAccepted, <-answered)
	require.NoError(t, <-stopped)
}

func TestStopCutsOffWhatTakesTooLong(t *testing.T) {
	t.Parallel()
	s, address := newSlow(t)
	other := newBackend(t)
	e := start(t, 100*time.Millisecond, other.address, address, other.address)
	answered := e.publish()
	<-s.began
	require.Error(t, e.stop())
	require.Zero(t, <-answered)
}

func TestListenerThatFailsIsAFailure(t *testing.T) {
	t.Parallel()
	other := newBackend(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	conn, err := rpc.Dial(other.address)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	service, err := gateway.New(t.Context(), gateway.Config{HTTPAddr: "x", SubscriptionAddr: "x", IngestAddr: "x", DeliveryAddr: "x"}, gateway.Deps{
		Logger: slog.New(slog.DiscardHandler), Listener: listener, Subscription: conn, Ingest: conn, Delivery: conn,
	})
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	require.Error(t, service.Run(t.Context()))
}
