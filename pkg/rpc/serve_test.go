package rpc_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/meetwire/meetwire/pkg/lifecycle"
	"github.com/meetwire/meetwire/pkg/rpc"
	"github.com/meetwire/meetwire/pkg/secret"
	accessv1 "github.com/meetwire/meetwire/proto/gen/meetwire/access/v1"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	subscriptionv1 "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
)

func TestServeLetsCallsFinish(t *testing.T) {
	t.Parallel()
	w := setup(t)
	entered, leave := make(chan struct{}), make(chan struct{})
	w.get = func(_ context.Context, r *subscriptionv1.GetWebhookRequest) (*subscriptionv1.Webhook, error) {
		close(entered)
		<-leave
		return &subscriptionv1.Webhook{Name: r.GetName()}, nil
	}
	ctx := as(t, w.keys.add(t, accessv1.Role_ROLE_ADMIN, "acme"))
	answered := make(chan error, 1)
	go func() {
		_, err := w.webhooks.GetWebhook(ctx, &subscriptionv1.GetWebhookRequest{Name: webhookName})
		answered <- err
	}()
	<-entered
	stopped := make(chan error, 1)
	go func() { stopped <- w.stop() }()

	// No new connection is taken while the call goes on.
	require.Eventually(t, func() bool {
		conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", w.address)
		if err == nil {
			require.NoError(t, conn.Close())
		}
		return err != nil
	}, 10*time.Second, time.Millisecond)
	require.Empty(t, stopped)
	close(leave)
	require.NoError(t, <-answered)
	require.NoError(t, <-stopped)
}

func TestServeCutsOffAtTheGraceDeadline(t *testing.T) {
	t.Parallel()
	server, service, listener := newServer(t)
	entered, left := make(chan struct{}), make(chan struct{})
	service.watch = func(_ *configv1.WatchConfigRequest, stream grpc.ServerStreamingServer[configv1.WatchConfigResponse]) error {
		defer close(left)
		close(entered)
		<-stream.Context().Done()
		return stream.Context().Err()
	}
	group := lifecycle.NewGroup(slog.New(slog.DiscardHandler), 50*time.Millisecond)
	served, stopped := make(chan error, 1), make(chan error, 1)
	group.Add("server", func(ctx context.Context) error {
		err := rpc.Serve(ctx, server, listener)
		served <- err
		return err
	})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { stopped <- group.Run(ctx) }()

	conn := dial(t, listener.Addr().String(), rpc.WithServiceToken(secret.New(serviceToken)))
	stream, err := configv1.NewConfigServiceClient(conn).WatchConfig(t.Context(), &configv1.WatchConfigRequest{})
	require.NoError(t, err)
	<-entered
	cancel()
	require.NoError(t, <-served)
	require.ErrorIs(t, <-stopped, lifecycle.ErrGraceExceeded)
	<-left
	_, err = stream.Recv()
	require.Contains(t, []codes.Code{codes.Unavailable, codes.Canceled}, status.Code(err))
}

func TestServeThatWasNeverAsked(t *testing.T) {
	t.Parallel()
	server, _, listener := newServer(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, rpc.Serve(ctx, server, listener))
	_, err := listener.Accept()
	require.ErrorIs(t, err, net.ErrClosed)
}

func TestServeReturnsTheFailureOfItsListener(t *testing.T) {
	t.Parallel()
	server, _, listener := newServer(t)
	broken := errors.New("the listener is broken")
	require.ErrorIs(t, rpc.Serve(t.Context(), server, failingListener{listener, broken}), broken)
	_, err := listener.Accept()
	require.ErrorIs(t, err, net.ErrClosed)

	server, _, listener = newServer(t)
	go server.Stop()
	require.ErrorIs(t, rpc.Serve(t.Context(), server, listener), grpc.ErrServerStopped)
}

type failingListener struct {
	net.Listener
	err error
}

func (l failingListener) Accept() (net.Conn, error) { return nil, l.err }

func newServer(t *testing.T) (*grpc.Server, *services, net.Listener) {
	t.Helper()
	server, err := rpc.NewServer(rpc.ServerConfig{
		Logger: slog.New(slog.DiscardHandler), Registry: prometheus.NewRegistry(), ServiceToken: secret.New(serviceToken),
	})
	require.NoError(t, err)
	service := &services{}
	configv1.RegisterConfigServiceServer(server, service)
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	return server, service, listener
}

