package pgstore_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/timestamppb"

	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	"github.com/meetwire/meetwire/services/delivery/internal/pgstore"
)

func TestDeliveriesOfAnEventAreCountedByState(t *testing.T) {
	t.Parallel()
	store, _ := setup(t)
	var records []*deliveryv1.Record
	for state, n := range map[deliveryv1.Delivery_State]int{
		deliveryv1.Delivery_STATE_PENDING: 1, deliveryv1.Delivery_STATE_SUCCEEDED: 2,
		deliveryv1.Delivery_STATE_DEAD_LETTERED: 3, deliveryv1.Delivery_STATE_DROPPED: 4,
	} {
		for range n {
			record := newRecord()
			record.State = state
			records = append(records, record)
		}
	}
	others := newRecord()
	others.Organization = "beta"
	another := newRecord()
	another.EventSequence = 8
	require.NoError(t, write(t, store, append(records, others, another)))

	got, err := store.CountDeliveries(newContext(t), "acme", 7)
	require.NoError(t, err)
	require.Equal(t, pgstore.Counts{Pending: 1, Succeeded: 2, DeadLettered: 3, Dropped: 4}, got)
	got, err = store.CountDeliveries(newContext(t), "acme", 9)
	require.NoError(t, err)
	require.Zero(t, got)
}

func TestDeliveriesAreFoundByTheirIDs(t *testing.T) {
	t.Parallel()
	store, _ := setup(t)
	first := newRecord()
	second := next(first, deliveryv1.Delivery_STATE_PENDING)
	// The same event, accepted again on another day: the latest counts.
	again := newRecord()
	again.Delivery, again.AcceptTime, again.AttemptCount = first.GetDelivery(), timestamppb.New(accepted().Add(48*time.Hour)), 1
	again.State = deliveryv1.Delivery_STATE_DROPPED
	one, others := newRecord(), newRecord()
	others.Organization = "beta"
	require.NoError(t, write(t, store, []*deliveryv1.Record{first, second, one, others}))
	require.NoError(t, write(t, store, []*deliveryv1.Record{again}))

	id := func(record *deliveryv1.Record) uuid.UUID { return uuid.MustParse(record.GetDelivery()) }
	got, err := store.FindDeliveries(newContext(t), "acme", []uuid.UUID{id(first), id(one), id(others), uuid.New()})
	require.NoError(t, err)
	require.Equal(t, map[uuid.UUID]pgstore.Known{
		id(first): {State: deliveryv1.Delivery_STATE_DROPPED, Attempts: 1},
		id(one):   {State: deliveryv1.Delivery_STATE_SUCCEEDED, Attempts: 1},
	}, got)
	succeeded, err := store.Succeeded(newContext(t), "acme", []string{first.GetDelivery(), one.GetDelivery(), "none"})
	require.NoError(t, err)
	require.Equal(t, map[string]bool{first.GetDelivery(): false, one.GetDelivery(): true}, succeeded)
}

func TestRecordedTellsHowFarAStreamWasTakenIn(t *testing.T) {
	t.Parallel()
	store, _ := setup(t)
	position, err := store.Recorded(newContext(t), accepted())
	require.NoError(t, err)
	require.Zero(t, position)
	require.NoError(t, write(t, store, []*deliveryv1.Record{newRecord()}))
	require.NoError(t, write(t, store, []*deliveryv1.Record{newRecord()}))
	position, err = store.Recorded(newContext(t), accepted().Add(time.Nanosecond))
	require.NoError(t, err)
	require.EqualValues(t, 2, position)
	position, err = store.Recorded(newContext(t), accepted().Add(time.Hour))
	require.NoError(t, err)
	require.Zero(t, position, "that is another stream")
}

func TestErasedAttemptsSayNothing(t *testing.T) {
	t.Parallel()
	store, pool := setup(t)
	erased, kept, others := newRecord(), newRecord(), newRecord()
	for _, record := range []*deliveryv1.Record{erased, kept, others} {
		record.Attempt.ErrorMessage, record.Attempt.ErrorClass, record.State = "secret", "status", deliveryv1.Delivery_STATE_DEAD_LETTERED
		record.Attempt.RequestBody, record.Attempt.ResponseBody = []byte("secret"), []byte("secret")
	}
	kept.EventSequence, others.Organization = 8, "beta"
	require.NoError(t, write(t, store, []*deliveryv1.Record{erased, kept, others}))

	n, err := store.EraseAttempts(newContext(t), "acme", []int64{7, 9})
	require.NoError(t, err)
	require.Positive(t, n)
	after := read(t, store, erased)
	requireEqual(t, []*deliveryv1.Delivery{wanted(erased)}, []*deliveryv1.Delivery{after.delivery})
	require.Len(t, after.attempts, 1)
	require.Equal(t, erased.GetAttempt().GetStartTime().AsTime(), after.attempts[0].GetStartTime().AsTime())
	var text string
	require.NoError(t, pool.QueryRow(newContext(t), `SELECT coalesce(string_agg(a::text, ''), '') FROM delivery.attempt a WHERE delivery = $1`,
		erased.GetDelivery()).Scan(&text))
	require.NotContains(t, text, "secret")
	for _, record := range []*deliveryv1.Record{kept, others} {
		require.Equal(t, "secret", read(t, store, record).attempts[0].GetErrorMessage())
	}
	n, err = store.EraseAttempts(newContext(t), "acme", []int64{7, 9})
	require.NoError(t, err)
	require.Zero(t, n)
}

