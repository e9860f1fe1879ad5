package natsbus

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/fault"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

// resend sends a delivery again, wherever it is.
func (e *environment) resend(t *testing.T, task *core.Task, requestID string) {
	t.Helper()
	found, err := e.letters.Find(newContext(t), "acme", task.Delivery)
	require.NoError(t, err)
	if found == nil {
		known := *task
		known.Event, known.TraceParent = nil, "" // records do not have them
		found = NewFound(&known)
	}
	require.NoError(t, e.letters.Complete(newContext(t), found))
	require.NoError(t, e.letters.Resend(newContext(t), found, requestID))
}

func TestDeliveryIsSentAgainWhereverItIs(t *testing.T) {
	t.Parallel()
	for name, put := range map[string]func(t *testing.T, e *environment, task *core.Task){
		"it waits":            func(t *testing.T, e *environment, task *core.Task) { t.Helper(); e.waiting(t, task, false) },
		"it is a dead letter": func(t *testing.T, e *environment, task *core.Task) { t.Helper(); e.bury(t, task) },
		"it has ended":        func(*testing.T, *environment, *core.Task) {},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := setup(t)
			task := task()
			ack, err := e.js.PublishMsg(newContext(t), &nats.Msg{
				Subject: bus.EventSubject("acme", "meeting.booked"), Data: []byte(event), Header: nats.Header{"Traceparent": {task.TraceParent}},
			})
			require.NoError(t, err)
			task.EventSequence = ack.Sequence
			task.Attempts, task.AttemptBase = 5, 2
			put(t, e, task)
			request := uuid.NewString()
			e.resend(t, task, request)

			sent := e.delivery(t, "meeting-booked")
			want := *task
			want.AttemptBase, want.ConfigRevision, want.RunAt = 5, 4, sent.task.RunAt
			require.WithinDuration(t, time.Now(), sent.task.RunAt, patience, "its age is counted anew")
			requireTask(t, &want, sent.task)
			require.NoError(t, sent.DoubleAck(newContext(t)))
			require.Zero(t, e.count(t, bus.StreamRetries, ">"))
			e.requireNoLetter(t, "acme", task.Delivery)
			records := e.records(t)
			require.Len(t, records, 1)
			require.Equal(t, deliveryv1.Delivery_STATE_PENDING, records[0].GetState())
			require.EqualValues(t, 5, records[0].GetAttemptCount())

			// It fails, and the same request comes once more.
			again := *sent.task
			again.Attempts++
			e.waiting(t, &again, false)
			e.resend(t, task, request)
			require.Zero(t, e.count(t, bus.StreamDeliveries, ">"))
			e.timer(t, task)
			require.Len(t, e.records(t), 1)

			e.resend(t, task, "") // another one
			require.Equal(t, 1, e.count(t, bus.StreamDeliveries, ">"))
			require.Zero(t, e.count(t, bus.StreamRetries, ">"))
		})
	}
}

func TestDeliveryWithoutItsEventIsNotSentAgain(t *testing.T) {
	t.Parallel()
	e := setup(t)
	gone := task()
	gone.EventSequence, gone.Event = 99, nil
	e.waiting(t, gone, false)
	found, err := e.letters.Find(newContext(t), "acme", gone.Delivery)
	require.NoError(t, err)
	err = e.letters.Complete(newContext(t), found)
	require.True(t, fault.Is(err, fault.FailedPrecondition), "%v", err)
	require.Equal(t, "EVENT_GONE", fault.From(err).Reason)
}

func TestWhatIsActive(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.status[otherHook] = core.StatusPaused
	require.NoError(t, CheckActive(newContext(t), configured{e}, "acme", hook))
	for reason, where := range map[string][2]string{
		"WEBHOOK_NOT_ACTIVE": {"acme", otherHook}, "WEBHOOK_DELETED": {"beta", hook},
	} {
		err := CheckActive(newContext(t), configured{e}, where[0], where[1])
		require.True(t, fault.Is(err, fault.FailedPrecondition), "%v", err)
		require.Equal(t, reason, fault.From(err).Reason)
	}
}

func TestDeadLettersOfAllOrganizationsAndWhenTheyExpire(t *testing.T) {
	t.Parallel()
	e := setup(t)
	first, second := task(), task()
	second.Organization, second.Webhook = "beta", otherHook
	e.bury(t, first)
	e.bury(t, second)
	part, err := e.letters.List(newContext(t), Selection{}, 1, 0, 10)
	require.NoError(t, err)
	require.Len(t, part.Letters, 2)
	require.Equal(t, 2, part.Read)
	require.Zero(t, part.Next)
	require.WithinDuration(t, time.Now().Add(30*24*time.Hour), part.Letters[0].Expires, patience)
	letter, err := e.letters.Get(newContext(t), "beta", second.Delivery)
	require.NoError(t, err)
	require.Equal(t, part.Letters[1].Expires, letter.Expires)
	n, err := e.letters.Count(newContext(t), Selection{Organization: "beta"})
	require.NoError(t, err)
	require.EqualValues(t, 1, n)
}
