package pgstore_test

import (
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/meetwire/meetwire/pkg/fault"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
	"github.com/meetwire/meetwire/services/delivery/internal/pgstore"
)

func TestLeaseIsOneInstances(t *testing.T) {
	t.Parallel()
	store, pool := setup(t)
	ctx := newContext(t)
	one, other := uuid.New(), uuid.New()
	position, err := store.Lease(ctx, one, accepted(), time.Hour)
	require.NoError(t, err)
	require.Zero(t, position)
	_, err = store.Lease(ctx, other, accepted(), time.Hour)
	require.ErrorIs(t, err, pgstore.ErrLeaseLost)
	_, err = store.Lease(ctx, one, accepted(), time.Hour)
	require.NoError(t, err, "it prolongs its own")

	b := batch(0, []*deliveryv1.Record{newRecord()})
	b.Holder, b.Position = one, 41
	require.NoError(t, store.Write(ctx, b, time.Hour))
	require.ErrorIs(t, store.Write(ctx, b, time.Hour), pgstore.ErrLeaseLost, "it is taken in already")
	b.Holder, b.Before = other, 41
	require.ErrorIs(t, store.Write(ctx, b, time.Hour), pgstore.ErrLeaseLost)

	require.NoError(t, store.Release(ctx, other), "which has none")
	_, err = store.Lease(ctx, other, accepted(), time.Hour)
	require.ErrorIs(t, err, pgstore.ErrLeaseLost)
	require.NoError(t, store.Release(ctx, one))
	position, err = store.Lease(ctx, other, accepted(), time.Hour)
	require.NoError(t, err)
	require.EqualValues(t, 41, position)

	// One that was not prolonged ends.
	_, err = pool.Exec(ctx, "UPDATE delivery.recorder SET lease_until = now() - interval '1 second'")
	require.NoError(t, err)
	position, err = store.Lease(ctx, one, accepted(), time.Hour)
	require.NoError(t, err)
	require.EqualValues(t, 41, position)

	// A stream that was made anew begins at its beginning.
	position, err = store.Lease(ctx, one, accepted().Add(time.Second), time.Hour)
	require.NoError(t, err)
	require.Zero(t, position)
}

func TestHealthIsFoldedWithItsRows(t *testing.T) {
	t.Parallel()
	store, _ := setup(t)
	ctx := newContext(t)
	webhook := uuid.New()
	failure := func() *deliveryv1.Record {
		record := newRecord()
		record.Webhook = webhook.String()
		record.Attempt.ErrorClass, record.Attempt.StatusCode = core.ErrorStatus, 502
		return record
	}
	first := failure()
	require.NoError(t, write(t, store, []*deliveryv1.Record{first, failure(), first}))
	require.NoError(t, write(t, store, []*deliveryv1.Record{first}))
	health, err := store.Health(ctx, "acme", webhook)
	require.NoError(t, err)
	require.EqualValues(t, 2, health.ConsecutiveFailures, "what comes twice counts once")
	require.Equal(t, core.LevelHalf, health.Reached)
	require.Equal(t, 502, health.LastStatus)
	require.Len(t, health.FailingDeliveries, 2)
	require.Equal(t, first.GetTime().AsTime(), health.FailingSince)
	_, err = store.Health(ctx, "other", webhook)
	require.True(t, fault.Is(err, fault.NotFound), "%v", err)

	// A batch that cannot be stored changes nothing.
	bad := failure()
	bad.Reason = "a\x00b"
	require.Error(t, write(t, store, []*deliveryv1.Record{failure(), bad}))
	health, err = store.Health(ctx, "acme", webhook)
	require.NoError(t, err)
	require.EqualValues(t, 2, health.ConsecutiveFailures)

	due, err := store.DueHealth(ctx, uuid.Nil, 10)
	require.NoError(t, err)
	require.Len(t, due, 1)
	require.NoError(t, store.MarkReported(ctx, webhook, 2, core.LevelHalf))
	due, err = store.DueHealth(ctx, uuid.Nil, 10)
	require.NoError(t, err)
	require.Len(t, due, 1, "that was of another generation")
	require.NoError(t, store.MarkReported(ctx, webhook, 1, core.LevelHalf))
	due, err = store.DueHealth(ctx, uuid.Nil, 10)
	require.NoError(t, err)
	require.Empty(t, due)

	require.NoError(t, write(t, store, []*deliveryv1.Record{failure()}))
	due, err = store.DueHealth(ctx, uuid.Nil, 10)
	require.NoError(t, err)
	require.Equal(t, core.LevelDisable, due[0].Due())
	due, err = store.DueHealth(ctx, webhook, 10)
	require.NoError(t, err)
	require.Empty(t, due, "the next page")
}

