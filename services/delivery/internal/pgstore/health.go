package pgstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/meetwire/meetwire/pkg/pg"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
	"github.com/meetwire/meetwire/services/delivery/internal/pgstore/sqlcgen"
)

// WebhookHealth is the health of one webhook.
type WebhookHealth struct {
	Webhook uuid.UUID
	core.Health
}

// foldHealth takes attempts that were not stored before into the health of their webhooks, in the order of the stream.
func (w *writing) foldHealth(ctx context.Context, q *sqlcgen.Queries, stored []uuid.UUID) error {
	fresh := make(map[string]bool, len(stored))
	for _, id := range stored {
		fresh[id.String()] = true
	}
	type outcome struct {
		webhook   uuid.UUID
		record    *deliveryv1.Record
		threshold core.Threshold
	}
	var outcomes []outcome
	var webhooks []uuid.UUID
	for _, record := range w.batch.Records {
		if record.GetAttempt() == nil || !fresh[record.GetId()] {
			continue
		}
		delete(fresh, record.GetId()) // it may be there twice
		threshold, counts := w.batch.Threshold(record)
		if !counts {
			continue
		}
		webhook, err := uuid.Parse(record.GetWebhook())
		if err != nil {
			return fmt.Errorf("read a webhook's id: %w", err) // rows has checked it
		}
		outcomes = append(outcomes, outcome{webhook, record, threshold})
		webhooks = append(webhooks, webhook)
	}
	if len(outcomes) == 0 {
		return nil
	}
	health, err := readHealth(ctx, q, webhooks)
	if err != nil {
		return err
	}
	for _, o := range outcomes {
		health[o.webhook].Fold(core.Outcome{
			Organization: o.record.GetOrganization(),
			Delivery:     o.record.GetDelivery(),
			Generation:   o.record.GetWebhookGeneration(),
			At:           o.record.GetTime().AsTime(),
			StatusCode:   int(o.record.GetAttempt().GetStatusCode()),
			ErrorClass:   o.record.GetAttempt().GetErrorClass(),
		}, o.threshold)
	}
	return putHealth(ctx, q, health)
}

// readHealth returns the health of webhooks, empty where there is none yet, and locks it.
func readHealth(ctx context.Context, q *sqlcgen.Queries, webhooks []uuid.UUID) (map[uuid.UUID]*core.Health, error) {
	slices.SortFunc(webhooks, func(a, b uuid.UUID) int { return slices.Compare(a[:], b[:]) })
	webhooks = slices.Compact(webhooks)
	rows, err := q.Health(ctx, webhooks)
	if err != nil {
		return nil, fmt.Errorf("read the health of webhooks: %w", err)
	}
	all := make(map[uuid.UUID]*core.Health, len(webhooks))
	for _, webhook := range webhooks {
		all[webhook] = new(core.Health)
	}
	for _, row := range rows {
		health := healthOf(row)
		all[row.Webhook] = &health.Health
	}
	return all, nil
}

func putHealth(ctx context.Context, q *sqlcgen.Queries, all map[uuid.UUID]*core.Health) error {
	params := make([]sqlcgen.PutHealthParams, 0, len(all))
	for webhook, h := range all {
		if h.Generation == 0 {
			continue // nothing that counts
		}
		params = append(params, sqlcgen.PutHealthParams{
			Webhook: webhook, Organization: h.Organization, Generation: h.Generation, ConsecutiveFailures: h.ConsecutiveFailures,
			FailingSince: timeOrNull(h.FailingSince), FailingDeliveries: nonNilTexts(h.FailingDeliveries),
			LastSuccessTime: timeOrNull(h.LastSuccess), LastFailureTime: timeOrNull(h.LastFailure),
			LastStatus: int32(h.LastStatus), LastErrorClass: h.LastErrorClass, //nolint:gosec // G115: three digits
			Reached: int16(h.Reached), Reported: int16(h.Reported), Reason: h.Reason,
		})
	}
	var failed error
	results := q.PutHealth(ctx, params)
	results.Exec(func(_ int, err error) { failed = errors.Join(failed, err) })
	if failed != nil {
		return fmt.Errorf("store the health of webhooks: %w", failed)
	}
	return nil
}

