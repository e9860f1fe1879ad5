// Package ingest is the service that takes events in: it checks them, finds the webhooks that asked, and makes
// one delivery for each. What it exports is how to run it.
package ingest

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/configfeed"
	"github.com/meetwire/meetwire/pkg/lifecycle"
	"github.com/meetwire/meetwire/pkg/rpc"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	ingestv1 "github.com/meetwire/meetwire/proto/gen/meetwire/ingest/v1"
	"github.com/meetwire/meetwire/services/ingest/internal/core"
	"github.com/meetwire/meetwire/services/ingest/internal/grpcapi"
	"github.com/meetwire/meetwire/services/ingest/internal/index"
	"github.com/meetwire/meetwire/services/ingest/internal/natsbus"
	"github.com/meetwire/meetwire/services/ingest/internal/pgstore"
	"github.com/meetwire/meetwire/services/ingest/internal/schema"
)

// Deps is what the service works with. The caller opens and closes it.
type Deps struct {
	Logger       *slog.Logger
	Registry     prometheus.Registerer
	DB           *pgxpool.Pool // may be away
	Migrate      bool          // whether to bring the schema up to date
	NATS         *nats.Conn
	Listener     net.Listener             // for gRPC
	Subscription grpc.ClientConnInterface // with the service token
	Delivery     grpc.ClientConnInterface // with the service token
	Grace        time.Duration            // how long a stop may take
}

// Service is the ingest service.
type Service struct {
	config   Config
	deps     Deps
	js       jetstream.JetStream
	watcher  *configfeed.Watcher
	worker   *natsbus.Worker
	backlogs *natsbus.Backlogs
	index    *index.Writer
	store    *pgstore.Store
	work     *work
	metrics  *metrics
	members  *bus.Membership
	batches  jetstream.JetStream // of callers, whose window the fan-out does not fill
	server   *grpc.Server
}

// Migrate brings the Postgres schema `ingest` up to date.
func Migrate(ctx context.Context, pool *pgxpool.Pool) error { return pgstore.Migrate(ctx, pool) }

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
	s := &Service{config: config, deps: deps, js: js, store: pgstore.New(deps.DB), metrics: newMetrics(deps.Registry)}
	if err := s.join(); err != nil {
		return nil, err
	}
	s.backlogs = natsbus.NewBacklogs(js, natsbus.MaxBacklog, deps.Logger, time.Now)
	webhooks := core.NewIndex()
	webhooks.SetBacklog(s.backlogs)
	triggers := schema.New(webhooks, deps.Logger)
	s.watcher = configfeed.New(configv1.NewConfigServiceClient(deps.Subscription), deps.Logger, config.MaxConfigAge, triggers)
	known := catalogue{Watcher: s.watcher, Catalogue: triggers}
	s.worker = &natsbus.Worker{
		JetStream:    js,
		Config:       config.Streams,
		Catalogue:    known,
		Index:        webhooks,
		Metrics:      s.metrics,
		ServiceToken: config.ServiceToken,
		Start:        func(trigger string) time.Time { return core.TriggerStart(s.watcher.TriggerCreateTime(trigger)) },
		HeardSince:   s.watcher.HeardSince,
		Logger:       deps.Logger,
		Now:          time.Now,
	}
	s.index = &index.Writer{
		JetStream: js, Config: config.Streams, Store: s.store, Configuration: s.watcher,
		Metrics: newIndexMetrics(deps.Registry), Logger: deps.Logger, Now: time.Now,
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
	if s.work, err = s.newWork(known, webhooks); err != nil {
		return nil, err
	}
	s.register(known, webhooks)
	return s, nil
}

