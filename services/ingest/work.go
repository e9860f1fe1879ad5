package ingest

import (
	"context"
	"time"

	"github.com/meetwire/meetwire/pkg/audit"
	"github.com/meetwire/meetwire/pkg/operation"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	operationv1 "github.com/meetwire/meetwire/proto/gen/meetwire/operation/v1"
	"github.com/meetwire/meetwire/services/ingest/internal/core"
	"github.com/meetwire/meetwire/services/ingest/internal/grpcapi"
	"github.com/meetwire/meetwire/services/ingest/internal/operations"
	"github.com/meetwire/meetwire/services/ingest/internal/pgstore"
)

// work is the long work of the service: who begins it, who shows it, and who does it.
type work struct {
	store   *operation.PgStore
	api     *grpcapi.Work
	service *operation.Service
	runner  *operation.Runner
}

func (s *Service) newWork(known catalogue, webhooks *core.Index) (*work, error) {
	log := audit.New(configv1.NewConfigServiceClient(s.deps.Subscription), time.Now)
	delivery := deliveryv1.NewInternalServiceClient(s.deps.Delivery)
	store := operation.NewPgStore(s.deps.DB, pgstore.Schema, time.Now)
	steps := &operations.Operations{
		Steps: store, Rows: s.store, Streams: s.worker, Webhooks: webhooks, Delivery: delivery, Configuration: s.watcher,
		Now: time.Now,
	}
	runner, err := operation.NewRunner(operation.Config{
		Store: store, Handlers: steps.Handlers(), Logger: s.deps.Logger, Now: time.Now, Clean: store.RemoveEnded,
	})
	if err != nil {
		return nil, err
	}
	return &work{
		store: store,
		api: &grpcapi.Work{
			Operations: store, Audit: log, Events: s.worker, Catalogue: known, Webhooks: webhooks, Revisions: s.watcher,
			Delivery: delivery, Now: time.Now,
		},
		service: operation.NewService(store, log),
		runner:  runner,
	}, nil
}

// register adds the service that shows operations to the server.
func (w *work) register(s *Service) { operationv1.RegisterOperationServiceServer(s.server, w.service) }

// run works, once there are tables, until the context ends, and lets nobody watch for longer. Every operation waits for
// the configuration that it was begun with.
func (w *work) run(ctx context.Context, migrated <-chan struct{}) error {
	defer context.AfterFunc(ctx, w.service.Close)()
	select {
	case <-migrated:
		return w.runner.Run(ctx)
	case <-ctx.Done():
		return nil
	}
}

// rows removes what Postgres has of an organization.
type rows struct {
	*pgstore.Store

	operations *operation.PgStore
}

// PurgeOrganization implements grpcapi.Rows. Its operations first: what they do would be for nothing.
func (r rows) PurgeOrganization(ctx context.Context, organization string) (int64, error) {
	n, err := r.operations.DeleteOrganization(ctx, organization)
	if err != nil {
		return 0, err
	}
	removed, err := r.Store.PurgeOrganization(ctx, organization)
	return n + removed, err
}