func TestCheckLooksAtEveryWebhookThatFails(t *testing.T) {
	t.Parallel()
	store, pool := setup(t)
	const count = 501 // more than a page
	var records []*deliveryv1.Record
	for range count {
		webhook := uuid.NewString()
		for range 3 {
			record := newRecord()
			record.Webhook, record.Attempt.ErrorClass = webhook, core.ErrorDNS
			records = append(records, record)
		}
	}
	require.NoError(t, write(t, store, records))
	_, err := pool.Exec(newContext(t), "UPDATE delivery.webhook_health SET reached = $1", core.LevelFirst)
	require.NoError(t, err)
	seen := make(map[uuid.UUID]bool)
	require.NoError(t, store.CheckHealth(newContext(t), func(h *pgstore.WebhookHealth) {
		seen[h.Webhook] = true
		h.Reached |= core.LevelDisable
	}))
	require.Len(t, seen, count)
	due, err := store.DueHealth(newContext(t), uuid.Nil, 2*count)
	require.NoError(t, err)
	require.Len(t, due, count)
	for _, health := range due {
		require.NotZero(t, health.Reached&core.LevelDisable)
	}
	looked := 0
	require.NoError(t, store.CheckHealth(newContext(t), func(*pgstore.WebhookHealth) { looked++ }))
	require.Equal(t, count, looked, "it is not yet taken")
	_, err = pool.Exec(newContext(t), "UPDATE delivery.webhook_health SET reported = reached")
	require.NoError(t, err)
	require.NoError(t, store.CheckHealth(newContext(t), func(*pgstore.WebhookHealth) { t.Error("there is nothing more to reach") }))
}

// rowsOf is how many rows an organization has.
func rowsOf(t *testing.T, pool *pgxpool.Pool, organization string) (rows int64) {
	t.Helper()
	require.NoError(t, pool.QueryRow(newContext(t), `SELECT
		(SELECT count(*) FROM delivery.delivery WHERE organization = $1)
		+ (SELECT count(*) FROM delivery.attempt a JOIN delivery.delivery d ON d.id = a.delivery WHERE d.organization = $1)
		+ (SELECT count(*) FROM delivery.webhook_health WHERE organization = $1)
		+ (SELECT count(*) FROM delivery.attempt_hour WHERE organization = $1)
		+ (SELECT count(*) FROM delivery.dead_letter_hour WHERE organization = $1)
		+ (SELECT count(*) FROM delivery.dead_letter_count WHERE organization = $1)`, organization).Scan(&rows))
	return rows
}

// of returns records of an organization, some of them of dead letters, from several days.
func of(organization string, count int) []*deliveryv1.Record {
	records := make([]*deliveryv1.Record, count)
	for i := range records {
		record := newRecord()
		record.Organization = organization
		record.AcceptTime = timestamppb.New(accepted().AddDate(0, 0, -i%3))
		if i%2 == 0 {
			record.State, record.Reason = deliveryv1.Delivery_STATE_DEAD_LETTERED, core.ReasonAttemptsExhausted
		}
		records[i] = record
	}
	return records
}

