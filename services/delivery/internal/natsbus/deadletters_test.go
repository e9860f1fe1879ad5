package natsbus

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/fault"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

// bury makes a dead letter of a task.
func (e *environment) bury(t *testing.T, task *core.Task) {
	t.Helper()
	require.NoError(t, e.queue.DeadLetter(newContext(t), task, core.ReasonAttemptsExhausted, time.Now(), task.Delivery))
}

// requireNoLetter asserts that a delivery has no dead letter.
func (e *environment) requireNoLetter(t *testing.T, organization, delivery string) {
	t.Helper()
	_, err := e.letters.Get(newContext(t), organization, delivery)
	require.True(t, fault.Is(err, fault.NotFound), "%v", err)
	require.Equal(t, "DEAD_LETTER_NOT_FOUND", fault.From(err).Reason)
}

func TestGetDeadLetter(t *testing.T) {
	t.Parallel()
	e := setup(t)
	task, at := task(), time.Now()
	task.Attempts, task.AttemptBase = 10, 4
	require.NoError(t, e.queue.DeadLetter(newContext(t), task, core.ReasonPoison, at, "DELIVERIES:1"))
	letter, err := e.letters.Get(newContext(t), "acme", task.Delivery)
	require.NoError(t, err)
	require.EqualValues(t, 1, letter.Sequence)
	require.Equal(t, core.ReasonPoison, letter.Reason)
	require.True(t, at.Equal(letter.DeadAt))
	requireTask(t, task, letter.Task)

	e.requireNoLetter(t, "acme", "0b3c7f6e-1111-5222-8333-444455556666")
	e.requireNoLetter(t, "other", task.Delivery)
}

func TestListDeadLetters(t *testing.T) {
	t.Parallel()
	e := setup(t)
	var all []string
	for i := range 12 {
		task := task()
		task.EventID = fmt.Sprint(i)
		if i%2 == 1 {
			task.Webhook = otherHook
		}
		switch i % 3 {
		case 1:
			task.Lane, task.Trigger = "meeting-canceled", "meeting.canceled"
		case 2:
			task.Lane, task.Trigger = bus.LaneBulk, "custom.thing" // it was replayed and failed again
		}
		e.bury(t, task)
		all = append(all, task.EventID)
	}
	foreign := task()
	foreign.Organization = "other"
	e.bury(t, foreign)

	list := func(webhook, trigger string, from uint64, size int) ([]string, uint64) {
		t.Helper()
		page, err := e.letters.List(newContext(t), Selection{Organization: "acme", Webhook: webhook, Trigger: trigger}, from, 0, size)
		require.NoError(t, err)
		var ids []string
		for _, letter := range page.Letters {
			ids = append(ids, letter.Task.EventID)
		}
		return ids, page.Next
	}
	for name, test := range map[string]struct {
		webhook, trigger string
		want             []string
	}{
		"all of an organization, oldest first": {want: all},
		"of a webhook":                         {webhook: hook, want: []string{"0", "2", "4", "6", "8", "10"}},
		"of a trigger":                         {trigger: "meeting.canceled", want: []string{"1", "4", "7", "10"}},
		"of a trigger, replayed":               {trigger: "custom.thing", want: []string{"2", "5", "8", "11"}},
		"of another trigger of that lane":      {trigger: "custom.other"},
		"of a webhook and a trigger":           {webhook: otherHook, trigger: "meeting.canceled", want: []string{"1", "7"}},
		"of a webhook without any":             {webhook: "33333333-3333-4333-8333-333333333333"},
		"of an unknown trigger":                {trigger: "no.such_trigger"},
		"of what is no trigger":                {trigger: "*"},
		"of what is not even a token":          {trigger: "a b.>"},
	} {
		got, _ := list(test.webhook, test.trigger, 1, 1000)
		require.Equal(t, test.want, got, name)

		var paged []string
		for from := uint64(1); from != 0; {
			var page []string
			page, from = list(test.webhook, test.trigger, from, 3)
			require.LessOrEqual(t, len(page), 3)
			paged = append(paged, page...)
		}
		require.Equal(t, test.want, paged, "%s, page by page", name)
	}
	require.NoError(t, e.stream(t, bus.StreamDeadLetters).DeleteMsg(newContext(t), 1))
	got, _ := list("", "", 1, 2)
	require.Equal(t, []string{"1", "2"}, got, "one that is gone leaves no gap")
}

