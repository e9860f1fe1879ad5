package pgstore

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/meetwire/meetwire/pkg/pg"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
	"github.com/meetwire/meetwire/services/delivery/internal/pgstore/sqlcgen"
)

// WebhookHealth is the health of one webhook.
type WebhookHealth struct {
	Webhook uuid.UUID
	core.Health
}

// successPrecision is how old a webhook's last success becomes in the table while all attempts succeed: a row for each of
// them would be most of what the recorder writes.
const successPrecision = 10 * time.Second

// outcome is what an attempt says about its webhook, and when that is disabled.
type outcome struct {
	core.Outcome

	webhook   uuid.UUID
	threshold core.Threshold
}

// foldHealth takes attempts that were not stored before into the health of their webhooks, in the order of the stream.
func (w *writing) foldHealth(ctx context.Context, q *sqlcgen.Queries, stored []uuid.UUID) error {
	outcomes, err := w.outcomes(stored)
	if err != nil || len(outcomes) == 0 {
		return err
	}
	// Most attempts succeed like those before: for them nothing need be locked or written.
	known, others := w.healthy.at(w.batch.Before, webhooksOf(outcomes))
	if len(others) > 0 {
		rows, err := q.Health(ctx, others)
		if err != nil {
			return fmt.Errorf("read the health of webhooks: %w", err)
		}
		maps.Copy(known, healthByWebhook(rows))
	}
	folded := copied(known)
	fold(outcomes, folded)
	w.health = known
	outcomes = slices.DeleteFunc(outcomes, func(o outcome) bool {
		before := known[o.webhook]
		return before != nil && asGoodAs(before, folded[o.webhook])
	})
	if len(outcomes) == 0 {
		return nil
	}
	locked, err := lockHealth(ctx, q, webhooksOf(outcomes))
	if err != nil {
		return err
	}
	fold(outcomes, locked)
	maps.Copy(w.health, locked)
	return putHealth(ctx, q, locked)
}

// outcomes returns what attempts say that were not stored before.
func (w *writing) outcomes(stored []uuid.UUID) ([]outcome, error) {
	fresh := make(map[string]bool, len(stored))
	for _, id := range stored {
		fresh[id.String()] = true
	}
	var outcomes []outcome
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
			return nil, fmt.Errorf("read a webhook's id: %w", err) // rows has checked it
		}
		outcomes = append(outcomes, outcome{webhook: webhook, threshold: threshold, Outcome: core.Outcome{
			Organization: record.GetOrganization(),
			Delivery:     record.GetDelivery(),
			Generation:   record.GetWebhookGeneration(),
			At:           record.GetTime().AsTime(),
			StatusCode:   int(record.GetAttempt().GetStatusCode()),
			ErrorClass:   record.GetAttempt().GetErrorClass(),
		}})
	}
	return outcomes, nil
}

// webhooksOf returns the webhooks, each once, in their order.
func webhooksOf(outcomes []outcome) []uuid.UUID {
	webhooks := make([]uuid.UUID, len(outcomes))
	for i, o := range outcomes {
		webhooks[i] = o.webhook
	}
	return inOrder(webhooks)
}

// inOrder sorts webhooks, so that all lock them in the same order, and leaves out repetitions.
func inOrder(webhooks []uuid.UUID) []uuid.UUID {
	slices.SortFunc(webhooks, func(a, b uuid.UUID) int { return slices.Compare(a[:], b[:]) })
	return slices.Compact(webhooks)
}

// fold takes outcomes into what is known of their webhooks.
func fold(outcomes []outcome, health map[uuid.UUID]*core.Health) {
	for _, o := range outcomes {
		if health[o.webhook] == nil {
			health[o.webhook] = new(core.Health)
		}
		health[o.webhook].Fold(o.Outcome, o.threshold)
	}
}

// asGoodAs reports whether nothing has happened but that a webhook that had succeeded a moment ago has succeeded again.
func asGoodAs(before, after *core.Health) bool {
	return after.Generation == before.Generation && after.LastFailure.Equal(before.LastFailure) &&
		after.ConsecutiveFailures == 0 && before.ConsecutiveFailures == 0 &&
		after.Reached == before.Reached && after.LastStatus == before.LastStatus && after.LastErrorClass == before.LastErrorClass &&
		after.LastSuccess.Sub(before.LastSuccess) < successPrecision
}

// lockHealth returns the health of webhooks, empty where there is none yet, and locks it.
func lockHealth(ctx context.Context, q *sqlcgen.Queries, webhooks []uuid.UUID) (map[uuid.UUID]*core.Health, error) {
	webhooks = inOrder(webhooks)
	rows, err := q.LockHealth(ctx, webhooks)
	if err != nil {
		return nil, fmt.Errorf("read the health of webhooks: %w", err)
	}
	all := healthByWebhook(rows)
	for _, webhook := range webhooks {
		if all[webhook] == nil {
			all[webhook] = new(core.Health)
		}
	}
	return all, nil
}

func healthByWebhook(rows []sqlcgen.DeliveryWebhookHealth) map[uuid.UUID]*core.Health {
	all := make(map[uuid.UUID]*core.Health, len(rows))
	for _, row := range rows {
		health := healthOf(row)
		all[row.Webhook] = &health.Health
	}
	return all
}

func putHealth(ctx context.Context, q *sqlcgen.Queries, all map[uuid.UUID]*core.Health) error {
	var p sqlcgen.PutHealthParams
	for webhook, h := range all {
		if h.Generation == 0 {
			continue // nothing that counts
		}
		p.Webhook = append(p.Webhook, webhook)
		p.Organization = append(p.Organization, h.Organization)
		p.Generation = append(p.Generation, h.Generation)
		p.ConsecutiveFailures = append(p.ConsecutiveFailures, h.ConsecutiveFailures)
		p.FailingSince = append(p.FailingSince, h.FailingSince)
		p.FailingDeliveries = append(p.FailingDeliveries, strings.Join(h.FailingDeliveries, " "))
		p.LastSuccessTime = append(p.LastSuccessTime, h.LastSuccess)
		p.LastFailureTime = append(p.LastFailureTime, h.LastFailure)
		p.LastStatus = append(p.LastStatus, int32(h.LastStatus)) //nolint:gosec // G115: three digits
		p.LastErrorClass = append(p.LastErrorClass, h.LastErrorClass)
		p.Reached = append(p.Reached, int16(h.Reached))
		p.Reported = append(p.Reported, int16(h.Reported))
		p.Reason = append(p.Reason, h.Reason)
	}
	if len(p.Webhook) == 0 {
		return nil
	}
	if err := q.PutHealth(ctx, p); err != nil {
		return fmt.Errorf("store the health of webhooks: %w", err)
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
		all, err := lockHealth(ctx, q, webhooks)
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

func timeOrZero(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.UTC()
}
