package natsbus

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/fault"
)

const (
	// recordWait is how long records that are there already are waited for until they have been taken in.
	recordWait = 2 * time.Second
	// recordTick is how often it is looked whether they have been.
	recordTick = 50 * time.Millisecond
	// queueAge is how long a delivery may be in DELIVERIES before nobody can rely any more on its id being known there
	// as a duplicate: half of the window.
	queueAge = time.Minute
	// maxDue is how many due retries are looked at, at most.
	maxDue = 20_000
)

// Recorded tells up to which sequence RECORDS, a stream that was created at a time, has been taken in.
type Recorded func(ctx context.Context, streamCreated time.Time) (uint64, error)

// Look returns until when everything is known that has happened to deliveries of an organization: their records have been
// taken in. What has come by the time of the call is waited for a moment. It also returns which of some deliveries, at
// most 1,000, wait in RETRIES, also those that no record tells of because they were never tried, and how many attempts of
// each were made. Nothing tells of those that are in DELIVERIES: when one is there for too long, nothing after it is
// known. Errors: fault.Unavailable.
func (q *Queue) Look(
	ctx context.Context, organization string, deliveries []string, recorded Recorded,
) (until time.Time, waiting map[string]int, err error) {
	until = q.now()
	// In the order of a delivery's life: what has left one place by the time it was looked at is met in the next.
	oldest, err := q.firstTime(ctx, bus.StreamDeliveries, bus.DeliverySubject(bus.AnyToken, organization, bus.AnyRest), 1)
	if err != nil {
		return time.Time{}, nil, unavailable(err, "deliveries cannot be looked for at the moment")
	}
	if waiting, err = q.findWaiting(ctx, organization, deliveries); err != nil {
		return time.Time{}, nil, err
	}
	if until, err = q.recordedUntil(ctx, until, recorded); err != nil {
		return time.Time{}, nil, err
	}
	if !oldest.IsZero() && until.Sub(oldest) > queueAge {
		until = oldest
	}
	return until, waiting, nil
}

// recordedUntil returns until when records have been taken in, now at most.
func (q *Queue) recordedUntil(ctx context.Context, now time.Time, recorded Recorded) (time.Time, error) {
	position, newest, err := q.recorded(ctx, recorded)
	if err != nil {
		return time.Time{}, err
	}
	for waited := now; position < newest && waited.Sub(now) < recordWait; waited = q.now() {
		if err := wait(ctx, recordTick); err != nil {
			return time.Time{}, err
		}
		if position, _, err = q.recorded(ctx, recorded); err != nil {
			return time.Time{}, err
		}
	}
	if position >= newest {
		return now, nil
	}
	first, err := q.firstTime(ctx, bus.StreamRecords, bus.RecordSubject(bus.AnyToken, bus.AnyRest), position+1)
	if err != nil {
		return time.Time{}, unavailable(err, "records cannot be looked for at the moment")
	}
	if first.IsZero() || first.After(now) { // what followed was removed
		return now, nil
	}
	return first, nil
}

// recorded returns how far RECORDS has been taken in, and the sequence of the newest record.
func (q *Queue) recorded(ctx context.Context, recorded Recorded) (position, newest uint64, err error) {
	limited, cancel := context.WithTimeout(ctx, attemptTime)
	defer cancel()
	stream, err := q.js.Stream(limited, bus.StreamRecords)
	if err != nil {
		return 0, 0, unavailable(err, "records cannot be looked for at the moment")
	}
	info := stream.CachedInfo()
	position, err = recorded(ctx, info.Created)
	return position, info.State.LastSeq, err
}

// firstTime returns when the first message from a sequence on that matches a filter was stored; zero when there is none.
func (q *Queue) firstTime(ctx context.Context, stream, filter string, from uint64) (time.Time, error) {
	limited, cancel := context.WithTimeout(ctx, attemptTime)
	defer cancel()
	opened, err := q.scans.Stream(limited, stream)
	if err != nil {
		return time.Time{}, fmt.Errorf("open stream %s: %w", stream, err)
	}
	msg, err := opened.GetMsg(limited, from, jetstream.WithGetMsgSubject(filter))
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("read the first message of %s: %w", stream, err)
	}
	return msg.Time, nil
}

// findWaiting returns which deliveries wait in RETRIES, and how many attempts of each were made.
func (q *Queue) findWaiting(ctx context.Context, organization string, deliveries []string) (map[string]int, error) {
	found := make(map[string]int)
	// Twice: one that was due when the timers were looked at, and a timer when what is due was, is met then.
	for range 2 {
		var filters []string
		for _, delivery := range deliveries {
			if _, known := found[delivery]; !known {
				filters = append(filters, bus.RetryTimerSubject(organization, bus.AnyToken, delivery))
			}
		}
		if len(filters) == 0 {
			break
		}
		timers, err := q.timers.Last(ctx, filters)
		if err != nil {
			return nil, unavailable(err, "timers cannot be looked for at the moment")
		}
		note(found, timers)
		if err := q.findDue(ctx, organization, found); err != nil {
			return nil, err
		}
	}
	return found, nil
}

// findDue adds what is due in RETRIES.
func (q *Queue) findDue(ctx context.Context, organization string, found map[string]int) error {
	from := uint64(1)
	for range maxDue / drainBatch {
		due, err := q.timers.Batch(ctx, bus.RetryDueSubject(bus.AnyToken, organization, bus.AnyRest), from, drainBatch)
		if err != nil {
			return unavailable(err, "due retries cannot be looked for at the moment")
		}
		if len(due) == 0 {
			return nil
		}
		note(found, due)
		from = due[len(due)-1].Sequence + 1
	}
	return fault.New(fault.Unavailable, "TOO_MANY_DUE", "more than %d retries of the organization are due: repeat the call", maxDue)
}

// note adds the deliveries of messages.
func note(found map[string]int, messages []bus.StoredMsg) {
	for _, msg := range messages {
		if task, err := decode(msg.Header, "", nil); err == nil {
			found[task.Delivery] = task.Attempts
		}
	}
}

// unavailable is what a caller is told of a failure that may pass.
func unavailable(err error, message string) error {
	return fault.Wrap(fault.Unavailable, "STREAM_UNAVAILABLE", err, "%s", message+"; repeat the call")
}

// wait waits, or returns the context's error when that ends before.
func wait(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
