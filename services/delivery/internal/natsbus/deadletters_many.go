package natsbus

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

// Selection says which dead letters; what is empty or zero selects all.
type Selection struct {
	Organization string    `json:"organization,omitempty"`
	Webhook      string    `json:"webhook,omitempty"`
	Trigger      string    `json:"trigger,omitempty"`
	Reason       string    `json:"reason,omitempty"`
	EventID      string    `json:"event_id,omitempty"`
	Delivery     string    `json:"delivery,omitempty"`
	Since        time.Time `json:"since,omitzero"` // they became dead letters from this time on
	Before       time.Time `json:"before,omitzero"`
}

// subject selects as much as subjects can.
func (s Selection) subject() string {
	lane, organization, webhook, delivery := bus.AnyToken, s.Organization, s.Webhook, s.Delivery
	if s.Trigger != "" {
		lane = bus.Lane(s.Trigger)
	}
	for _, token := range []*string{&organization, &webhook, &delivery} {
		if *token == "" {
			*token = bus.AnyToken
		}
	}
	return bus.DeadLetterSubject(lane, organization, webhook, delivery)
}

// exact reports whether everything that its subject selects is meant.
func (s Selection) exact() bool {
	return s.Trigger == "" && s.Reason == "" && s.EventID == "" && s.Since.IsZero() && s.Before.IsZero()
}

// has reports whether a dead letter is meant.
func (s Selection) has(letter *DeadLetter) bool {
	for _, compared := range []struct{ want, have string }{
		{s.Trigger, letter.Task.Trigger}, {s.Reason, letter.Reason}, {s.EventID, letter.Task.EventID},
	} {
		if compared.want != "" && compared.want != compared.have {
			return false
		}
	}
	return !letter.DeadAt.Before(s.Since) && (s.Before.IsZero() || letter.DeadAt.Before(s.Before))
}

// Count returns how many dead letters there are to look at for a selection. Errors: fault.Unavailable.
func (d *DeadLetters) Count(ctx context.Context, selected Selection) (int64, error) {
	n, err := countMatching(ctx, d.reader(), selected.subject())
	if err != nil {
		return 0, unavailable(err, "dead letters cannot be counted at the moment")
	}
	return int64(n), nil
}

func (d *DeadLetters) reader() *bus.BatchReader {
	return &bus.BatchReader{JetStream: d.queue.scans, Stream: bus.StreamDeadLetters}
}

// finishTime bounds how long it takes to finish what was begun, also when nobody waits for it any more.
const finishTime = 20 * time.Second

// ReplayAll sends dead letters again, behind live traffic, and removes them. What was stored is recorded and removed also
// when something else was not, and called again it goes on with the others. Only if the process dies in between those are
// sent twice that were not acknowledged, or all of them two minutes later: see the records of those. It returns how many
// were sent and removed, also when it fails. Errors: fault.Unavailable, fault.ResourceExhausted.
func (d *DeadLetters) ReplayAll(ctx context.Context, letters []*DeadLetter) (replayed int, err error) {
	published := make([]replay, 0, len(letters))
	var failure error
	for _, letter := range letters {
		// Its time is before that of anything that follows from the replay, whichever is recorded first.
		one := replay{letter: letter, record: d.replayed(letter)}
		msg := again(letter.Task, bus.LaneBulk, one.record.Time)
		if one.future, failure = bus.PublishAsync(d.js, msg, bus.ReplacementMsgID(bus.StreamDeadLetters, letter.Sequence)); failure != nil {
			break
		}
		published = append(published, one)
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishTime)
	defer cancel()
	sent, waits := make([]*DeadLetter, 0, len(published)), make([]func() error, 0, len(published))
	for _, one := range published {
		ack, err := bus.Await(ctx, one.future)
		if err != nil {
			failure = cmp.Or(failure, notInTime(err))
			continue
		}
		sent = append(sent, one.letter)
		if !ack.Duplicate {
			waits = append(waits, d.queue.Record(ctx, one.record))
		}
	}
	for _, wait := range waits {
		if err := wait(); err != nil {
			return 0, notInTime(err)
		}
	}
	if err := d.RemoveAll(ctx, sent); err != nil {
		return 0, err
	}
	return len(sent), failure
}

