// Package gateway is the service that people and their tools talk to: REST in front of the gRPC of the other
// services. It adds nothing that they do not enforce themselves. What it exports is how to run it.
package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"google.golang.org/grpc"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/meetwire/meetwire/pkg/boot"
	"github.com/meetwire/meetwire/pkg/lifecycle"
	subscriptionv1 "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
	"github.com/meetwire/meetwire/services/gateway/internal/docs"
	"github.com/meetwire/meetwire/services/gateway/internal/operations"
	"github.com/meetwire/meetwire/services/gateway/internal/rest"
)

// Deps is what the service works with. The caller opens and closes it.
type Deps struct {
	Logger       *slog.Logger
	Listener     net.Listener // for HTTP
	Subscription *grpc.ClientConn
	Ingest       *grpc.ClientConn
	Delivery     *grpc.ClientConn
}

// Service is the gateway.
type Service struct {
	deps       Deps
	operations *operations.Client
	handler    http.Handler
}

// New makes the service and starts nothing. The context is that of registering the routes.
func New(ctx context.Context, config Config, deps Deps) (*Service, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	s := &Service{deps: deps, operations: operations.New(deps.Subscription, deps.Ingest, deps.Delivery)}
	handler, err := rest.NewHandler(ctx, rest.Backends{
		Subscription: deps.Subscription,
		Ingest:       deps.Ingest,
		Delivery:     deps.Delivery,
		Operations:   s.operations,
	}, s.Ready, deps.Logger)
	if err != nil {
		return nil, fmt.Errorf("make the REST handler: %w", err)
	}
	page, err := docs.New(docs.Of(subscriptionv1.NewTriggerServiceClient(deps.Subscription)), time.Now, deps.Logger)
	if err != nil {
		return nil, fmt.Errorf("make the page of the catalogue: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("/", handler)
	mux.Handle("GET "+docs.Path, page)
	s.handler = mux
	return s, nil
}

// Ready reports whether all services behind the gateway are ready.
func (s *Service) Ready(ctx context.Context) error {
	return lifecycle.Ready(ctx,
		lifecycle.Check{Name: "subscription", Func: serving(s.deps.Subscription)},
		lifecycle.Check{Name: "ingest", Func: serving(s.deps.Ingest)},
		lifecycle.Check{Name: "delivery", Func: serving(s.deps.Delivery)},
	)
}

// serving asks a service for its gRPC health.
func serving(conn grpc.ClientConnInterface) func(context.Context) error {
	client := healthv1.NewHealthClient(conn)
	return func(ctx context.Context) error {
		response, err := client.Check(ctx, &healthv1.HealthCheckRequest{})
		if err != nil {
			return errors.New("not reachable")
		}
		if response.GetStatus() != healthv1.HealthCheckResponse_SERVING {
			return errors.New("not ready")
		}
		return nil
	}
}

// Time-outs of HTTP connections from clients.
const (
	readHeaderTimeout = 10 * time.Second
	readTimeout       = 30 * time.Second
	idleTimeout       = 2 * time.Minute
)

// Run serves until the context ends, and then finishes the requests that are in flight.
func (s *Service) Run(ctx context.Context) error {
	server := &http.Server{
		Handler:           s.handler,
		ReadHeaderTimeout: readHeaderTimeout,
		ReadTimeout:       readTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    64 << 10,
		ErrorLog:          slog.NewLogLogger(s.deps.Logger.Handler(), slog.LevelWarn),
	}
	// Streams do not end by themselves, and the server waits for them.
	defer context.AfterFunc(ctx, s.operations.Close)()
	return boot.ServeHTTP(ctx, server, s.deps.Listener)
}
