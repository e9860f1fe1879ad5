package core_test

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

// journal is what happened, in its order, in a few words.
type journal struct {
	mu    sync.Mutex
	steps []string
}

func (j *journal) add(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.steps = append(j.steps, fmt.Sprintf(format, args...))
}

// take returns what happened since the last call.
func (j *journal) take() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	steps := j.steps
	j.steps = nil
	return steps
}

// webhooks is a configuration that tests change.
type webhooks struct {
	mu       sync.Mutex
	all      map[string]*core.Webhook
	revision int64
	changed  chan struct{} // closed by the next change
	deleted  bool          // every organization is
}

func (w *webhooks) HasOrganization(string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.deleted
}

func newWebhooks() *webhooks {
	return &webhooks{all: make(map[string]*core.Webhook), revision: 1, changed: make(chan struct{})}
}

func (w *webhooks) change(f func(all map[string]*core.Webhook)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f(w.all)
	w.revision++
	close(w.changed)
	w.changed = make(chan struct{})
}

func (w *webhooks) Webhook(id string) (*core.Webhook, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	webhook, ok := w.all[id]
	return webhook, ok
}

func (w *webhooks) Revision() int64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.revision
}

func (w *webhooks) WaitFor(ctx context.Context, revision int64) error {
	for {
		w.mu.Lock()
		reached, changed := w.revision >= revision, w.changed
		w.mu.Unlock()
		if reached {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// scheduled is one call of Schedule.
type scheduled struct {
	task     core.Task
	at       time.Time
	parked   bool
	replaces string
}

// buried is one call of DeadLetter.
type buried struct {
	task     core.Task
	reason   string
	at       time.Time
	replaces string
}

// queue keeps what it is told. A step that fails names the method and has the error.
type queue struct {
	journal *journal
	fails   map[string]error

	mu      sync.Mutex
	timers  []scheduled
	letters []buried
	records []core.Record
}

func (q *queue) Schedule(_ context.Context, task *core.Task, at time.Time, parked bool, replaces string) error {
	q.journal.add("schedule")
	q.mu.Lock()
	defer q.mu.Unlock()
	q.timers = append(q.timers, scheduled{task: *task, at: at, parked: parked, replaces: replaces})
	return q.fails["schedule"]
}

func (q *queue) Unschedule(_ context.Context, task *core.Task) error {
	q.journal.add("unschedule %s", task.Delivery)
	return q.fails["unschedule"]
}

func (q *queue) DeadLetter(_ context.Context, task *core.Task, reason string, at time.Time, replaces string) error {
	q.journal.add("dead letter %s", reason)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.letters = append(q.letters, buried{task: *task, reason: reason, at: at, replaces: replaces})
	return q.fails["dead letter"]
}

func (q *queue) Record(_ context.Context, record *core.Record) func() error {
	q.journal.add("record %d %s", record.State, record.Reason)
	q.mu.Lock()
	defer q.mu.Unlock()
	told, task := *record, *record.Task // as they are now
	told.Task = &task
	q.records = append(q.records, told)
	return func() error {
		q.journal.add("recorded")
		return q.fails["record"]
	}
}

// events are those that have not expired.
type events struct {
	all map[uint64][]byte
	err error
}

func (e *events) Event(_ context.Context, sequence uint64) ([]byte, error) {
	if e.err != nil {
		return nil, e.err
	}
	event, ok := e.all[sequence]
	if !ok {
		return nil, fault.New(fault.NotFound, "EVENT_NOT_FOUND", "the event has expired or was erased")
	}
	return event, nil
}

// renderer puts the event into the body as it is.
type renderer struct{ err error }

func (r *renderer) Render(task *core.Task, at time.Time) (core.Request, error) {
	if r.err != nil {
		return core.Request{}, r.err
	}
	return core.Request{
		Body:    task.Event,
		Headers: []core.Header{{Name: "webhook-timestamp", Value: at.Format(time.RFC3339)}},
	}, nil
}

// ticket notes how it was settled.
type ticket struct {
	journal    *journal
	id         string
	deliveries uint64
}

func (t *ticket) ID() string         { return t.id }
func (t *ticket) Deliveries() uint64 { return t.deliveries }
func (t *ticket) Done()              { t.journal.add("done") }
func (t *ticket) Return()            { t.journal.add("return") }

func (t *ticket) Later(delay time.Duration) { t.journal.add("later %s", delay) }

// sender answers what a test wants.
type sender struct {
	journal *journal
	answer  func(ctx context.Context, request core.Request) (core.Attempt, error)
}

func (s *sender) Send(ctx context.Context, request core.Request) (core.Attempt, error) {
	s.journal.add("send %s", request.URL)
	return s.answer(ctx, request)
}

// bench is an engine with everything around it.
type bench struct {
	*journal
	clock    *clock
	webhooks *webhooks
	queue    *queue
	events   *events
	renderer *renderer
	sender   *sender
	slots    *core.Slots
	engine   *core.Engine
	observed []core.Attempt
}

const (
	hook      = "11111111-1111-4111-8111-111111111111"
	eventText = "the event as it was published"
)

// setup makes an engine in the bubble of a test. The webhook hook exists; every attempt succeeds.
func setup(t *testing.T) *bench {
	t.Helper()
	j, c := new(journal), newClock()
	b := &bench{
		journal: j, clock: c, webhooks: newWebhooks(),
		queue:    &queue{journal: j, fails: make(map[string]error)},
		events:   &events{all: map[uint64][]byte{7: []byte(eventText)}},
		renderer: new(renderer), sender: &sender{journal: j}, slots: core.NewSlots(1, c.now),
	}
	b.answer(204, "")
	b.webhooks.all[hook] = &core.Webhook{
		ID: hook, Organization: "acme", TargetURL: "https://one.example/", Timeout: time.Second, Generation: 1, Form: b.renderer,
		Policy: core.Policy{MaxRetries: 3, FirstDelay: time.Minute, Factor: 2, MaxDelay: time.Hour},
	}
	ids := 0
	b.engine = &core.Engine{
		Webhooks: b.webhooks, Queue: b.queue, Events: b.events, Sender: b.sender, Slots: b.slots,
		Logger: slog.New(slog.DiscardHandler), Now: c.now,
		NewID: func() string {
			ids++
			return fmt.Sprintf("id-%d", ids)
		},
		Tend:    func(organization, webhook string) { b.add("tend %s %s", organization, webhook) },
		Observe: func(_ *core.Task, attempt *core.Attempt) { b.observed = append(b.observed, *attempt) },
	}
	return b
}

// answer makes every attempt take two seconds and end like this.
func (b *bench) answer(status int, class string) {
	b.sender.answer = func(_ context.Context, request core.Request) (core.Attempt, error) {
		began := b.clock.now()
		b.clock.advance(2 * time.Second)
		return core.Attempt{
			ID: "attempt", StartedAt: began, Duration: 2 * time.Second, Request: request,
			StatusCode: status, ErrorClass: class,
		}, nil
	}
}

// task is a delivery that was never tried.
func task() *core.Task {
	return &core.Task{
		Delivery: "d", Organization: "acme", Webhook: hook, Lane: "meeting-booked", Trigger: "meeting.booked",
		EventSource: "/bookings", EventID: "bk_1", EventSequence: 7, ConfigRevision: 1,
		AcceptedAt: time.Date(2026, 1, 31, 11, 0, 0, 0, time.UTC), Event: []byte(eventText),
	}
}

// first is the ticket of a message that is given out for the first time.
// hang takes the only slot, until the channel is closed, and lets so much time go by that nobody waits for it.
func (b *bench) hang() chan struct{} {
	release := make(chan struct{})
	take(b.slots, hook, core.Limits{}, func() { <-release }, nil)
	b.clock.advance(10 * time.Second)
	return release
}

func (b *bench) first() *ticket { return b.redelivered(1) }

// redelivered is the ticket of a message that is given out for the n-th time.
func (b *bench) redelivered(n uint64) *ticket {
	return &ticket{journal: b.journal, id: "DELIVERIES:1", deliveries: n}
}

// handle hands a task over, waits until nothing moves any more, and returns what happened.
func (b *bench) handle(ctx context.Context, task *core.Task, ticket *ticket) []string {
	b.engine.Handle(ctx, task, ticket)
	synctest.Wait()
	return b.take()
}

// record returns the only record.
func (b *bench) record(t *testing.T) core.Record {
	t.Helper()
	require.Len(t, b.queue.records, 1)
	return b.queue.records[0]
}

// settled returns how a message was settled, which must have happened exactly once.
func settled(t *testing.T, steps []string) string {
	t.Helper()
	var all []string
	for _, step := range steps {
		if step == "done" || step == "return" || len(step) > 5 && step[:5] == "later" {
			all = append(all, step)
		}
	}
	require.Len(t, all, 1, "%v", steps)
	require.Equal(t, all[0], steps[len(steps)-1], "it is settled last")
	return all[0]
}

// take takes a slot for a task that succeeds.
func take(slots *core.Slots, webhook string, limits core.Limits, run func(), away func(at time.Time)) {
	slots.Take(webhook, limits, core.Turn{Away: away, Run: func() core.Verdict {
		run()
		return core.VerdictSuccess
	}})
}
