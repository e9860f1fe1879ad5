package natsbus

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/bus"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

// receiver stands for everything that is not NATS: one webhook, and what answers at its URL.
type receiver struct {
	mu     sync.Mutex
	answer func(n int) string // the class of the n-th attempt's failure, from 1
	got    []string           // the events of the attempts
	came   []time.Time        // when the events of new deliveries were accepted
}

func (r *receiver) Webhook(string) (*core.Webhook, bool) {
	return &core.Webhook{ID: hook, Form: r, Policy: core.Policy{MaxRetries: 2, FirstDelay: time.Millisecond, Factor: 1, MaxDelay: time.Second}}, true
}
func (r *receiver) WaitFor(context.Context, int64) error { return nil }
func (r *receiver) Revision() int64                      { return 3 }
func (r *receiver) HasOrganization(string) bool          { return true }

func (r *receiver) Render(task *core.Task, _ time.Time) (core.Request, error) {
	return core.Request{Body: task.Event}, nil
}

func (r *receiver) Send(_ context.Context, request core.Request) (core.Attempt, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.got = append(r.got, string(request.Body))
	return core.Attempt{
		ID: uuid.NewString(), StartedAt: time.Now(), Request: request, ErrorClass: r.answer(len(r.got)),
	}, nil
}

func (r *receiver) attempts() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.got...)
}

// new notes that a delivery is new.
func (r *receiver) new(accepted time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.came = append(r.came, accepted)
}

// work runs a worker of one lane until the test ends.
func (e *environment) work(t *testing.T, r *receiver) {
	t.Helper()
	slots := core.NewSlots(8, time.Now)
	worker := &Worker{
		JetStream: e.js, Config: e.config, Logger: discard(), Came: r.new,
		Engine: &core.Engine{
			Webhooks: r, Queue: e.queue, Events: e.queue, Sender: r, Slots: slots, Logger: discard(),
			Now: time.Now, NewID: uuid.NewString, Observe: func(*core.Task, *core.Attempt) {},
		},
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- worker.Run(ctx, "meeting-booked") }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
		slots.Wait()
	})
}

func TestWorkerRetriesUntilItSucceeds(t *testing.T) {
	t.Parallel()
	e := setup(t)
	r := &receiver{answer: func(n int) string {
		if n < 3 {
			return core.ErrorConnect
		}
		return ""
	}}
	task := task()
	task.EventSequence = e.publishEvent(t, event)
	e.publish(t, task)
	e.work(t, r)
	require.Eventually(t, func() bool {
		return e.count(t, bus.StreamDeliveries, ">")+e.count(t, bus.StreamRetries, ">") == 0
	}, patience, tick)
	require.Equal(t, []string{event, event, event}, r.attempts(), "retries read the event from EVENTS")
	var states []string
	for _, record := range e.records(t) {
		states = append(states, fmt.Sprint(record.GetAttemptCount(), record.GetState()))
	}
	require.Equal(t, []string{"1 STATE_PENDING", "2 STATE_PENDING", "3 STATE_SUCCEEDED"}, states)
	require.Zero(t, e.count(t, bus.StreamDeadLetters, ">"))
	require.Len(t, r.came, 1)
	require.WithinDuration(t, task.AcceptedAt, r.came[0], 0)
}

func TestADeliveryIsNewOnce(t *testing.T) {
	t.Parallel()
	again := task()
	again.RunAt = time.Now()
	bulk := task()
	bulk.Lane = core.LaneBulk
	for name, test := range map[string]struct {
		stream     string
		deliveries uint64
		task       *core.Task
		want       bool
	}{
		"new":              {stream: bus.StreamDeliveries, deliveries: 1, task: task(), want: true},
		"given out again":  {stream: bus.StreamDeliveries, deliveries: 2, task: task()},
		"of a timer":       {stream: bus.StreamRetries, deliveries: 1, task: task()},
		"sent anew":        {stream: bus.StreamDeliveries, deliveries: 1, task: again},
		"of the lane bulk": {stream: bus.StreamDeliveries, deliveries: 1, task: bulk},
	} {
		require.Equal(t, test.want, isNew(&bus.Msg{Stream: test.stream, Deliveries: test.deliveries}, test.task), name)
	}
}

func TestWorkerGivesUpInTheEnd(t *testing.T) {
	t.Parallel()
	e := setup(t)
	r := &receiver{answer: func(int) string { return core.ErrorStatus }}
	task := task()
	task.EventSequence = e.publishEvent(t, event)
	e.publish(t, task)
	e.work(t, r)
	require.Eventually(t, func() bool {
		return e.count(t, bus.StreamDeadLetters, ">") == 1 && e.count(t, bus.StreamDeliveries, ">")+e.count(t, bus.StreamRetries, ">") == 0
	}, patience, tick)
	require.Len(t, r.attempts(), 3)
	letter, err := e.letters.Get(newContext(t), "acme", task.Delivery)
	require.NoError(t, err)
	require.Equal(t, core.ReasonAttemptsExhausted, letter.Reason)
	require.Equal(t, 3, letter.Task.Attempts)
	require.Equal(t, event, string(letter.Task.Event)) //nolint:testifylint // byte for byte
	records := e.records(t)
	require.Len(t, records, 3)
	require.Equal(t, deliveryv1.Delivery_STATE_DEAD_LETTERED, records[2].GetState())
}

func TestWorkerRemovesWhatIsNoDelivery(t *testing.T) {
	t.Parallel()
	e := setup(t)
	subject := bus.DeliverySubject("meeting-booked", "acme", hook)
	for i, bad := range []*nats.Msg{
		{Subject: subject, Data: []byte("just text")},
		{Subject: subject + ".more", Header: encode(task()), Data: []byte(event)},
		{Subject: subject, Header: nats.Header{bus.HeaderDeliveryID: {"d"}}, Data: []byte(event)},
	} {
		_, err := bus.Publish(newContext(t), e.js, bad, fmt.Sprint(i))
		require.NoError(t, err)
	}
	r := &receiver{answer: func(int) string { return "" }}
	e.publish(t, task())
	e.work(t, r)
	require.Eventually(t, func() bool { return e.count(t, bus.StreamDeliveries, ">") == 0 }, patience, tick)
	require.Len(t, r.attempts(), 1, "the one behind them is delivered")
	require.Len(t, e.records(t), 1)
}