// register adds the services to the server.
func (s *Service) register(known catalogue, webhooks *core.Index) {
	publishing := s.publishing(known)
	ingestv1.RegisterRejectServiceServer(s.server, s.rejects(publishing))
	ingestv1.RegisterEventServiceServer(s.server, &grpcapi.Events{
		Publishing: publishing,
		Explaining: s.explaining(known, webhooks),
		History: &grpcapi.History{
			Index: s.store, Kept: &natsbus.Events{JetStream: s.js}, Webhooks: webhooks,
			Delivery: deliveryv1.NewInternalServiceClient(s.deps.Delivery),
		},
		Work: s.work.api,
	})
	s.work.register(s)
	ingestv1.RegisterInternalServiceServer(s.server, &grpcapi.Internal{
		Configuration: s.watcher, Index: webhooks, Streams: s.worker, Rows: rows{s.store, s.work.store},
	})
}

// Ready reports whether events can be taken in. Postgres is not needed for that.
func (s *Service) Ready(ctx context.Context) error {
	return lifecycle.Ready(ctx,
		lifecycle.Check{Name: "configuration", Func: s.watcher.Ready},
		bus.Check(s.deps.NATS),
	)
}

// Run serves until the context ends. Stopping, it takes no more events and finishes those that it has begun.
func (s *Service) Run(ctx context.Context) error {
	if err := bus.EnsureStreams(ctx, s.js, s.config.Streams, s.deps.Logger); err != nil {
		return lifecycle.Stopped(ctx, err)
	}
	group := lifecycle.NewGroup(s.deps.Logger, s.deps.Grace)
	group.Add("configuration", s.watcher.Run)
	group.Add("membership", s.members.Run)
	group.Add("fan-out", func(ctx context.Context) error {
		return bus.RunLanes(ctx, s.watcher.Lanes(ctx, bus.LaneCustom), s.worker.Run)
	})
	group.Add("event index", func(ctx context.Context) error {
		if s.watcher.WaitFor(ctx, 0) != nil {
			return nil //nolint:nilerr // we are being stopped
		}
		return s.worker.RunIndex(ctx)
	})
	group.Add("backlogs", s.backlogs.Run)
	migrated := make(chan struct{})
	group.Add("tables", func(ctx context.Context) error { return s.runTables(ctx, migrated) })
	group.Add("index", func(ctx context.Context) error { return s.runIndex(ctx, migrated) })
	group.Add("operations", func(ctx context.Context) error { return s.work.run(ctx, migrated) })
	group.Add("api", func(ctx context.Context) error { return rpc.Serve(ctx, s.server, s.deps.Listener) })
	return group.Run(ctx)
}

// Waits between attempts to bring the schema up to date.
const (
	minMigrateWait = 100 * time.Millisecond
	maxMigrateWait = 5 * time.Second
)

// runTables brings the schema up to date, however long Postgres is away, and then looks after the tables.
func (s *Service) runTables(ctx context.Context, migrated chan<- struct{}) error {
	if s.deps.Migrate {
		err := lifecycle.Retry(ctx, s.deps.Logger, "migrate schema "+pgstore.Schema, minMigrateWait, maxMigrateWait,
			func(ctx context.Context) error { return Migrate(ctx, s.deps.DB) })
		if err != nil {
			return nil //nolint:nilerr // we are being stopped
		}
	}
	close(migrated)
	maintainer := &index.Maintainer{
		Tables: s.store, Age: s.config.Streams.EventsMaxAge, Logger: s.deps.Logger, Now: time.Now,
		Loaded: func(ctx context.Context) error { return s.watcher.WaitFor(ctx, 0) }, Exists: s.worker.Index.HasWebhook,
	}
	return maintainer.Run(ctx)
}

// runIndex writes the index once there are tables and a configuration.
func (s *Service) runIndex(ctx context.Context, migrated <-chan struct{}) error {
	select {
	case <-migrated:
	case <-ctx.Done():
		return nil
	}
	if s.watcher.WaitFor(ctx, 0) != nil {
		return nil //nolint:nilerr // we are being stopped
	}
	return s.index.Run(ctx)
}
