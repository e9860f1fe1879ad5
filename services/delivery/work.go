package delivery

import (
	"context"
	"time"

	"github.com/meetwire/meetwire/pkg/audit"
	"github.com/meetwire/meetwire/pkg/operation"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	operationv1 "github.com/meetwire/meetwire/proto/gen/meetwire/operation/v1"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
	"github.com/meetwire/meetwire/services/delivery/internal/expiry"
	"github.com/meetwire/meetwire/services/delivery/internal/grpcapi"
	"github.com/meetwire/meetwire/services/delivery/internal/natsbus"
	"github.com/meetwire/meetwire/services/delivery/internal/operations"
	"github.com/meetwire/meetwire/services/delivery/internal/pgstore"
)

// work is what people have done with deliveries: who begins it, who shows it, and who does it.
type work struct {
	store   *operation.PgStore
	service *operation.Service
	runner  *operation.Runner
	expiry  *expiry.Announcer
	actions *grpcapi.Actions
	letters *grpcapi.DeadLetters
	tests   *grpcapi.Tests
}

func (s *Service) newWork(store *pgstore.Store, queue *natsbus.Queue, send core.Sender, letters *natsbus.DeadLetters) (*work, error) {
	kept := operation.NewPgStore(s.deps.DB, pgstore.Schema, time.Now)
	known := webhooks{Registry: s.hooks, Watcher: s.watcher}
	steps := &operations.Operations{
		Steps: kept, Timers: queue, Letters: letters, Ledger: store, Configuration: known, Now: time.Now,
	}
	runner, err := operation.NewRunner(operation.Config{
		Store: kept, Handlers: steps.Handlers(), Logger: s.deps.Logger, Now: time.Now, Clean: kept.RemoveEnded,
	})
	if err != nil {
		return nil, err
	}
	log := audit.New(s.subscription, time.Now)
	begun := &grpcapi.Work{Operations: kept, Audit: log, Configuration: known}
	return &work{
		store:   kept,
		service: operation.NewService(kept, log),
		runner:  runner,
		expiry: &expiry.Announcer{
			Letters: letters, Ledger: store, Subscription: s.subscription, Active: s.first, Operational: s.hooks.Operational,
			Logger: s.deps.Logger, Now: time.Now,
		},
		actions: &grpcapi.Actions{Work: begun, Line: queue, Resend: letters, Known: store, NewID: newID},
		letters: &grpcapi.DeadLetters{Work: begun, Letters: letters, Attempts: store},
		tests:   grpcapi.NewTests(s.hooks, send, time.Now, newID),
	}, nil
}

// first reports whether of all instances this is the one that does what one is enough for.
func (s *Service) first() bool {
	rank, _ := s.members.Share()
	return rank == 0
}

// register adds the services to the server.
func (w *work) register(s *Service) {
	deliveryv1.RegisterDeadLetterServiceServer(s.server, w.letters)
	operationv1.RegisterOperationServiceServer(s.server, w.service)
}

// run works on operations until the context ends, and lets nobody watch them for longer.
func (w *work) run(ctx context.Context) error {
	defer context.AfterFunc(ctx, w.service.Close)()
	return w.runner.Run(ctx)
}

// rows removes what Postgres has of an organization.
type rows struct {
	*pgstore.Store

	operations *operation.PgStore
}

// Purge implements grpcapi.Purger. Its operations first: what they do would be for nothing.
func (r rows) Purge(ctx context.Context, organization string) (int64, error) {
	n, err := r.operations.DeleteOrganization(ctx, organization)
	if err != nil {
		return 0, err
	}
	removed, err := r.Store.Purge(ctx, organization)
	return n + removed, err
}
