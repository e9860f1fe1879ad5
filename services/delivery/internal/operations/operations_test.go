package operations_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/operation"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
	"github.com/meetwire/meetwire/services/delivery/internal/natsbus"
	"github.com/meetwire/meetwire/services/delivery/internal/operations"
	"github.com/meetwire/meetwire/services/delivery/internal/pgstore"
)

// populate makes 700 dead letters of an active webhook, two of each that is not, and one of another organization.
func (e *env) populate(t *testing.T) {
	t.Helper()
	for n := range 700 {
		e.bury(t, task("acme", activeHook, n), core.ReasonAttemptsExhausted, time.Now())
	}
	for _, webhook := range []string{pausedHook, disabledHook, deletedHook} {
		for n := range 2 {
			e.bury(t, task("acme", webhook, n), core.ReasonWebhookDisabled, time.Now())
		}
	}
	e.bury(t, task("beta", betaHook, 1), core.ReasonPoison, time.Now())
}

func TestReplayOfManyDeadLetters(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.populate(t)
	asked := e.all(t, natsbus.Selection{Organization: "acme"})
	late := task("acme", activeHook, 5000)
	e.bury(t, late, core.ReasonAttemptsExhausted, time.Now()) // after the operation was begun
	e.operate(t, e.letters)

	o := e.await(t, "acme", e.begin(t, "acme", operations.TypeReplay, true, asked), operation.Succeeded)
	require.Equal(t, []int64{706, 706, 700, 6}, []int64{o.Total, o.Processed, o.Affected, o.Skipped})
	require.Empty(t, e.sent(t), "a dry run sends nothing")
	require.Equal(t, 708, e.count(t, bus.StreamDeadLetters, ">"))

	o = e.await(t, "acme", e.begin(t, "acme", operations.TypeReplay, false, asked), operation.Succeeded)
	require.Equal(t, []int64{706, 706, 700, 6}, []int64{o.Total, o.Processed, o.Affected, o.Skipped})
	sent := e.sent(t)
	require.Len(t, sent, 700)
	for delivery, n := range sent {
		require.Equal(t, 1, n, delivery)
	}
	require.NotContains(t, sent, late.Delivery, "it was none when the operation began")
	require.Equal(t, 8, e.count(t, bus.StreamDeadLetters, ">"))
	require.Equal(t, 700, e.count(t, bus.StreamRecords, ">"))

	// Everything of everybody, for operators.
	o = e.await(t, "", e.begin(t, "", operations.TypeReplay, false, e.all(t, natsbus.Selection{})), operation.Succeeded)
	require.Equal(t, []int64{2, 6}, []int64{o.Affected, o.Skipped})
	require.Len(t, e.sent(t), 702)
}

func TestReplayOfThoseThatAreSelected(t *testing.T) {
	t.Parallel()
	e := setup(t)
	now := time.Now()
	for n := range 12 {
		of, reason := task("acme", activeHook, n), core.ReasonAttemptsExhausted
		if n%2 == 0 {
			of.Trigger = "meeting.canceled"
		}
		if n%3 == 0 {
			reason = core.ReasonGaveUpAge
		}
		e.bury(t, of, reason, now.Add(time.Duration(n)*time.Minute))
	}
	e.operate(t, e.letters)
	run := func(selected natsbus.Selection) operation.Operation {
		selected.Organization = "acme"
		return e.await(t, "acme", e.begin(t, "acme", operations.TypeReplay, true, e.all(t, selected)), operation.Succeeded)
	}
	for _, test := range []struct {
		selected            natsbus.Selection
		processed, affected int64
	}{
		{natsbus.Selection{}, 12, 12},
		{natsbus.Selection{Trigger: "meeting.canceled"}, 6, 6},
		{natsbus.Selection{Reason: core.ReasonGaveUpAge}, 12, 4},
		{natsbus.Selection{Reason: core.ReasonGaveUpAge, Trigger: "meeting.canceled"}, 6, 2},
		{natsbus.Selection{EventID: "bk_7"}, 12, 1},
		{natsbus.Selection{Delivery: task("acme", activeHook, 7).Delivery}, 1, 1},
		{natsbus.Selection{Webhook: pausedHook}, 0, 0},
		{natsbus.Selection{Since: now.Add(3 * time.Minute), Before: now.Add(5 * time.Minute)}, 12, 2},
	} {
		o := run(test.selected)
		require.Equal(t, []int64{test.processed, test.affected}, []int64{o.Processed, o.Affected}, "%+v", test.selected)
	}
}