func healthOf(row sqlcgen.DeliveryWebhookHealth) WebhookHealth {
	return WebhookHealth{Webhook: row.Webhook, Health: core.Health{
		Organization: row.Organization, Generation: row.Generation, ConsecutiveFailures: row.ConsecutiveFailures,
		FailingSince: timeOrZero(row.FailingSince), FailingDeliveries: row.FailingDeliveries,
		LastSuccess: timeOrZero(row.LastSuccessTime), LastFailure: timeOrZero(row.LastFailureTime),
		LastStatus: int(row.LastStatus), LastErrorClass: row.LastErrorClass,
		Reached: core.Level(row.Reached), Reported: core.Level(row.Reported), Reason: row.Reason, //nolint:gosec // G115: three bits
	}}
}

// Health returns the health of a webhook. Errors: fault.NotFound when nothing is known of it, fault.Unavailable.
func (s *Store) Health(ctx context.Context, organization string, webhook uuid.UUID) (*core.Health, error) {
	row, err := sqlcgen.New(s.pool).GetHealth(ctx, sqlcgen.GetHealthParams{Webhook: webhook, Organization: organization})
	if err != nil {
		return nil, pg.Fault(err)
	}
	health := healthOf(row)
	return &health.Health, nil
}

// healthPage is how many webhooks are looked at in one transaction.
const healthPage = 500

// CheckHealth has every webhook that fails for a time, and has not passed its threshold, looked at: what has been reached by now, without an attempt.
func (s *Store) CheckHealth(ctx context.Context, check func(*WebhookHealth)) error {
	var after uuid.UUID
	for {
		rows, err := sqlcgen.New(s.pool).FailingHealth(ctx, sqlcgen.FailingHealthParams{
			LastStage: int16(core.LevelDisable), After: after, PageSize: healthPage,
		})
		if err != nil {
			return pg.Fault(fmt.Errorf("read what fails: %w", err))
		}
		var concerned []uuid.UUID
		for _, row := range rows {
			health := healthOf(row)
			if check(&health); health.Reached != core.Level(row.Reached) { //nolint:gosec // G115: three bits
				concerned = append(concerned, row.Webhook)
			}
		}
		if len(concerned) > 0 {
			if err := s.recheck(ctx, concerned, check); err != nil {
				return pg.Fault(err)
			}
		}
		if len(rows) < healthPage {
			return nil
		}
		after = rows[healthPage-1].Webhook
	}
}

// recheck looks at webhooks again, under a lock, and stores what they have reached. To lock all that fail, each time,
// would write more than all attempts do.
func (s *Store) recheck(ctx context.Context, webhooks []uuid.UUID, check func(*WebhookHealth)) error {
	return pg.InTx(ctx, s.pool, pgx.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
		q := sqlcgen.New(tx)
		all, err := readHealth(ctx, q, webhooks)
		if err != nil {
			return err
		}
		for webhook, health := range all {
			now := WebhookHealth{Webhook: webhook, Health: *health}
			check(&now)
			*health = now.Health
		}
		return putHealth(ctx, q, all)
	})
}

// DueHealth returns webhooks of which a stage is to be reported, by id.
func (s *Store) DueHealth(ctx context.Context, after uuid.UUID, size int) ([]WebhookHealth, error) {
	rows, err := sqlcgen.New(s.pool).DueHealth(ctx, sqlcgen.DueHealthParams{After: after, PageSize: int32(size)}) //nolint:gosec // G115: a page
	if err != nil {
		return nil, pg.Fault(fmt.Errorf("read what is to be reported: %w", err))
	}
	all := make([]WebhookHealth, len(rows))
	for i, row := range rows {
		all[i] = healthOf(row)
	}
	return all, nil
}

// MarkReported notes that a stage of a generation has been reported.
func (s *Store) MarkReported(ctx context.Context, webhook uuid.UUID, generation int64, level core.Level) error {
	err := sqlcgen.New(s.pool).MarkHealthReported(ctx, sqlcgen.MarkHealthReportedParams{
		Webhook: webhook, Generation: generation, Level: int16(level),
	})
	if err != nil {
		return pg.Fault(fmt.Errorf("note a report: %w", err))
	}
	return nil
}

func timeOrNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func timeOrZero(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.UTC()
}

func nonNilTexts(all []string) []string {
	if all == nil {
		return []string{}
	}
	return all
}
