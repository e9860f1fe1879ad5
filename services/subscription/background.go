package subscription

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/seal"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	ingestv1 "github.com/meetwire/meetwire/proto/gen/meetwire/ingest/v1"
	"github.com/meetwire/meetwire/services/subscription/internal/alerts"
	"github.com/meetwire/meetwire/services/subscription/internal/mail"
	"github.com/meetwire/meetwire/services/subscription/internal/operations"
	"github.com/meetwire/meetwire/services/subscription/internal/outbox"
)

// trimInterval is how often what is needed no more is removed from the database.
const trimInterval = time.Hour

// background is what goes on beside the calls. Several instances share the work.
type background struct {
	service *Service
	relay   *outbox.Relay
	runner  *operations.Runner
	mailer  *alerts.Mailer // nil: no e-mails are sent
}

// newBackground puts together what goes on beside the calls.
func newBackground(s *Service, box *seal.Box) (*background, error) {
	js, err := bus.JetStream(s.deps.NATS)
	if err != nil {
		return nil, err
	}
	b := &background{service: s}
	b.relay, err = outbox.New(outbox.Config{
		Store: s.store, JetStream: js, ServiceToken: s.cfg.ServiceToken, Logger: s.deps.Logger, Registry: s.deps.Registry,
	})
	if err != nil {
		return nil, fmt.Errorf("make the relay of the outbox: %w", err)
	}
	b.runner, err = operations.New(operations.Config{
		Store: s.store, Secrets: box, Logger: s.deps.Logger, Now: s.deps.Now,
		Ingest: ingestv1.NewInternalServiceClient(s.deps.Ingest), Delivery: deliveryv1.NewInternalServiceClient(s.deps.Delivery),
	})
	if err != nil {
		return nil, fmt.Errorf("make the runner of operations: %w", err)
	}
	if !s.cfg.Mail.Enabled() {
		return b, nil
	}
	sender, err := mail.New(s.cfg.Mail, s.deps.Logger)
	if err != nil {
		return nil, fmt.Errorf("make the sender of e-mails: %w", err)
	}
	b.mailer, err = alerts.New(alerts.Config{
		Store: s.store, Sender: sender, ConsoleURL: s.cfg.Mail.ConsoleURL,
		Logger: s.deps.Logger, Registry: s.deps.Registry, Now: s.deps.Now,
	})
	if err != nil {
		return nil, fmt.Errorf("make the queue of e-mails: %w", err)
	}
	return b, nil
}

// run works until the context ends.
func (b *background) run(ctx context.Context) {
	parts := []func(context.Context) error{b.relay.Run, b.runner.Run, b.trim}
	if b.mailer != nil {
		parts = append(parts, b.mailer.Run)
	}
	var running sync.WaitGroup
	for _, part := range parts {
		running.Go(func() {
			if err := part(ctx); err != nil {
				b.service.deps.Logger.ErrorContext(ctx, "background work ended", "error", err)
			}
		})
	}
	running.Wait()
}

// trim removes what is needed no more, now and then. Every instance does; there is nothing to agree on.
func (b *background) trim(ctx context.Context) error {
	ticker := time.NewTicker(trimInterval)
	defer ticker.Stop()
	for {
		removed, err := b.service.store.TrimTrail(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			b.service.deps.Logger.WarnContext(ctx, "old rows not removed", "error", err)
		case removed > 0:
			b.service.deps.Logger.InfoContext(ctx, "old rows removed", "rows", removed)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}