// replay is a dead letter that is being sent again.
type replay struct {
	letter *DeadLetter
	record *core.Record
	future jetstream.PubAckFuture
}

// notInTime is what a caller is told when the time to finish was too short.
func notInTime(err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return unavailable(err, "not everything was stored in time")
	}
	return err
}

// RemoveAll removes dead letters that were sent. Errors: fault.Unavailable.
func (d *DeadLetters) RemoveAll(ctx context.Context, letters []*DeadLetter) error {
	return several(ctx, letters, func(ctx context.Context, letter *DeadLetter) error {
		if _, err := d.remove(ctx, letter.Sequence); err != nil {
			return unavailable(err, "dead letters cannot be removed at the moment")
		}
		return nil
	})
}

// PurgeAll removes dead letters, and ends the deliveries of those that were still there. It returns how many, also when it
// fails. Errors: fault.Unavailable.
func (d *DeadLetters) PurgeAll(ctx context.Context, letters []*DeadLetter) (purged int, err error) {
	var n atomic.Int64
	err = several(ctx, letters, func(ctx context.Context, letter *DeadLetter) error {
		removed, err := d.remove(ctx, letter.Sequence)
		if err != nil {
			return unavailable(err, "dead letters cannot be removed at the moment")
		}
		if !removed {
			return nil // who was faster has sent it again
		}
		n.Add(1)
		return d.purged(ctx, letter)
	})
	return int(n.Load()), err
}

// purged records the end of a dead letter that was removed.
func (d *DeadLetters) purged(ctx context.Context, letter *DeadLetter) error {
	if !d.config.HasOrganization(letter.Task.Organization) {
		return nil // its records are being removed, or have been
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishTime)
	defer cancel()
	return notInTime(d.queue.Record(ctx, &core.Record{
		ID: d.newID(), Time: d.now(), Task: letter.Task, AttemptCount: letter.Task.Attempts,
		State: core.StateDropped, Reason: core.ReasonPurged,
	})())
}

// HastenAll makes timers due now and returns how many still were there. Errors: fault.Unavailable, fault.ResourceExhausted.
func (q *Queue) HastenAll(ctx context.Context, timers []*Timer) (int, error) {
	var mu sync.Mutex
	n := 0
	err := several(ctx, timers, func(ctx context.Context, timer *Timer) error {
		done, err := q.Hasten(ctx, timer)
		if done {
			mu.Lock()
			defer mu.Unlock()
			n++
		}
		return err
	})
	return n, err
}

// several does something with each of many, some at once, and returns the first failure.
func several[T any](ctx context.Context, all []T, do func(ctx context.Context, one T) error) error {
	return severalOf(ctx, drainWorkers, all, do)
}

// severalOf is several, with at most so many at once.
func severalOf[T any](ctx context.Context, most int, all []T, do func(ctx context.Context, one T) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	work := make(chan T)
	var workers sync.WaitGroup
	for range min(most, len(all)) {
		workers.Go(func() {
			for one := range work {
				if ctx.Err() != nil {
					continue
				}
				if err := do(ctx, one); err != nil {
					cancel(err)
				}
			}
		})
	}
	for _, one := range all {
		work <- one
	}
	close(work)
	workers.Wait()
	return context.Cause(ctx)
}

// countMatching returns how many messages of a stream match a filter. The server tells with the first of them.
func countMatching(ctx context.Context, reader *bus.BatchReader, filter string) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTime)
	defer cancel()
	first, err := reader.Batch(ctx, filter, 1, 1)
	if err != nil || len(first) == 0 {
		return 0, err
	}
	more, err := strconv.Atoi(first[0].Header.Get(headerPending))
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", headerPending, err)
	}
	return more + 1, nil
}