// What was never tried, since its webhook was disabled, has its row all the same.
func TestDeadLetterWithoutAttemptsWasRecorded(t *testing.T) {
	t.Parallel()
	e := setup(t)
	task := task()
	e.bury(t, task)
	require.NoError(t, e.letters.Replay(newContext(t), "acme", task.Delivery))
	sent := e.delivery(t, bus.LaneBulk)
	require.Zero(t, sent.task.Attempts)
	require.True(t, sent.task.Recorded)
	require.NoError(t, sent.DoubleAck(newContext(t)))
	require.True(t, e.records(t)[0].GetKnown())
}

func TestReplaySendsADeadLetterAgain(t *testing.T) {
	t.Parallel()
	e := setup(t)
	ctx, task := newContext(t), task()
	task.Attempts, task.AttemptBase = 10, 3
	e.bury(t, task)
	before := time.Now()
	require.NoError(t, e.letters.Replay(ctx, "acme", task.Delivery))
	e.requireNoLetter(t, "acme", task.Delivery)

	sent := e.delivery(t, bus.LaneBulk)
	want := *task
	want.Lane, want.AttemptBase, want.RunAt = bus.LaneBulk, 10, sent.task.RunAt
	require.WithinRange(t, sent.task.RunAt, before, time.Now(), "its age is counted anew")
	requireTask(t, &want, sent.task)
	require.NoError(t, sent.DoubleAck(ctx))

	records := e.records(t)
	require.Len(t, records, 1)
	require.Equal(t, deliveryv1.Delivery_STATE_PENDING, records[0].GetState())
	require.EqualValues(t, 10, records[0].GetAttemptCount())
	require.Nil(t, records[0].GetAttempt())
	require.WithinRange(t, records[0].GetTime().AsTime(), before, time.Now())

	err := e.letters.Replay(ctx, "acme", task.Delivery)
	require.True(t, fault.Is(err, fault.NotFound), "%v", err)
	require.Zero(t, e.count(t, bus.StreamDeliveries, ">"), "it is not sent twice")
	require.Len(t, e.records(t), 1)
}

func TestReplayRefuses(t *testing.T) {
	t.Parallel()
	e := setup(t)
	task := task()
	e.bury(t, task)
	require.True(t, fault.Is(e.letters.Replay(newContext(t), "other", task.Delivery), fault.NotFound), "it is another's")
	e.deleted[hook] = true
	err := e.letters.Replay(newContext(t), "acme", task.Delivery)
	require.True(t, fault.Is(err, fault.FailedPrecondition), "%v", err)
	require.Equal(t, "WEBHOOK_DELETED", fault.From(err).Reason)
	require.Zero(t, e.count(t, bus.StreamDeliveries, ">"))
	require.Empty(t, e.records(t))
	_, err = e.letters.Get(newContext(t), "acme", task.Delivery)
	require.NoError(t, err, "it stays a dead letter")
}

// interrupted is a stream on which deleting does not work.
type interrupted struct{ jetstream.Stream }

var errInterrupted = errors.New("interrupted")

func (interrupted) DeleteMsg(context.Context, uint64) error { return errInterrupted }

func TestReplayGoesOnWhereItWasInterrupted(t *testing.T) {
	t.Parallel()
	e := setup(t)
	ctx, task := newContext(t), task()
	e.bury(t, task)
	cut := *e.letters
	cut.stream = interrupted{e.letters.stream}
	err := cut.Replay(ctx, "acme", task.Delivery)
	require.True(t, fault.Is(err, fault.Unavailable), "%v", err)
	_, err = e.letters.Get(ctx, "acme", task.Delivery)
	require.NoError(t, err, "nothing is lost")

	// The first call has sent it, and the receiver has it.
	sent := e.delivery(t, bus.LaneBulk)
	require.NoError(t, e.queue.Record(ctx, succeeded(sent.task))())
	require.NoError(t, sent.DoubleAck(ctx))

	require.NoError(t, e.letters.Replay(ctx, "acme", task.Delivery))
	e.requireNoLetter(t, "acme", task.Delivery)
	require.Zero(t, e.count(t, bus.StreamDeliveries, ">"), "what had been sent is not sent twice")
	records := e.records(t)
	require.Equal(t, deliveryv1.Delivery_STATE_SUCCEEDED, records[len(records)-1].GetState(), "and it stays delivered")
}

