package natsbus

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/bus"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

// endpoint is a webhook that tests change, and what answers at its URL.
type endpoint struct {
	mu      sync.Mutex
	webhook core.Webhook
	class   string // how attempts fail; empty: they succeed
	count   int    // attempts
}

func (p *endpoint) Webhook(id string) (*core.Webhook, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	webhook := p.webhook
	return &webhook, id == webhook.ID
}

func (p *endpoint) WaitFor(context.Context, int64) error { return nil }
func (p *endpoint) Revision() int64                      { return 3 }
func (p *endpoint) HasOrganization(string) bool          { return true }

func (p *endpoint) Render(task *core.Task, _ time.Time) (core.Request, error) {
	return core.Request{Body: task.Event}, nil
}

func (p *endpoint) Send(_ context.Context, request core.Request) (core.Attempt, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.count++
	return core.Attempt{ID: uuid.NewString(), StartedAt: time.Now(), Request: request, ErrorClass: p.class}, nil
}

func (p *endpoint) attempts() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.count
}

// change sets how attempts fail, how often they are repeated and after how long, and whether the webhook is paused.
func (p *endpoint) change(class string, retries int, delay time.Duration, paused bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.class = class
	status := core.StatusActive
	if paused {
		status = core.StatusPaused
	}
	p.webhook = core.Webhook{
		ID: hook, Organization: "acme", Status: status, Form: p,
		Policy: core.Policy{MaxRetries: retries, FirstDelay: delay, Factor: 1, MaxDelay: delay},
	}
}

// engine returns an engine around an endpoint.
func (e *environment) engine(p *endpoint, queue core.Queue, slots *core.Slots, now func() time.Time) *core.Engine {
	return &core.Engine{
		Webhooks: p, Queue: queue, Events: e.queue, Sender: p, Slots: slots, Logger: discard(),
		Now: now, NewID: uuid.NewString, Tend: func(string, string) {}, Observe: func(*core.Task, *core.Attempt) {},
	}
}

// workWith runs workers of the live lane and the bulk lane until the test ends.
func (e *environment) workWith(t *testing.T, engine *core.Engine) {
	t.Helper()
	worker := &Worker{JetStream: e.js, Config: e.config, Logger: discard(), Engine: engine, Came: func(time.Time) {}}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 2)
	lanes := []string{"meeting-booked", bus.LaneBulk}
	for _, lane := range lanes {
		go func() { done <- worker.Run(ctx, lane) }()
	}
	t.Cleanup(func() {
		cancel()
		for range lanes {
			require.NoError(t, <-done)
		}
		engine.Slots.Wait()
	})
}

// requireWaiting waits until there are so many timers, so many dead letters, and nothing else of any delivery.
func (e *environment) requireWaiting(t *testing.T, timers, letters int) {
	t.Helper()
	require.Eventually(t, func() bool {
		return e.count(t, bus.StreamDeliveries, ">") == 0 &&
			e.count(t, bus.StreamRetries, "retries.due.>") == 0 &&
			e.count(t, bus.StreamRetries, "retries.at.>") == timers &&
			e.count(t, bus.StreamDeadLetters, ">") == letters
	}, patience, tick)
}

// counting calls a function before each timer is set, with how many there have been.
type counting struct {
	*Queue
	mu     sync.Mutex
	timers int
	before func(n int)
}

func (c *counting) Schedule(ctx context.Context, task *core.Task, at time.Time, parked bool, replaces string) error {
	c.mu.Lock()
	c.timers++
	c.before(c.timers)
	c.mu.Unlock()
	return c.Queue.Schedule(ctx, task, at, parked, replaces)
}

