package rpc

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"

	"github.com/meetwire/meetwire/pkg/secret"
)

// Limits of a connection to another service.
const (
	maxAnswerBytes    = 64 << 20         // a page of attempts carries requests and answers
	clientPingAfter   = 10 * time.Second // without activity
	clientPingTimeout = 5 * time.Second  // then the connection counts as lost
	connectTimeout    = 5 * time.Second
)

// serviceConfig spreads calls over all addresses of a dns:/// target.
const serviceConfig = `{"loadBalancingConfig":[{"round_robin":{}}]}`

// Option changes how Dial connects.
type Option func(*dialConfig)

type dialConfig struct {
	token  secret.String
	tls    *tls.Config
	dialer func(ctx context.Context, address string) (net.Conn, error)
	tracer trace.TracerProvider
}

// WithServiceToken sends the service token with every call. An empty one sends nothing.
func WithServiceToken(token secret.String) Option { return func(c *dialConfig) { c.token = token } }

// WithTLS encrypts the connection. nil: plain text.
func WithTLS(config *tls.Config) Option { return func(c *dialConfig) { c.tls = config } }

// WithDialer makes connections itself, for one within the process. Use a target of the form passthrough:///name
// with it, so that the name is not looked up.
func WithDialer(dialer func(ctx context.Context, address string) (net.Conn, error)) Option {
	return func(c *dialConfig) { c.dialer = dialer }
}

// WithTracerProvider sends traces to a provider instead of the process's.
func WithTracerProvider(provider trace.TracerProvider) Option {
	return func(c *dialConfig) { c.tracer = provider }
}

// Dial makes a client connection, which connects with the first call and again whenever it was lost, waiting
// 50 ms to 2 s between attempts. Meanwhile calls fail with UNAVAILABLE. Its errors are statuses: callers that
// want faults use FaultFromStatus. The connection must be closed.
func Dial(target string, options ...Option) (*grpc.ClientConn, error) {
	config := &dialConfig{}
	for _, option := range options {
		option(config)
	}
	transport := insecure.NewCredentials()
	if config.tls != nil {
		transport = credentials.NewTLS(config.tls)
	}
	dialOptions := []grpc.DialOption{
		grpc.WithTransportCredentials(transport),
		grpc.WithStatsHandler(otelgrpc.NewClientHandler(tracing(config.tracer)...)),
		grpc.WithDefaultServiceConfig(serviceConfig),
		grpc.WithDisableServiceConfig(), // none from DNS
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswerBytes)),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time: clientPingAfter, Timeout: clientPingTimeout, PermitWithoutStream: true,
		}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 2 * time.Second},
			MinConnectTimeout: connectTimeout,
		}),
	}
	if !config.token.IsZero() {
		dialOptions = append(dialOptions, grpc.WithPerRPCCredentials(bearerToken{config.token}))
	}
	if config.dialer != nil {
		dialOptions = append(dialOptions, grpc.WithContextDialer(config.dialer))
	}
	conn, err := grpc.NewClient(target, dialOptions...)
	if err != nil {
		return nil, fmt.Errorf("dial %s: %w", target, err)
	}
	return conn, nil
}

// bearerToken is a credentials.PerRPCCredentials.
type bearerToken struct {
	token secret.String
}

// GetRequestMetadata implements credentials.PerRPCCredentials.
func (b bearerToken) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": "Bearer " + b.token.Reveal()}, nil
}

// RequireTransportSecurity implements credentials.PerRPCCredentials. Services talk in plain text unless TLS is
// configured: within a process, or in a network that is theirs.
func (bearerToken) RequireTransportSecurity() bool { return false }

// String keeps the token out of what prints the connection.
func (bearerToken) String() string { return "bearer token" }
