package pgstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/meetwire/meetwire/pkg/pg"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	"github.com/meetwire/meetwire/services/delivery/internal/pgstore/sqlcgen"
)

// DeadLetterCount is how many deliveries of a webhook became dead letters for one reason in one minute.
type DeadLetterCount struct {
	Organization string
	Webhook      uuid.UUID
	Reason       string
	Minute       time.Time
	Count        int64
}

// maxCountAge is how old a dead letter may be to be counted in its own minute: counts of older ones are forgotten, and
// begun anew they would be reported twice.
const maxCountAge = 24 * time.Hour

// errClosed is returned when a count was closed while something was added to it: done again, that goes elsewhere.
var errClosed = errors.New("a count of dead letters was closed in between")

// newlyDead returns the records of the batch that make a dead letter of a delivery that was none. A step that was
// repeated is recorded twice, and is one dead letter.
func (w *writing) newlyDead(ctx context.Context, q *sqlcgen.Queries) ([]*deliveryv1.Record, error) {
	var params sqlcgen.DeliveryStatesParams
	state := make(map[string]deliveryv1.Delivery_State)
	for _, record := range w.batch.Records {
		if record.GetState() != deliveryv1.Delivery_STATE_DEAD_LETTERED {
			continue
		}
		if _, known := state[record.GetDelivery()]; known {
			continue
		}
		id, err := uuid.Parse(record.GetDelivery())
		if err != nil {
			return nil, fmt.Errorf("read a delivery's id: %w", err) // rows has checked it
		}
		state[record.GetDelivery()] = deliveryv1.Delivery_STATE_UNSPECIFIED
		params.ID = append(params.ID, id)
		params.AcceptedOn = append(params.AcceptedOn, pg.Day(record.GetAcceptTime().AsTime()))
	}
	if len(state) == 0 {
		return nil, nil
	}
	before, err := q.DeliveryStates(ctx, params)
	if err != nil {
		return nil, fmt.Errorf("read what deliveries were: %w", err)
	}
	for _, row := range before {
		state[row.ID.String()] = deliveryv1.Delivery_State(row.State)
	}
	var dead []*deliveryv1.Record
	for _, record := range w.batch.Records {
		was, concerned := state[record.GetDelivery()]
		if !concerned {
			continue
		}
		state[record.GetDelivery()] = record.GetState()
		if record.GetState() == deliveryv1.Delivery_STATE_DEAD_LETTERED && was != record.GetState() && w.batch.Counted(record) {
			dead = append(dead, record)
		}
	}
	return dead, nil
}

// countKey identifies a count.
type countKey struct {
	webhook uuid.UUID
	reason  string
	minute  time.Time
}

// count adds dead letters to the counts of their minutes. What comes too late for its own goes into the one that is
// running.
func (w *writing) count(ctx context.Context, q *sqlcgen.Queries, dead []*deliveryv1.Record) error {
	if len(dead) == 0 {
		return nil
	}
	now := w.batch.Now.UTC().Truncate(time.Minute)
	var lookup sqlcgen.ClosedCountsParams
	keys := make([][3]countKey, len(dead))
	for i, record := range dead {
		webhook, err := uuid.Parse(record.GetWebhook())
		if err != nil {
			return fmt.Errorf("read a webhook's id: %w", err) // rows has checked it
		}
		minute := record.GetTime().AsTime().UTC().Truncate(time.Minute)
		if now.Sub(minute) >= maxCountAge || minute.After(now) {
			minute = now
		}
		// Its own minute, or the one that is running, or, where another instance's clock is ahead, the next.
		for j, m := range []time.Time{minute, now, now.Add(time.Minute)} {
			keys[i][j] = countKey{webhook, record.GetReason(), m}
			lookup.Webhook, lookup.Reason, lookup.Minute = append(lookup.Webhook, webhook), append(lookup.Reason, record.GetReason()), append(lookup.Minute, m)
		}
	}
	rows, err := q.ClosedCounts(ctx, lookup)
	if err != nil {
		return fmt.Errorf("read which counts are closed: %w", err)
	}
	closed := make(map[countKey]bool, len(rows))
	for _, row := range rows {
		closed[countKey{row.Webhook, row.Reason, row.Minute.UTC()}] = true
	}
	counts := make(map[countKey]int64)
	organizations := make(map[uuid.UUID]string)
	for i, record := range dead {
		key := keys[i][2]
		for j := range 2 {
			if !closed[keys[i][j]] {
				key = keys[i][j]
				break
			}
		}
		counts[key]++
		organizations[key.webhook] = record.GetOrganization()
	}
	return addCounts(ctx, q, counts, organizations)
}

func addCounts(ctx context.Context, q *sqlcgen.Queries, counts map[countKey]int64, organizations map[uuid.UUID]string) error {
	var params sqlcgen.AddCountsParams
	for key, count := range counts {
		params.Webhook, params.Reason, params.Minute = append(params.Webhook, key.webhook), append(params.Reason, key.reason), append(params.Minute, key.minute)
		params.Organization, params.Count = append(params.Organization, organizations[key.webhook]), append(params.Count, count)
	}
	added, err := q.AddCounts(ctx, params)
	if err != nil {
		return fmt.Errorf("count dead letters: %w", err)
	}
	if int(added) < len(counts) {
		return errClosed
	}
	return nil
}

// CloseCounts ends the counts of the minutes that began by a time, and returns some of those that are to be reported. A
// count that was closed never changes.
func (s *Store) CloseCounts(ctx context.Context, newest time.Time, size int) ([]DeadLetterCount, error) {
	q := sqlcgen.New(s.pool)
	if err := q.CloseCounts(ctx, newest); err != nil {
		return nil, pg.Fault(fmt.Errorf("close counts: %w", err))
	}
	rows, err := q.DueCounts(ctx, int32(size)) //nolint:gosec // G115: a page
	if err != nil {
		return nil, pg.Fault(fmt.Errorf("read counts: %w", err))
	}
	counts := make([]DeadLetterCount, len(rows))
	for i, row := range rows {
		counts[i] = DeadLetterCount{Organization: row.Organization, Webhook: row.Webhook, Reason: row.Reason, Minute: row.Minute.UTC(), Count: row.Count}
	}
	return counts, nil
}

// MarkCounted notes that counts have been reported, and forgets old ones.
func (s *Store) MarkCounted(ctx context.Context, counts []DeadLetterCount, now time.Time) error {
	var params sqlcgen.MarkCountsReportedParams
	for _, c := range counts {
		params.Webhook, params.Reason, params.Minute = append(params.Webhook, c.Webhook), append(params.Reason, c.Reason), append(params.Minute, c.Minute)
	}
	q := sqlcgen.New(s.pool)
	if err := q.MarkCountsReported(ctx, params); err != nil {
		return pg.Fault(fmt.Errorf("note reported counts: %w", err))
	}
	if err := q.DeleteCounts(ctx, now.Add(-2*maxCountAge)); err != nil {
		return pg.Fault(fmt.Errorf("forget old counts: %w", err))
	}
	return nil
}
