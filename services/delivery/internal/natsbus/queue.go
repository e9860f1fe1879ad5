package natsbus

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/lifecycle"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

// Waits between attempts to publish while NATS is away.
const (
	minPublishWait = 50 * time.Millisecond
	maxPublishWait = 2 * time.Second
)

// expiryMargin is how long before EVENTS forgets an event a timer begins to carry it.
const expiryMargin = time.Hour

// Queue implements core.Queue and core.Events.
type Queue struct {
	js           jetstream.JetStream
	scans        jetstream.JetStream
	events       *eventReader
	retries      jetstream.Stream
	scanned      jetstream.Stream // the same, over scans
	timers       *bus.BatchReader // of RETRIES
	eventsMaxAge time.Duration
	logger       *slog.Logger
	now          func() time.Time
	backlogs     *backlogs
}

// NewQueue opens the queue. The streams must exist. Many messages are read, and counted, over a connection of their own,
// scans: while the server finds the 100,000 timers of a webhook, which can take 50 ms, it reads nothing from the connection
// that has asked.
func NewQueue(
	ctx context.Context, js, scans jetstream.JetStream, config bus.Config, logger *slog.Logger, now func() time.Time,
) (*Queue, error) {
	events, err := newEventReader(ctx, js, scans)
	if err != nil {
		return nil, err
	}
	retries, err := js.Stream(ctx, bus.StreamRetries)
	if err != nil {
		return nil, fmt.Errorf("open stream %s: %w", bus.StreamRetries, err)
	}
	scanned, err := scans.Stream(ctx, bus.StreamRetries)
	if err != nil {
		return nil, fmt.Errorf("open stream %s: %w", bus.StreamRetries, err)
	}
	q := &Queue{
		js: js, scans: scans, events: events, retries: retries, scanned: scanned, timers: &bus.BatchReader{JetStream: scans, Stream: bus.StreamRetries},
		eventsMaxAge: config.EventsMaxAge, logger: logger, now: now,
	}
	q.backlogs = &backlogs{limit: MaxBacklog, count: q.CountTimers, logger: logger, now: now, all: make(map[string]*backlog), pruned: now()}
	return q, nil
}

// Event implements core.Events.
func (q *Queue) Event(ctx context.Context, sequence uint64) ([]byte, error) {
	var event storedEvent
	err := q.persist(ctx, "read an event", func(ctx context.Context) error {
		var err error
		event, err = q.events.read(ctx, sequence)
		return err
	})
	return event.document, err
}

// Schedule implements core.Queue.
func (q *Queue) Schedule(ctx context.Context, task *core.Task, at time.Time, parked bool, replaces string) error {
	if q.backlogs.full(ctx, task.Organization, task.Webhook, task.Lane == core.LaneBulk) {
		return core.ErrBacklogFull
	}
	msg := timerMessage(task, at, parked)
	if at.Add(expiryMargin).After(task.AcceptedAt.Add(q.eventsMaxAge)) {
		if err := q.load(ctx, task); err != nil {
			return err
		}
		msg.Data = task.Event
	}
	return q.publish(ctx, "set a timer", msg, replaces)
}

// timerMessage makes a timer, without an event.
func timerMessage(task *core.Task, at time.Time, parked bool) *nats.Msg {
	msg := nats.NewMsg(bus.RetryTimerSubject(task.Organization, task.Webhook, task.Delivery))
	msg.Header = encode(task)
	if parked {
		msg.Header.Set(bus.HeaderParked, "true")
		msg.Header.Set(bus.HeaderLane, task.Lane)
	}
	bus.ScheduleRetry(msg, at, bus.RetryDueSubject(task.Lane, task.Organization, task.Webhook))
	return msg
}

// load reads the event of a task that came without one, unless there is none any more.
func (q *Queue) load(ctx context.Context, task *core.Task) error {
	if len(task.Event) > 0 {
		return nil
	}
	event, err := q.Event(ctx, task.EventSequence)
	if fault.Is(err, fault.NotFound) {
		return nil
	}
	task.Event = event
	return err
}