// dying is an instance that dies after it has sent a part, before it could remove any of it.
type dying struct {
	*natsbus.DeadLetters
	e    *env
	died chan struct{}
}

func (d *dying) ReplayAll(ctx context.Context, letters []*natsbus.DeadLetter) (int, error) {
	if n, err := d.DeadLetters.ReplayAll(ctx, letters); err != nil {
		return n, err
	}
	for _, letter := range letters { // as if it was never removed
		if err := d.e.queue.DeadLetter(ctx, letter.Task, letter.Reason, letter.DeadAt, uuid.NewString()); err != nil {
			return 0, err
		}
	}
	close(d.died)
	<-ctx.Done()
	return 0, ctx.Err()
}

// What an instance has sent before it died is not sent again, however long that was ago: it is recorded.
func TestInterruptedReplayGoesOn(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		dead     time.Duration // before now
		state    deliveryv1.Delivery_State
		attempts int32
	}{
		"on their way":        {time.Hour, deliveryv1.Delivery_STATE_PENDING, 3},
		"died a moment ago":   {0, deliveryv1.Delivery_STATE_SUCCEEDED, 4},
		"by a clock far back": {-time.Hour, deliveryv1.Delivery_STATE_SUCCEEDED, 4},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			requireInterruptedReplayGoesOn(t, time.Now().Add(-test.dead), test.state, test.attempts)
		})
	}
}

// requireInterruptedReplayGoesOn interrupts a replay of what has died at a time, after a part was sent and that was recorded.
func requireInterruptedReplayGoesOn(t *testing.T, dead time.Time, state deliveryv1.Delivery_State, attempts int32) {
	t.Helper()
	e := setup(t)
	for n := range 900 {
		e.bury(t, task("acme", activeHook, n), core.ReasonAttemptsExhausted, dead)
	}
	asked := e.all(t, natsbus.Selection{Organization: "acme"})
	asked.Until += 900 // also those that are put back
	died := make(chan struct{})
	stop := e.operate(t, &dying{DeadLetters: e.letters, e: e, died: died})
	id := e.begin(t, "acme", operations.TypeReplay, false, asked)
	select {
	case <-died:
	case <-time.After(patience):
		t.Fatal("nothing was sent")
	}
	stop()
	before := e.sent(t)
	require.Len(t, before, 500)
	e.record(t, before, state, attempts)
	stream, err := e.js.Stream(newContext(t), bus.StreamDeliveries)
	require.NoError(t, err)
	require.NoError(t, stream.Purge(newContext(t))) // they are delivered, and their ids forgotten
	require.Equal(t, 900, e.count(t, bus.StreamDeadLetters, ">"))

	e.operate(t, e.letters)
	e.await(t, "acme", id, operation.Succeeded)
	after := e.sent(t)
	require.Len(t, after, 400)
	for delivery := range after {
		require.NotContains(t, before, delivery)
	}
	require.Zero(t, e.count(t, bus.StreamDeadLetters, ">"))
}

// record stores what has become of deliveries that were sent again.
func (e *env) record(t *testing.T, deliveries map[string]int, state deliveryv1.Delivery_State, attempts int32) {
	t.Helper()
	ctx, holder := newContext(t), uuid.New()
	created := time.Now()
	_, err := e.rows.Lease(ctx, holder, created, time.Minute)
	require.NoError(t, err)
	batch := pgstore.Batch{
		Holder: holder, Position: 1, Now: created,
		Threshold: func(*deliveryv1.Record) (core.Threshold, bool) { return core.Threshold{}, false },
		Counted:   func(*deliveryv1.Record) bool { return false },
	}
	for n := range 900 {
		of := task("acme", activeHook, n)
		if deliveries[of.Delivery] == 0 {
			continue
		}
		batch.Records = append(batch.Records, &deliveryv1.Record{
			Id: uuid.NewString(), Time: timestamppb.Now(), Organization: "acme", Delivery: of.Delivery, Webhook: of.Webhook,
			Trigger: of.Trigger, EventSource: of.EventSource, EventId: of.EventID, EventSequence: int64(of.EventSequence),
			AcceptTime: timestamppb.New(of.AcceptedAt), State: state, AttemptCount: attempts,
		})
	}
	require.NoError(t, e.rows.Write(ctx, batch, time.Minute))
}

