// Package subscription is the subscription service: the only writer of the configuration. It owns organizations,
// API keys, triggers and webhooks in the Postgres schema `subscription`, serves their API, and tells the other
// services every change. It must not know how events are matched or delivered.
package subscription

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"github.com/meetwire/meetwire/pkg/lifecycle"
	"github.com/meetwire/meetwire/pkg/operation"
	"github.com/meetwire/meetwire/pkg/rpc"
	"github.com/meetwire/meetwire/pkg/seal"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	operationv1 "github.com/meetwire/meetwire/proto/gen/meetwire/operation/v1"
	subscriptionv1 "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
	"github.com/meetwire/meetwire/services/subscription/internal/catalogue"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
	"github.com/meetwire/meetwire/services/subscription/internal/feed"
	"github.com/meetwire/meetwire/services/subscription/internal/grpcapi"
	"github.com/meetwire/meetwire/services/subscription/internal/pgstore"
	"github.com/meetwire/meetwire/services/subscription/internal/plans"
)

// Deps is what the service is given. All of it is required but Now.
type Deps struct {
	Logger   *slog.Logger
	Registry prometheus.Registerer
	DB       *pgxpool.Pool            // stays the caller's, who closes it after Run
	NATS     *nats.Conn               // stays the caller's
	Ingest   grpc.ClientConnInterface // with the service token; stays the caller's
	Delivery grpc.ClientConnInterface // with the service token; stays the caller's
	Listener net.Listener             // of the gRPC API; closed by Run
	Now      func() time.Time         // default: time.Now
}

// Service is one instance of the subscription service. Several may share a database.
type Service struct {
	cfg        Config
	deps       Deps
	store      *pgstore.Store
	plans      core.Plans
	feed       *feed.Server
	operations *operation.Service
	keys       *grpcapi.Keys
	server     *grpc.Server
	beside     *background
	started    atomic.Bool // what the program and the configuration bring along is in the database
}

// Migrate brings the Postgres schema `subscription` up to date. Several processes may do so at once.
func Migrate(ctx context.Context, pool *pgxpool.Pool) error { return pgstore.Migrate(ctx, pool) }

// New checks what it is given and puts the service together. It starts nothing.
func New(cfg Config, deps Deps) (*Service, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("check the configuration: %w", err)
	}
	if deps.Logger == nil || deps.Registry == nil || deps.DB == nil || deps.Listener == nil {
		return nil, errors.New("a logger, a registry, a database pool and a listener are required")
	}
	if deps.NATS == nil || deps.Ingest == nil || deps.Delivery == nil {
		return nil, errors.New("connections to NATS, ingest and delivery are required")
	}
	if deps.Now == nil {
		deps.Now = time.Now
	}
	if cfg.FeedRetention == 0 {
		cfg.FeedRetention = defaultFeedRetention
	}
	box, err := seal.New(cfg.Keyset)
	if err != nil {
		return nil, fmt.Errorf("open the keyset: %w", err)
	}
	configured, err := plans.Load(cfg.Plans, cfg.DefaultPlan)
	if err != nil {
		return nil, fmt.Errorf("load the plans: %w", err)
	}
	s := &Service{cfg: cfg, deps: deps, plans: configured, store: pgstore.New(deps.DB, deps.Logger, deps.Now)}
	s.feed, err = feed.NewServer(feed.Config{
		Source: s.store, Logger: deps.Logger, Registry: deps.Registry, Retention: cfg.FeedRetention, Now: deps.Now,
	})
	if err != nil {
		return nil, fmt.Errorf("make the configuration feed: %w", err)
	}
	s.keys = grpcapi.NewKeys(s.store, deps.Logger, deps.Now)
	s.server, err = rpc.NewServer(rpc.ServerConfig{
		Logger: deps.Logger, Registry: deps.Registry, Keys: s.keys,
		ServiceToken: cfg.ServiceToken, Context: grpcapi.WithActor, Health: s.Ready,
	})
	if err != nil {
		return nil, fmt.Errorf("make the gRPC server: %w", err)
	}
	subscriptionv1.RegisterApiKeyServiceServer(s.server, grpcapi.NewAPIKeys(s.store, deps.Now))
	s.registerOrganizations(box)
	subscriptionv1.RegisterWebhookServiceServer(s.server, s.newWebhooks(box, s.plans))
	subscriptionv1.RegisterAuditServiceServer(s.server, grpcapi.NewAudit(s.store))
	subscriptionv1.RegisterKeysetServiceServer(s.server, grpcapi.NewKeyset(s.store))
	s.operations = grpcapi.NewOperations(s.store)
	operationv1.RegisterOperationServiceServer(s.server, s.operations)
	configv1.RegisterConfigServiceServer(s.server, grpcapi.NewConfig(s.feed, s.store, cfg.Mail.Enabled()))
	if s.beside, err = newBackground(s, box); err != nil {
		return nil, err
	}
	return s, nil
}