// Unschedule implements core.Queue.
func (q *Queue) Unschedule(ctx context.Context, task *core.Task) error {
	subject := bus.RetryTimerSubject(task.Organization, task.Webhook, task.Delivery)
	return q.persist(ctx, "cancel a timer", func(ctx context.Context) error {
		return q.retries.Purge(ctx, jetstream.WithPurgeSubject(subject))
	})
}

// DeadLetter implements core.Queue.
func (q *Queue) DeadLetter(ctx context.Context, task *core.Task, reason string, at time.Time, replaces string) error {
	// The lane is always the trigger's, also after a replay, so that a delivery has one dead letter at most.
	msg := nats.NewMsg(bus.DeadLetterSubject(bus.Lane(task.Trigger), task.Organization, task.Webhook, task.Delivery))
	msg.Header = encode(task)
	msg.Header.Set(bus.HeaderReason, reason)
	msg.Header.Set(bus.HeaderDeadAt, at.UTC().Format(time.RFC3339Nano))
	msg.Data = task.Event
	return q.publish(ctx, "keep a dead letter", msg, replaces)
}

// publish publishes until the stream has acknowledged.
func (q *Queue) publish(ctx context.Context, what string, msg *nats.Msg, msgID string) error {
	return q.persist(ctx, what, func(ctx context.Context) error {
		_, err := bus.Publish(ctx, q.js, msg, msgID)
		return err
	})
}

// attemptTime bounds one request to NATS.
const attemptTime = 5 * time.Second

// persist repeats a request to NATS until it succeeds, is refused for good, or the context ends.
func (q *Queue) persist(ctx context.Context, what string, request func(context.Context) error) error {
	return lifecycle.Retry(ctx, q.logger, what, minPublishWait, maxPublishWait, func(ctx context.Context) error {
		limited, cancel := context.WithTimeout(ctx, attemptTime)
		defer cancel()
		err := request(limited)
		if fault.Is(err, fault.InvalidArgument) || fault.Is(err, fault.NotFound) || fault.Is(err, fault.Internal) {
			return lifecycle.Permanent(err)
		}
		return err
	})
}

// HasTimers reports whether anything waits for any webhook of an organization.
func (q *Queue) HasTimers(ctx context.Context, organization string) (bool, error) {
	first, err := q.firstTimer(ctx, bus.RetryTimersFilter(organization, bus.AnyToken))
	return first > 0, err
}

// Wake makes what waits for a resumed webhook due now.
func (q *Queue) Wake(ctx context.Context, organization, webhook string) error {
	scan := timerScan{reader: q.timers, filter: bus.RetryTimersFilter(organization, webhook), size: scanBatch}
	for {
		timers, err := scan.read(ctx)
		if err != nil {
			return fmt.Errorf("read timers: %w", err)
		}
		if len(timers) == 0 {
			return nil
		}
		timers = slices.DeleteFunc(timers, func(timer bus.StoredMsg) bool { return timer.Header.Get(bus.HeaderParked) == "" })
		if err := several(ctx, timers, q.wake); err != nil {
			return err
		}
	}
}

// wake replaces one timer by one that is due, unless it has fired in between.
func (q *Queue) wake(ctx context.Context, timer bus.StoredMsg) error {
	lane := timer.Header.Get(bus.HeaderLane)
	task, err := decode(timer.Header, lane, timer.Data)
	if err != nil {
		// Nobody but delivery sets timers. One that it cannot read must not keep the others from waking.
		q.logger.ErrorContext(ctx, "timer cannot be read and is left as it is", "sequence", timer.Sequence, "error", err)
		return nil
	}
	return q.fire(ctx, timer.Subject, timer.Sequence, task)
}

// fire replaces a timer by one that is due now, unless it has fired or somebody has replaced it in between. A task
// without an event stays without one.
func (q *Queue) fire(ctx context.Context, subject string, sequence uint64, task *core.Task) error {
	_, err := q.replace(ctx, subject, sequence, task)
	return err
}
