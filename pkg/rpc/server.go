package rpc

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"buf.build/go/protovalidate"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc/filters"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"

	"github.com/meetwire/meetwire/pkg/secret"
)

// DefaultMaxReceiveBytes is the greatest size of a message that a server takes: 4 MiB.
const DefaultMaxReceiveBytes = 4 << 20

// Limits of a connection to a server.
const (
	maxConcurrentStreams = 4096             // calls at a time
	maxHeaderBytes       = 64 << 10         // of the metadata of one call
	handshakeTimeout     = 20 * time.Second // from the connection's start to its first settings
	serverPingAfter      = 30 * time.Second // without activity
	serverPingTimeout    = 10 * time.Second // then the connection is closed
	minClientPings       = 5 * time.Second  // a client that pings more often is disconnected
)

// ServerConfig says what a server works with.
type ServerConfig struct {
	// Logger takes the errors that are not the callers'. Required.
	Logger *slog.Logger
	// Registry takes the metrics; servers of one process may share it. Required.
	Registry prometheus.Registerer
	// Keys looks API keys up. Without it no API key is valid.
	Keys Keys
	// ServiceToken is the credential of the other services. Without it nobody has the role of a service. It must
	// not look like an API key.
	ServiceToken secret.String
	// Context returns the context in which the handler of an admitted call works, made of one that CallerFrom knows.
	// It must not take long. nil: that one.
	Context func(ctx context.Context) context.Context
	// Health says whether the server can do its work; grpc.health.v1 answers with it. It is asked at most once
	// per second, with 2 s to answer. Without it the server is healthy until it stops.
	Health func(ctx context.Context) error
	// TLS encrypts connections, and checks client certificates when it says so. nil: plain text.
	TLS *tls.Config
	// MaxReceiveBytes is the greatest size of a message from a caller; 0: DefaultMaxReceiveBytes.
	MaxReceiveBytes int
	// TracerProvider takes the traces; nil: the process's.
	TracerProvider trace.TracerProvider
}

func (c *ServerConfig) validate() error {
	var errs []error
	if c.Logger == nil {
		errs = append(errs, errors.New("a logger is required"))
	}
	if c.Registry == nil {
		errs = append(errs, errors.New("a metrics registry is required"))
	}
	if c.Keys == nil && c.ServiceToken.IsZero() {
		errs = append(errs, errors.New("API keys or a service token are required: nobody could call anything"))
	}
	if strings.HasPrefix(c.ServiceToken.Reveal(), keyPrefix) {
		errs = append(errs, fmt.Errorf("the service token must not begin with %s as API keys do", keyPrefix))
	}
	if strings.TrimSpace(c.ServiceToken.Reveal()) != c.ServiceToken.Reveal() {
		errs = append(errs, errors.New("the service token must not begin or end with a space"))
	}
	if c.MaxReceiveBytes < 0 {
		errs = append(errs, errors.New("the greatest size of a message must not be negative"))
	}
	return errors.Join(errs...)
}

// NewServer makes a server with access control, validation, metrics, logs, traces, recovery from panics and the
// health service. It starts nothing: register services, then Serve.
func NewServer(config ServerConfig) (*grpc.Server, error) {
	if err := config.validate(); err != nil {
		return nil, err
	}
	metrics, err := newServerMetrics(config.Registry)
	if err != nil {
		return nil, err
	}
	validator, err := protovalidate.New()
	if err != nil {
		return nil, fmt.Errorf("make the validator: %w", err)
	}
	around := &interceptor{
		logger:    config.Logger,
		metrics:   metrics,
		gate:      newGate(config.Keys, config.ServiceToken),
		within:    config.Context,
		validator: validator,
	}
	if config.MaxReceiveBytes == 0 {
		config.MaxReceiveBytes = DefaultMaxReceiveBytes
	}
	options := []grpc.ServerOption{
		grpc.UnaryInterceptor(around.unary),
		grpc.StreamInterceptor(around.stream),
		grpc.StatsHandler(otelgrpc.NewServerHandler(tracing(config.TracerProvider)...)),
		grpc.MaxRecvMsgSize(config.MaxReceiveBytes),
		grpc.MaxHeaderListSize(maxHeaderBytes),
		grpc.MaxConcurrentStreams(maxConcurrentStreams),
		grpc.ConnectionTimeout(handshakeTimeout),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: serverPingAfter, Timeout: serverPingTimeout}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: minClientPings, PermitWithoutStream: true}),
	}
	if config.TLS != nil {
		options = append(options, grpc.Creds(credentials.NewTLS(config.TLS)))
	}
	server := grpc.NewServer(options...)
	newHealth(config.Health).register(server)
	return server, nil
}

// tracing returns the options of the trace instrumentation: W3C trace context, and no metrics, which Prometheus has.
func tracing(provider trace.TracerProvider) []otelgrpc.Option {
	options := []otelgrpc.Option{
		otelgrpc.WithMeterProvider(metricnoop.NewMeterProvider()),
		otelgrpc.WithPropagators(propagation.TraceContext{}),
		otelgrpc.WithFilter(filters.Not(filters.HealthCheck())),
	}
	if provider != nil {
		options = append(options, otelgrpc.WithTracerProvider(provider))
	}
	return options
}