// Run brings the database up to date and serves until the context ends. It returns nil after an ordered stop.
func (s *Service) Run(ctx context.Context) error {
	if err := s.prepare(ctx); err != nil {
		err = errors.Join(err, s.deps.Listener.Close())
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	serving, stopServing := context.WithCancel(ctx)
	defer stopServing()
	// The feed outlives the server, whose last streams still read from it.
	watching, stopWatching := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWatching()
	watched := make(chan error, 1)
	go func() {
		defer stopServing()
		watched <- s.feed.Run(watching)
	}()
	var beside sync.WaitGroup
	beside.Go(func() { s.beside.run(serving) })
	beside.Go(func() { s.keys.Run(watching) }) // the last calls are noted, too
	// The streams of watchers never end by themselves, and the server waits for all streams.
	defer context.AfterFunc(serving, s.feed.Close)()
	defer context.AfterFunc(serving, s.operations.Close)()
	err := rpc.Serve(serving, s.server, s.deps.Listener)
	stopServing()
	stopWatching()
	beside.Wait()
	return errors.Join(err, <-watched)
}

// Ready reports whether the service can do its work: the database answers, its schema is there, and what this
// program brings along is in it.
func (s *Service) Ready(ctx context.Context) error {
	return lifecycle.Ready(ctx,
		lifecycle.Check{Name: "postgres", Func: s.store.Ready},
		lifecycle.Check{Name: "start", Func: func(context.Context) error {
			if !s.started.Load() {
				return errors.New("still starting")
			}
			return nil
		}},
	)
}

// prepare puts into the database what the program and its configuration bring along.
func (s *Service) prepare(ctx context.Context) error {
	if s.cfg.Migrate {
		if err := Migrate(ctx, s.deps.DB); err != nil {
			return err
		}
	}
	triggers, err := builtInTriggers()
	if err != nil {
		return err
	}
	if err := s.store.InstallTriggers(ctx, triggers); err != nil {
		return fmt.Errorf("install the built-in triggers: %w", err)
	}
	if err := s.store.InstallPlans(ctx, s.plans); err != nil {
		return fmt.Errorf("install the plans: %w", err)
	}
	var key *core.APIKey
	if id, sum, ok := rpc.ParseKey(s.cfg.OperatorKey.Reveal()); ok {
		bootstrap := core.NewBootstrapKey(id, sum, s.deps.Now())
		key = &bootstrap
	}
	if err := s.store.InstallBootstrapKey(ctx, key); err != nil {
		return fmt.Errorf("install the operator's key: %w", err)
	}
	s.started.Store(true)
	return nil
}

// builtInTriggers returns the triggers that come with the program.
func builtInTriggers() ([]core.Trigger, error) {
	entries, err := catalogue.Triggers()
	if err != nil {
		return nil, fmt.Errorf("read the built-in triggers: %w", err)
	}
	triggers := make([]core.Trigger, len(entries))
	for i, e := range entries {
		triggers[i] = core.Trigger{
			ID: e.ID, DisplayName: e.DisplayName, Description: e.Description, Group: e.Group,
			Schema: string(e.Schema), Sample: string(e.Sample), Operational: e.Operational,
		}
	}
	return triggers, nil
}