// All steps fall into the window in which streams remember message ids, and are of one delivery.
func TestWorkerSwallowsNoStepOfADelivery(t *testing.T) {
	t.Parallel()
	e := setup(t)
	ctx, task := newContext(t), task()
	task.EventSequence = e.publishEvent(t, event)
	e.publish(t, task)

	// The only slot has been taken for 20 seconds when the delivery comes, so it is deferred; and as the clock is
	// slow, what it is deferred to has passed for NATS.
	var mu sync.Mutex
	slow := 2 * time.Minute
	now := func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return time.Now().Add(-slow)
	}
	slots := core.NewSlots(1, now)
	free := make(chan struct{})
	release := sync.OnceFunc(func() { close(free) })
	context.AfterFunc(t.Context(), release)
	slots.Take(hook, core.Limits{}, core.Turn{Run: func() core.Verdict {
		<-free
		return core.VerdictSuccess
	}})
	mu.Lock()
	slow -= 20 * time.Second
	mu.Unlock()
	queue := &counting{Queue: e.queue, before: func(n int) {
		if n == 2 {
			release()
		}
	}}

	p := new(endpoint)
	p.change(core.ErrorConnect, 2, time.Millisecond, false)
	e.workWith(t, e.engine(p, queue, slots, now))

	// Deferred, tried, retried twice, given up.
	e.requireWaiting(t, 0, 1)
	require.Equal(t, 3, p.attempts())
	require.GreaterOrEqual(t, queue.timers, 4, "two deferrals and two retries")

	// Replayed, and given up at once.
	p.change(core.ErrorStatus, 0, 0, false)
	first, err := e.letters.Get(ctx, "acme", task.Delivery)
	require.NoError(t, err)
	require.Equal(t, 3, first.Task.Attempts)
	require.NoError(t, e.letters.Replay(ctx, "acme", task.Delivery))
	e.requireWaiting(t, 0, 1)
	require.Equal(t, 4, p.attempts())
	second, err := e.letters.Get(ctx, "acme", task.Delivery)
	require.NoError(t, err)
	require.Greater(t, second.Sequence, first.Sequence)
	require.Equal(t, 4, second.Task.Attempts)
	require.Equal(t, event, string(second.Task.Event)) //nolint:testifylint // byte for byte

	// Replayed, and delivered.
	p.change("", 0, 0, false)
	require.NoError(t, e.letters.Replay(ctx, "acme", task.Delivery))
	e.requireWaiting(t, 0, 0)
	require.Equal(t, 5, p.attempts())

	var states []string
	for _, record := range e.records(t) {
		if record.GetAttemptCount() > 0 { // a deferral is recorded when it is long
			states = append(states, fmt.Sprint(record.GetAttemptCount(), record.GetState()))
		}
	}
	require.Len(t, states, 7)
	// Who is faster, the replay that says so or the attempt that follows from it, is not told.
	require.Equal(t, []string{"1 STATE_PENDING", "2 STATE_PENDING", "3 STATE_DEAD_LETTERED"}, states[:3])
	require.ElementsMatch(t, []string{"3 STATE_PENDING", "4 STATE_DEAD_LETTERED", "4 STATE_PENDING", "5 STATE_SUCCEEDED"}, states[3:])
}

// lost is a ticket whose answer does not arrive.
type lost struct {
	id   string
	done chan string
}

func (l lost) ID() string          { return l.id }
func (l lost) Deliveries() uint64  { return 1 }
func (l lost) Done()               { l.done <- "done" }
func (l lost) Later(time.Duration) { l.done <- "later" }
func (l lost) Return()             { l.done <- "return" }

