// Package delivery is the service that sends: it takes deliveries from JetStream, makes HTTP requests to the
// receivers, retries, gives up, and remembers. What it exports is how to run it.
package delivery

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/configfeed"
	"github.com/meetwire/meetwire/pkg/lifecycle"
	"github.com/meetwire/meetwire/pkg/rpc"
	"github.com/meetwire/meetwire/pkg/seal"
	"github.com/meetwire/meetwire/pkg/version"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
	"github.com/meetwire/meetwire/services/delivery/internal/dialect"
	"github.com/meetwire/meetwire/services/delivery/internal/grpcapi"
	"github.com/meetwire/meetwire/services/delivery/internal/natsbus"
	"github.com/meetwire/meetwire/services/delivery/internal/pgstore"
	"github.com/meetwire/meetwire/services/delivery/internal/recorder"
	"github.com/meetwire/meetwire/services/delivery/internal/registry"
	"github.com/meetwire/meetwire/services/delivery/internal/sender"
)

// Deps is what the service works with. The caller opens and closes it.
type Deps struct {
	Logger       *slog.Logger
	Registry     prometheus.Registerer
	DB           *pgxpool.Pool
	NATS         *nats.Conn
	Scans        *nats.Conn               // to read many messages, and to count them: nothing is to wait behind that
	Listener     net.Listener             // for gRPC
	Subscription grpc.ClientConnInterface // with the service token
	Grace        time.Duration            // how long a stop may take
}

// Service is the delivery service.
type Service struct {
	config       Config
	deps         Deps
	js, scans    jetstream.JetStream
	subscription configv1.ConfigServiceClient
	watcher      *configfeed.Watcher
	hooks        *registry.Registry
	tender       *tender
	metrics      *metrics
	members      *bus.Membership
	slots        *core.Slots
	strain       *core.Strain
	isolation    *isolationMetrics
	server       *grpc.Server
	pace         pace
}

// pace is what tests cannot wait for.
type pace struct {
	sweeps   time.Duration    // between two looks for timers that are stuck
	sweepNow func() time.Time // the clock by which they are
	backlog  int              // how many timers may wait for one webhook
}

// Migrate brings the Postgres schema `delivery` up to date.
func Migrate(ctx context.Context, pool *pgxpool.Pool) error { return pgstore.Migrate(ctx, pool) }

// New makes the service and starts nothing.
func New(config Config, deps Deps) (*Service, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	box, err := seal.New(config.Keyset)
	if err != nil {
		return nil, fmt.Errorf("open the keyset: %w", err)
	}
	js, err := bus.JetStream(deps.NATS)
	if err != nil {
		return nil, err
	}
	scans, err := bus.JetStream(deps.Scans)
	if err != nil {
		return nil, err
	}
	members, err := bus.NewMembership(js, "delivery", uuid.NewString(), config.Streams.Replicas, deps.Logger)
	if err != nil {
		return nil, err
	}
	s := &Service{
		config: config, deps: deps, js: js, scans: scans, metrics: newMetrics(deps.Registry), members: members, slots: newSlots(config),
		subscription: configv1.NewConfigServiceClient(deps.Subscription),
		strain:       core.NewStrain(time.Now),
		pace:         pace{sweeps: natsbus.SweepPeriod, sweepNow: time.Now, backlog: natsbus.MaxBacklog},
	}
	s.isolation = newIsolationMetrics(deps.Registry, s.slots, members)
	members.OnChange(s.slots.SetShare)
	members.Balance(s.slots.Exceeding, s.slots.SetExceeded)
	s.tender = newTender(deps.Logger, func(moved int) { s.metrics.drained.Add(float64(moved)) })
	maker := &dialect.Maker{Box: box, UserAgent: version.UserAgent, Logger: deps.Logger}
	s.hooks = registry.New(maker, s.tender.tend)
	s.tender.webhooks, s.tender.share = s.hooks, members.Share
	s.watcher = configfeed.New(s.subscription, deps.Logger, config.MaxConfigAge, s.hooks)
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
	return s, nil
}