func TestPurgeRemovesEveryRowOfAnOrganization(t *testing.T) {
	t.Parallel()
	store, pool := setup(t)
	const count = 1100 // more than is removed at once
	require.NoError(t, write(t, store, of("acme", count)))
	require.NoError(t, write(t, store, of("other", 5)))
	before, other := rowsOf(t, pool, "acme"), rowsOf(t, pool, "other")
	require.EqualValues(t, 4*count+2*(count/2), before)
	removed, err := store.Purge(newContext(t), "acme")
	require.NoError(t, err)
	require.Equal(t, before, removed)
	require.Zero(t, rowsOf(t, pool, "acme"))
	require.Equal(t, other, rowsOf(t, pool, "other"))
	var attempts int
	require.NoError(t, pool.QueryRow(newContext(t), "SELECT count(*) FROM delivery.attempt").Scan(&attempts))
	require.Equal(t, 5, attempts)
	removed, err = store.Purge(newContext(t), "acme")
	require.NoError(t, err)
	require.Zero(t, removed)
}

func TestRetainKeepsTheDaysFromOneOn(t *testing.T) {
	t.Parallel()
	store, pool := setup(t)
	require.NoError(t, write(t, store, of("acme", 9)))
	require.NoError(t, write(t, store, of("other", 9)))
	other := rowsOf(t, pool, "other")

	// Another instance is at it.
	tx, err := pool.Begin(newContext(t))
	require.NoError(t, err)
	_, err = tx.Exec(newContext(t), "SELECT pg_advisory_xact_lock(hashtext('meetwire.delivery.retention'))")
	require.NoError(t, err)
	removed, err := store.Retain(newContext(t), "acme", accepted())
	require.NoError(t, err)
	require.Zero(t, removed)
	require.NoError(t, tx.Rollback(newContext(t)))

	removed, err = store.Retain(newContext(t), "acme", accepted().AddDate(0, 0, -1))
	require.NoError(t, err)
	require.EqualValues(t, 3, removed)
	var days, attempts int
	require.NoError(t, pool.QueryRow(newContext(t), `SELECT count(DISTINCT accepted_on), count(*) FROM delivery.attempt
		WHERE delivery IN (SELECT id FROM delivery.delivery WHERE organization = 'acme')`).Scan(&days, &attempts))
	require.Equal(t, 2, days)
	require.Equal(t, 6, attempts)
	require.Equal(t, other, rowsOf(t, pool, "other"))
}

func TestCountsThatAreClosedDoNotChange(t *testing.T) {
	t.Parallel()
	store, _ := setup(t)
	ctx := newContext(t)
	minute := accepted().Truncate(time.Minute)
	webhook := uuid.NewString()
	dead := func() *deliveryv1.Record {
		record := newRecord()
		record.Webhook, record.State, record.Reason, record.Attempt = webhook, deliveryv1.Delivery_STATE_DEAD_LETTERED, core.ReasonPoison, nil
		record.Time = timestamppb.New(minute.Add(time.Second))
		return record
	}
	require.NoError(t, write(t, store, []*deliveryv1.Record{dead(), dead()}))
	counts, err := store.CloseCounts(ctx, minute.Add(-time.Minute), 10)
	require.NoError(t, err)
	require.Empty(t, counts, "it is not over")

	// Deaths are counted while their minute is closed: none may get lost, none may change what was told.
	var writers sync.WaitGroup
	for range 10 {
		writers.Go(func() {
			for {
				err := write(t, store, []*deliveryv1.Record{dead()})
				if err == nil {
					return
				}
			}
		})
	}
	told, err := store.CloseCounts(ctx, minute, 10)
	require.NoError(t, err)
	require.Len(t, told, 1)
	writers.Wait()
	again, err := store.CloseCounts(ctx, minute, 10)
	require.NoError(t, err)
	require.Equal(t, told, again)
	require.NoError(t, store.MarkCounted(ctx, told, accepted()))
	rest, err := store.CloseCounts(ctx, minute.Add(time.Hour), 10)
	require.NoError(t, err)
	total := told[0].Count
	for _, count := range rest {
		require.NotEqual(t, told[0].Minute, count.Minute)
		total += count.Count
	}
	require.EqualValues(t, 12, total)
	require.NoError(t, store.MarkCounted(ctx, rest, accepted().AddDate(0, 0, 3)))
}