func TestTLS(t *testing.T) {
	t.Parallel()
	authority := httptest.NewTLSServer(nil) // for its certificate, which is for example.com
	authority.Close()
	w := setup(t, func(c *rpc.ServerConfig) {
		c.TLS = &tls.Config{Certificates: authority.TLS.Certificates, MinVersion: tls.VersionTLS13}
	})
	roots := x509.NewCertPool()
	roots.AddCert(authority.Certificate())
	call := func(options ...rpc.Option) error {
		options = append(options, rpc.WithServiceToken(secret.New(serviceToken)))
		stream, err := configv1.NewConfigServiceClient(dial(t, w.address, options...)).WatchConfig(t.Context(), &configv1.WatchConfigRequest{})
		if err != nil {
			return err
		}
		_, err = stream.Recv()
		return err
	}
	require.NoError(t, call(rpc.WithTLS(&tls.Config{RootCAs: roots, ServerName: "example.com", MinVersion: tls.VersionTLS13})))
	require.Equal(t, codes.Unavailable, status.Code(call(rpc.WithTLS(&tls.Config{MinVersion: tls.VersionTLS13}))))
	require.Equal(t, codes.Unavailable, status.Code(call()))
}

func TestDialWithinTheProcess(t *testing.T) {
	t.Parallel()
	w := setup(t)
	dialed := make(chan string, 1)
	conn := dial(t, "passthrough:///subscription", rpc.WithServiceToken(secret.New(serviceToken)),
		rpc.WithDialer(func(ctx context.Context, address string) (net.Conn, error) {
			dialed <- address
			return (&net.Dialer{}).DialContext(ctx, "tcp", w.address)
		}))
	stream, err := configv1.NewConfigServiceClient(conn).WatchConfig(t.Context(), &configv1.WatchConfigRequest{})
	require.NoError(t, err)
	_, err = stream.Recv()
	require.NoError(t, err)
	require.Equal(t, "subscription", <-dialed)
}

func TestDialOfNoTarget(t *testing.T) {
	t.Parallel()
	_, err := rpc.Dial("dns://\x00")
	require.Error(t, err)
}

// A connection that could not be made is made when the server is there.
func TestDialReconnects(t *testing.T) {
	t.Parallel()
	server, _, listener := newServer(t)
	conn := dial(t, listener.Addr().String(), rpc.WithServiceToken(secret.New(serviceToken)))
	require.NoError(t, listener.Close())
	call := func() error {
		stream, err := configv1.NewConfigServiceClient(conn).WatchConfig(t.Context(), &configv1.WatchConfigRequest{})
		if err != nil {
			return err
		}
		_, err = stream.Recv()
		return err
	}
	require.Equal(t, codes.Unavailable, status.Code(call()))

	again, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", listener.Addr().String())
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- rpc.Serve(ctx, server, again) }()
	require.Eventually(t, func() bool { return call() == nil }, 20*time.Second, 10*time.Millisecond)
	cancel()
	require.NoError(t, <-served)
}

func TestServerConfigThatIsWrong(t *testing.T) {
	t.Parallel()
	good := func() rpc.ServerConfig {
		return rpc.ServerConfig{
			Logger: slog.New(slog.DiscardHandler), Registry: prometheus.NewRegistry(), ServiceToken: secret.New(serviceToken),
		}
	}
	_, err := rpc.NewServer(good())
	require.NoError(t, err)
	_, err = rpc.NewServer(rpc.ServerConfig{})
	for _, problem := range []string{"logger", "registry", "API keys or a service token"} {
		require.ErrorContains(t, err, problem)
	}
	for problem, change := range map[string]func(*rpc.ServerConfig){
		"must not begin with mwk_": func(c *rpc.ServerConfig) { c.ServiceToken = secret.New("mwk_0123") },
		"with a space":             func(c *rpc.ServerConfig) { c.ServiceToken = secret.New("0123456789 ") },
		"negative":                 func(c *rpc.ServerConfig) { c.MaxReceiveBytes = -1 },
	} {
		config := good()
		change(&config)
		_, err := rpc.NewServer(config)
		require.ErrorContains(t, err, problem)
		require.NotContains(t, err.Error(), config.ServiceToken.Reveal())
	}

	taken := good()
	require.NoError(t, taken.Registry.Register(prometheus.NewGauge(prometheus.GaugeOpts{Name: "meetwire_rpc_server_in_flight", Help: "x"})))
	_, err = rpc.NewServer(taken)
	require.ErrorContains(t, err, "register the metrics")
}