// Ready reports whether deliveries can be made. Postgres is not needed for that.
func (s *Service) Ready(ctx context.Context) error {
	return lifecycle.Ready(ctx,
		lifecycle.Check{Name: "configuration", Func: s.watcher.Ready},
		bus.Check(s.deps.NATS),
		bus.Check(s.deps.Scans),
	)
}

// Run serves until the context ends. Stopping, it takes no more messages, finishes the attempts that are being
// made, and writes their records.
func (s *Service) Run(ctx context.Context) error {
	if err := bus.EnsureStreams(ctx, s.js, s.config.Streams, s.deps.Logger); err != nil {
		return lifecycle.Stopped(ctx, err)
	}
	queue, err := natsbus.NewQueue(ctx, s.js, s.scans, s.config.Streams, s.deps.Logger, time.Now)
	if err != nil {
		return lifecycle.Stopped(ctx, err)
	}
	queue.LimitBacklog(s.pace.backlog)
	letters, err := natsbus.NewDeadLetters(ctx, s.js, queue, webhooks{Registry: s.hooks, Watcher: s.watcher}, time.Now, newID)
	if err != nil {
		return lifecycle.Stopped(ctx, err)
	}
	store := pgstore.New(s.deps.DB)
	sending, err := s.config.sender()
	if err != nil {
		return err
	}
	send := sender.New(sending)
	defer send.Close()
	work, err := s.newWork(store, queue, send, letters)
	if err != nil {
		return err
	}
	s.register(ctx, store, queue, work)
	engine := &core.Engine{
		Webhooks: webhooks{Registry: s.hooks, Watcher: s.watcher},
		Queue:    queue,
		Events:   queue,
		Sender:   send,
		Slots:    s.slots,
		Logger:   s.deps.Logger,
		Now:      time.Now,
		NewID:    newID,
		Tend:     s.tender.tend,
		Observe:  s.observe,
		Deferred: s.isolation.deferred,
		Buried:   func(reason string) { s.isolation.deadLetters.WithLabelValues(reason).Inc() },

		EventsMaxAge: s.config.Streams.EventsMaxAge,
	}
	worker := &natsbus.Worker{JetStream: s.js, Config: s.config.Streams, Logger: s.deps.Logger, Engine: engine, Came: s.strain.Came}

	group := lifecycle.NewGroup(s.deps.Logger, s.deps.Grace)
	group.Add("configuration", s.watcher.Run)
	group.Add("tables", s.maintainer(store).Run)
	group.Add("recorder", s.recorder(store).Run)
	group.Add("membership", func(ctx context.Context) error { // stops after the workers, whose last attempts count
		// Who has no configuration takes no part in the work, and needs none of the limits.
		if err := s.loaded(ctx); err != nil {
			return err
		}
		return s.members.Run(ctx)
	})
	hungry := make(chan []core.Hungry)
	group.Add("slots", func(ctx context.Context) error { return sweep(ctx, s.slots, hungry) })
	group.Add("sweeper", func(ctx context.Context) error {
		s.join(ctx) // before that every instance takes itself for the only one
		return s.sweeper(queue).Run(ctx)
	})
	group.Add("tender", func(ctx context.Context) error { return s.tender.run(ctx, queue, engine) })
	group.Add("workers", func(ctx context.Context) error {
		defer s.slots.Wait()
		s.join(ctx)
		return bus.RunLanes(ctx, s.watcher.Lanes(ctx, bus.LaneCustom, bus.LaneBulk), func(ctx context.Context, trigger string) error {
			return worker.Run(ctx, bus.Lane(trigger))
		})
	})
	group.Add("feeder", func(ctx context.Context) error { return s.feed(ctx, queue, hungry) })
	group.Add("operations", work.run)
	group.Add("expiry", func(ctx context.Context) error {
		s.join(ctx)
		return work.expiry.Run(ctx)
	})
	group.Add("api", func(ctx context.Context) error { return rpc.Serve(ctx, s.server, s.deps.Listener) })
	return group.Run(ctx)
}