func TestHandlingAMessageTwiceDoesNoHarm(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		first, second   func(p *endpoint)
		attempts        int // that the receiver sees
		timers, letters int // that are left
	}{
		"delivered": {
			first:    func(p *endpoint) { p.change("", 2, time.Hour, false) },
			attempts: 2,
		},
		"to be retried": {
			first:    func(p *endpoint) { p.change(core.ErrorStatus, 2, time.Hour, false) },
			attempts: 2, timers: 1,
		},
		"to be retried, then delivered": {
			first:    func(p *endpoint) { p.change(core.ErrorStatus, 2, time.Hour, false) },
			second:   func(p *endpoint) { p.change("", 2, time.Hour, false) },
			attempts: 2,
		},
		"to be retried, then given up": {
			first:    func(p *endpoint) { p.change(core.ErrorStatus, 2, time.Hour, false) },
			second:   func(p *endpoint) { p.change(core.ErrorStatus, 0, 0, false) },
			attempts: 2, letters: 1,
		},
		"given up": {
			first:    func(p *endpoint) { p.change(core.ErrorStatus, 0, 0, false) },
			attempts: 2, letters: 1,
		},
		"parked": {
			first:  func(p *endpoint) { p.change("", 2, time.Hour, true) },
			timers: 1,
		},
		"parked, then delivered": {
			first:    func(p *endpoint) { p.change("", 2, time.Hour, true) },
			second:   func(p *endpoint) { p.change("", 2, time.Hour, false) },
			attempts: 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := setup(t)
			e.config.AckWait = time.Second
			task := task()
			task.EventSequence = e.publishEvent(t, event)
			e.publish(t, task)
			p := new(endpoint)
			test.first(p)
			engine := e.engine(p, e.queue, core.NewSlots(8, time.Now), time.Now)

			taken := e.delivery(t, "meeting-booked")
			ticket := lost{id: taken.id, done: make(chan string, 1)}
			engine.Handle(newContext(t), taken.task, ticket)
			require.Equal(t, "done", <-ticket.done)
			require.Equal(t, 1, e.count(t, bus.StreamDeliveries, ">"), "the acknowledgement has not arrived")

			if test.second != nil {
				test.second(p)
			}
			e.workWith(t, engine)
			e.requireWaiting(t, test.timers, test.letters)
			require.Equal(t, test.attempts, p.attempts())
			want := min(test.attempts, 1) // no attempt is counted twice
			if test.timers > 0 {
				left, err := decode(e.timer(t, task).Header, "", nil)
				require.NoError(t, err)
				require.Equal(t, want, left.Attempts)
			}
			if test.letters > 0 {
				letter, err := e.letters.Get(newContext(t), "acme", task.Delivery)
				require.NoError(t, err)
				require.EqualValues(t, 1, letter.Sequence)
				require.Equal(t, want, letter.Task.Attempts)
			}
		})
	}
}

func TestWorkerParksWhilePausedAndResumes(t *testing.T) {
	t.Parallel()
	e := setup(t)
	ctx, waiting := newContext(t), task()
	waiting.EventSequence = e.publishEvent(t, event)
	e.publish(t, waiting)
	p := new(endpoint)
	p.change("", 2, time.Hour, true)
	e.workWith(t, e.engine(p, e.queue, core.NewSlots(8, time.Now), time.Now))
	e.requireWaiting(t, 1, 0)
	require.Equal(t, "true", e.timer(t, waiting).Header.Get(bus.HeaderParked))

	// Woken too early it is parked again, however often.
	for range 2 {
		before := e.timer(t, waiting).Sequence
		require.NoError(t, e.queue.Wake(ctx, "acme", hook))
		subject := bus.RetryTimerSubject("acme", hook, waiting.Delivery)
		require.Eventually(t, func() bool {
			now, err := e.queue.retries.GetLastMsgForSubject(ctx, subject)
			return err == nil && now.Sequence > before && now.Header.Get(bus.HeaderParked) != ""
		}, patience, tick)
		e.requireWaiting(t, 1, 0)
	}
	require.Zero(t, p.attempts())

	p.change("", 2, time.Hour, false)
	require.NoError(t, e.queue.Wake(ctx, "acme", hook))
	require.Eventually(t, func() bool { return p.attempts() == 1 }, patience, tick)
	e.requireWaiting(t, 0, 0)
	records := e.records(t)
	require.GreaterOrEqual(t, len(records), 2, "that it waits is to be seen")
	for n, record := range records {
		made := n == len(records)-1
		require.Equal(t, made, record.GetAttempt() != nil)
		require.Equal(t, made, record.GetState() == deliveryv1.Delivery_STATE_SUCCEEDED)
	}
}
