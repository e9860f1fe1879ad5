// Package ingest is the service that takes events in: it checks them, finds the webhooks that asked, and makes
// one delivery for each. What it exports is how to run it.
package ingest

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/configfeed"
	"github.com/meetwire/meetwire/pkg/lifecycle"
	"github.com/meetwire/meetwire/pkg/rpc"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	ingestv1 "github.com/meetwire/meetwire/proto/gen/meetwire/ingest/v1"
	"github.com/meetwire/meetwire/services/ingest/internal/core"
	"github.com/meetwire/meetwire/services/ingest/internal/grpcapi"
	"github.com/meetwire/meetwire/services/ingest/internal/natsbus"
	"github.com/meetwire/meetwire/services/ingest/internal/schema"
)

// Deps is what the service works with. The caller opens and closes it.
type Deps struct {
	Logger       *slog.Logger
	Registry     prometheus.Registerer
	NATS         *nats.Conn
	Listener     net.Listener             // for gRPC
	Subscription grpc.ClientConnInterface // with the service token
	Grace        time.Duration            // how long a stop may take
}

// Service is the ingest service.
type Service struct {
	config  Config
	deps    Deps
	js      jetstream.JetStream
	watcher *configfeed.Watcher
	worker  *natsbus.Worker
	server  *grpc.Server
}

// catalogue joins what knows the organizations and what knows the triggers.
type catalogue struct {
	*configfeed.Watcher
	*schema.Catalogue
}

// New makes the service and starts nothing.
func New(config Config, deps Deps) (*Service, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	js, err := bus.JetStream(deps.NATS)
	if err != nil {
		return nil, err
	}
	index := core.NewIndex()
	triggers := schema.New(index, deps.Logger)
	s := &Service{config: config, deps: deps, js: js}
	s.watcher = configfeed.New(configv1.NewConfigServiceClient(deps.Subscription), deps.Logger, config.MaxConfigAge, triggers)
	known := catalogue{Watcher: s.watcher, Catalogue: triggers}
	s.worker = &natsbus.Worker{
		JetStream:    js,
		Config:       config.Streams,
		Catalogue:    known,
		Index:        index,
		Metrics:      newMetrics(deps.Registry),
		ServiceToken: config.ServiceToken,
		Start:        func(trigger string) time.Time { return core.TriggerStart(s.watcher.TriggerCreateTime(trigger)) },
		HeardSince:   s.watcher.HeardSince,
		Logger:       deps.Logger,
		Now:          time.Now,
	}
	s.server, err = rpc.NewServer(rpc.ServerConfig{
		Logger:       deps.Logger,
		Registry:     deps.Registry,
		Keys:         s.watcher,
		ServiceToken: config.ServiceToken,
		Health:       s.Ready,
	})
	if err != nil {
		return nil, fmt.Errorf("make the gRPC server: %w", err)
	}
	ingestv1.RegisterEventServiceServer(s.server, &grpcapi.Events{
		JetStream: js, Catalogue: known, Quotas: grpcapi.NewQuotas(s.watcher.Organization, time.Now), Now: time.Now,
	})
	ingestv1.RegisterInternalServiceServer(s.server, &grpcapi.Internal{Configuration: s.watcher, Index: index, Streams: s.worker})
	return s, nil
}

// Ready reports whether events can be taken in.
func (s *Service) Ready(ctx context.Context) error {
	return lifecycle.Ready(ctx,
		lifecycle.Check{Name: "configuration", Func: s.watcher.Ready},
		bus.Check(s.deps.NATS),
	)
}

// Run serves until the context ends. Stopping, it takes no more events and finishes those that it has begun.
func (s *Service) Run(ctx context.Context) error {
	if err := bus.EnsureStreams(ctx, s.js, s.config.Streams, s.deps.Logger); err != nil {
		return err
	}
	group := lifecycle.NewGroup(s.deps.Logger, s.deps.Grace)
	group.Add("configuration", s.watcher.Run)
	group.Add("fan-out", func(ctx context.Context) error {
		return bus.RunLanes(ctx, s.watcher.Lanes(ctx, bus.LaneCustom), s.worker.Run)
	})
	group.Add("event index", func(ctx context.Context) error {
		if s.watcher.WaitFor(ctx, 0) != nil {
			return nil //nolint:nilerr // we are being stopped
		}
		return s.worker.RunIndex(ctx)
	})
	group.Add("api", func(ctx context.Context) error { return rpc.Serve(ctx, s.server, s.deps.Listener) })
	return group.Run(ctx)
}