// register adds the services to the server.
func (s *Service) register(ctx context.Context, store *pgstore.Store, queue *natsbus.Queue, work *work) {
	deliveryv1.RegisterDeliveryServiceServer(s.server, &grpcapi.Service{
		Deliveries: &grpcapi.Deliveries{
			Store: store, Health: store, Webhooks: s.hooks, Flow: s.slots, Timers: queue, Workers: s.members.Count, Now: time.Now,
		},
		Watching: grpcapi.NewWatching(ctx, &natsbus.Watcher{JetStream: s.js}),
		Actions:  work.actions,
	})
	work.register(s)
	deliveryv1.RegisterInternalServiceServer(s.server, &grpcapi.Internal{
		Organizations: s.watcher, Messages: queue, Rows: rows{store, work.store}, Ledger: store, Waiting: queue, Tests: work.tests,
		Eraser:    &natsbus.Eraser{Queue: queue, NewID: newID, Recorded: store.Recorded, Succeeded: store.Succeeded},
		KeptSince: func(organization string) time.Time { return s.maintainer(store).KeptSince(organization) },
	})
}

// recorder makes what writes records, and reports what follows from them.
func (s *Service) recorder(store *pgstore.Store) *recorder.Recorder {
	return &recorder.Recorder{
		JetStream:     s.scans, // what it catches up with is not to stand before deliveries
		Store:         store,
		Configuration: s.hooks,
		Loaded:        s.loaded,
		Reporter: recorder.NewReporter(recorder.Reporter{
			Findings: store, Subscription: s.subscription, Configuration: s.hooks, Logger: s.deps.Logger, Now: time.Now,
			Reports: s.metrics.reports,
		}),
		Strained: s.strain.Strained,
		Logger:   s.deps.Logger,
		Now:      time.Now,
		Lag:      s.metrics.lag,
		Yielded:  s.metrics.yielded,
		ID:       uuid.New(),
	}
}

// sweeper makes what frees timers that are stuck. One of all instances sweeps.
func (s *Service) sweeper(queue *natsbus.Queue) *natsbus.Sweeper {
	return &natsbus.Sweeper{
		Queue: queue, Logger: s.deps.Logger, Now: s.pace.sweepNow, Period: s.pace.sweeps, Rewritten: s.isolation.rewritten.Inc,
		Active: s.first,
	}
}

func (s *Service) maintainer(store *pgstore.Store) *recorder.Maintainer {
	return &recorder.Maintainer{
		Tables: store, Retention: s.config.Retention, PayloadRetention: s.config.PayloadRetention, Retentions: s.hooks.Retentions, Loaded: s.loaded,
		Logger: s.deps.Logger, Now: time.Now,
	}
}

// loaded waits until the configuration is known.
func (s *Service) loaded(ctx context.Context) error { return s.watcher.WaitFor(ctx, 0) }

// observe writes the one line, and counts the metrics, of an attempt.
func (s *Service) observe(task *core.Task, attempt *core.Attempt) {
	s.metrics.attempt(attempt)
	s.deps.Logger.Info("attempt",
		"organization", task.Organization, "webhook", task.Webhook, "delivery", task.Delivery,
		"trigger", task.Trigger, "event_id", task.EventID, "event_sequence", task.EventSequence,
		"lane", task.Lane, "attempt", attempt.Number, "status_code", attempt.StatusCode,
		"error_class", attempt.ErrorClass, "duration_seconds", attempt.Duration.Seconds(),
		"age_seconds", time.Since(task.AcceptedAt).Seconds())
}

// webhooks joins what knows the webhooks and what knows the revision.
type webhooks struct {
	*registry.Registry
	*configfeed.Watcher
}

func newID() string { return uuid.Must(uuid.NewV7()).String() }