func TestReplayIsNotDoneBeforeTheDeadLetterIsGone(t *testing.T) {
	t.Parallel()
	e := setup(t)
	ctx := newContext(t)
	for _, config := range e.config.Streams() {
		if config.Name == bus.StreamDeadLetters {
			config.DenyDelete = true // the server answers, and refuses
			require.NoError(t, e.js.DeleteStream(ctx, config.Name))
			_, err := e.js.CreateStream(ctx, config)
			require.NoError(t, err)
		}
	}
	task := task()
	e.bury(t, task)
	err := e.letters.Replay(ctx, "acme", task.Delivery)
	require.True(t, fault.Is(err, fault.Unavailable), "%v", err)
	_, err = e.letters.Get(ctx, "acme", task.Delivery)
	require.NoError(t, err)
}

// overtaken is a stream whose message goes before it can be deleted.
type overtaken struct {
	jetstream.Stream
	before func()
}

func (o overtaken) DeleteMsg(ctx context.Context, sequence uint64) error {
	o.before()
	return o.Stream.DeleteMsg(ctx, sequence)
}

func TestReplayOfADeadLetterThatGoesMeanwhile(t *testing.T) {
	t.Parallel()
	for name, before := range map[string]func(t *testing.T, e *environment, task *core.Task){
		"another call has removed it": func(t *testing.T, e *environment, _ *core.Task) {
			t.Helper()
			require.NoError(t, e.letters.stream.DeleteMsg(newContext(t), 1))
		},
		"it has failed again": func(t *testing.T, e *environment, task *core.Task) {
			t.Helper()
			again := *task
			again.Lane = bus.LaneBulk
			require.NoError(t, e.queue.DeadLetter(newContext(t), &again, core.ReasonAttemptsExhausted, time.Now(), "DELIVERIES:1"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := setup(t)
			task := task()
			e.bury(t, task)
			racing := *e.letters
			racing.stream = overtaken{e.letters.stream, func() { before(t, e, task) }}
			require.NoError(t, racing.Replay(newContext(t), "acme", task.Delivery))
			require.Equal(t, 1, e.count(t, bus.StreamDeliveries, ">"))
		})
	}
}

func TestTwoReplaysAtOnceSendOnce(t *testing.T) {
	t.Parallel()
	e := setup(t)
	ctx := newContext(t)
	for range 10 {
		task := task()
		e.bury(t, task)
		done := make(chan error, 2)
		for range 2 {
			go func() { done <- e.letters.Replay(ctx, "acme", task.Delivery) }()
		}
		for range 2 {
			if err := <-done; err != nil {
				require.True(t, fault.Is(err, fault.NotFound), "%v", err)
			}
		}
		e.requireNoLetter(t, "acme", task.Delivery)
	}
	require.Equal(t, 10, e.count(t, bus.StreamDeliveries, ">"))
	require.Len(t, e.records(t), 10)
}

func TestDeadLettersWhileNATSIsAway(t *testing.T) {
	t.Parallel()
	e := setup(t)
	task := task()
	e.bury(t, task)
	e.server.Shutdown()
	ctx, cancel := context.WithTimeout(newContext(t), 200*time.Millisecond)
	defer cancel()
	_, err := e.letters.Get(ctx, "acme", task.Delivery)
	require.True(t, fault.Is(err, fault.Unavailable), "%v", err)
	_, err = e.letters.List(ctx, Selection{Organization: "acme"}, 1, 0, 10)
	require.True(t, fault.Is(err, fault.Unavailable), "%v", err)
	require.True(t, fault.Is(e.letters.Replay(ctx, "acme", task.Delivery), fault.Unavailable))
}