func TestWhatWasSentSinceItsDeadLetter(t *testing.T) {
	t.Parallel()
	store, _ := setup(t)
	died := accepted().Add(time.Hour)
	record := func(attempts int32, attempted bool, state deliveryv1.Delivery_State, at time.Time) *deliveryv1.Record {
		r := newRecord()
		r.AttemptCount, r.State, r.Time = attempts, state, timestamppb.New(at)
		if !attempted {
			r.Attempt = nil
		}
		return r
	}
	const pending, dead, succeeded = deliveryv1.Delivery_STATE_PENDING, deliveryv1.Delivery_STATE_DEAD_LETTERED, deliveryv1.Delivery_STATE_SUCCEEDED
	late := died.Add(24 * time.Hour)
	for name, test := range map[string]struct {
		row  *deliveryv1.Record
		sent bool
	}{
		"the dead letter":                      {record(3, true, dead, late), false},
		"an earlier attempt, by a clock ahead": {record(2, true, pending, late), false},
		"the last one":                         {record(3, true, pending, late), false},
		"a wait before it died":                {record(3, false, pending, died.Add(-time.Second)), false},
		"its replay":                           {record(3, false, pending, late), true},
		"another attempt":                      {record(4, true, succeeded, late), true},
		"a success, by a clock behind":         {record(4, true, succeeded, died.Add(-time.Hour)), true},
		"an earlier success":                   {record(3, true, succeeded, died.Add(-time.Second)), false},
		"one of a worker that died before it":  {record(4, true, pending, died.Add(-time.Second)), false},
		"one that failed, too":                 {record(4, true, pending, late), true},
		"another death":                        {record(4, true, dead, late), false},
	} {
		require.NoError(t, write(t, store, []*deliveryv1.Record{test.row}))
		sent, err := store.SentSince(newContext(t), []pgstore.Since{
			{Delivery: "none"}, {Delivery: uuid.NewString(), AcceptedAt: accepted(), Time: died},
			{Delivery: test.row.GetDelivery(), AcceptedAt: accepted(), Attempts: 3, Time: died},
		})
		require.NoError(t, err)
		require.Equal(t, test.sent, sent[test.row.GetDelivery()], name)
		require.LessOrEqual(t, len(sent), 1)
	}
}

// What waits for a webhook that is gone ends, whatever the clock says of whoever let it wait.
func TestWhatWaitsForAWebhookThatIsGoneIsDropped(t *testing.T) {
	t.Parallel()
	store, _ := setup(t)
	waits := newRecord()
	waits.State, waits.Time = deliveryv1.Delivery_STATE_PENDING, timestamppb.New(accepted().Add(time.Hour))
	done, others := next(waits, deliveryv1.Delivery_STATE_SUCCEEDED), newRecord()
	done.Delivery = uuid.NewString()
	others.State = deliveryv1.Delivery_STATE_PENDING
	require.NoError(t, write(t, store, []*deliveryv1.Record{waits, done, others}))
	gone := &deliveryv1.Record{
		Id: uuid.NewString(), Organization: "acme", Webhook: waits.GetWebhook(), Time: timestamppb.New(accepted()),
		State: deliveryv1.Delivery_STATE_DROPPED, Reason: "webhook_deleted",
	}
	require.NoError(t, write(t, store, []*deliveryv1.Record{gone}))
	require.Equal(t, deliveryv1.Delivery_STATE_DROPPED, read(t, store, waits).delivery.GetState())
	require.Equal(t, "webhook_deleted", read(t, store, waits).delivery.GetReason())
	require.Equal(t, deliveryv1.Delivery_STATE_SUCCEEDED, read(t, store, done).delivery.GetState())
	require.Equal(t, deliveryv1.Delivery_STATE_PENDING, read(t, store, others).delivery.GetState())
	require.NoError(t, write(t, store, []*deliveryv1.Record{waits}))
	require.Equal(t, deliveryv1.Delivery_STATE_DROPPED, read(t, store, waits).delivery.GetState(), "that came before")
}