func TestPurgeOfDeadLetters(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.populate(t)
	e.operate(t, e.letters)
	asked := e.all(t, natsbus.Selection{Organization: "acme"})
	o := e.await(t, "acme", e.begin(t, "acme", operations.TypePurge, true, asked), operation.Succeeded)
	require.EqualValues(t, 706, o.Affected)
	require.Equal(t, 707, e.count(t, bus.StreamDeadLetters, ">"), "who is not asked twice removes nothing")
	require.Zero(t, e.count(t, bus.StreamRecords, ">"))

	o = e.await(t, "acme", e.begin(t, "acme", operations.TypePurge, false, asked), operation.Succeeded)
	require.Equal(t, []int64{706, 706}, []int64{o.Total, o.Affected})
	require.Equal(t, 1, e.count(t, bus.StreamDeadLetters, ">"), "that of another organization")
	require.Equal(t, 706, e.count(t, bus.StreamRecords, ">"))
	require.Empty(t, e.sent(t))

	none := operations.Some{Selection: natsbus.Selection{Organization: "beta"}, Revision: 1} // there was none when it began
	o = e.await(t, "beta", e.begin(t, "beta", operations.TypePurge, false, none), operation.Succeeded)
	require.Zero(t, o.Affected)
	require.Equal(t, 1, e.count(t, bus.StreamDeadLetters, ">"))
}

func TestRetryOfEverythingThatWaits(t *testing.T) {
	t.Parallel()
	e := setup(t)
	for n := range 600 {
		e.wait(t, task("acme", activeHook, n), time.Hour)
	}
	e.wait(t, task("acme", pausedHook, 1), time.Hour)
	e.wait(t, task("beta", betaHook, 1), time.Hour)
	last, err := e.queue.LastTimer(newContext(t))
	require.NoError(t, err)
	e.operate(t, e.letters)
	due := func(organization string) int {
		return e.count(t, bus.StreamRetries, bus.RetryDueSubject(bus.AnyToken, organization, bus.AnyRest))
	}
	asked := operations.Retry{Until: last, Revision: 1}
	o := e.await(t, "acme", e.begin(t, "acme", operations.TypeRetry, true, asked), operation.Succeeded)
	require.Equal(t, []int64{601, 601, 600, 1}, []int64{o.Total, o.Processed, o.Affected, o.Skipped})
	require.Zero(t, due("acme"))

	o = e.await(t, "acme", e.begin(t, "acme", operations.TypeRetry, false, asked), operation.Succeeded)
	require.Equal(t, []int64{600, 1}, []int64{o.Affected, o.Skipped})
	require.Eventually(t, func() bool { return due("acme") == 600 }, patience, tick)
	require.Equal(t, 2, e.count(t, bus.StreamRetries, "retries.at.>"))

	asked.Webhook = betaHook
	o = e.await(t, "", e.begin(t, "", operations.TypeRetry, false, asked), operation.Succeeded)
	require.Equal(t, []int64{1, 1}, []int64{o.Total, o.Affected})
	require.Eventually(t, func() bool { return due("beta") == 1 }, patience, tick)
}

func TestOperationOfADeletedOrganizationFails(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.operate(t, e.letters)
	for _, kind := range []string{operations.TypeReplay, operations.TypePurge, operations.TypeRetry} {
		o := e.await(t, "gone", e.begin(t, "gone", kind, false, map[string]any{"until": 1}), operation.Failed)
		require.Equal(t, "ORGANIZATION_DELETED", o.ErrorReason)
	}
}

// away is dead letters that cannot be read for a while.
type away struct {
	*natsbus.DeadLetters
	left chan struct{}
}

func (a *away) Count(ctx context.Context, selected natsbus.Selection) (int64, error) {
	select {
	case <-a.left:
		return 0, fault.New(fault.Unavailable, "STREAM_UNAVAILABLE", "away")
	default:
		return a.DeadLetters.Count(ctx, selected)
	}
}

func TestOperationWaitsForTheStream(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.bury(t, task("acme", activeHook, 1), core.ReasonPoison, time.Now())
	letters := &away{DeadLetters: e.letters, left: make(chan struct{}, 1)}
	letters.left <- struct{}{}
	id := e.begin(t, "acme", operations.TypeReplay, false, e.all(t, natsbus.Selection{Organization: "acme"}))
	e.operate(t, letters)
	o := e.await(t, "acme", id, operation.Succeeded)
	require.EqualValues(t, 1, o.Affected)
	require.Empty(t, letters.left)
}
