package natsbus

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

// DeadLetters reads the stream DEADLETTERS and sends from it.
type DeadLetters struct {
	js     jetstream.JetStream
	stream jetstream.Stream
	queue  *Queue
	exists func(webhook string) bool
	now    func() time.Time
	newID  func() string
}

// NewDeadLetters opens the stream, which must exist. exists reports whether a webhook does.
func NewDeadLetters(
	ctx context.Context, js jetstream.JetStream, queue *Queue, exists func(webhook string) bool, now func() time.Time, newID func() string,
) (*DeadLetters, error) {
	stream, err := js.Stream(ctx, bus.StreamDeadLetters)
	if err != nil {
		return nil, fmt.Errorf("open stream %s: %w", bus.StreamDeadLetters, err)
	}
	return &DeadLetters{js: js, stream: stream, queue: queue, exists: exists, now: now, newID: newID}, nil
}

// DeadLetter is a message of DEADLETTERS.
type DeadLetter struct {
	Sequence uint64
	Reason   string
	DeadAt   time.Time
	Task     *core.Task
}

// errNoDeadLetter is what a caller gets for one that does not exist, or not any more.
func errNoDeadLetter() error {
	return fault.New(fault.NotFound, "DEAD_LETTER_NOT_FOUND", "no such dead letter")
}

// Get returns the dead letter of a delivery. Errors: fault.NotFound, fault.Unavailable.
func (d *DeadLetters) Get(ctx context.Context, organization, delivery string) (*DeadLetter, error) {
	return d.next(ctx, 1, bus.DeadLetterSubject(bus.AnyToken, organization, bus.AnyToken, delivery))
}

// List returns up to size dead letters of an organization that the filters admit, oldest first, from a sequence
// on. Empty filters admit all.
func (d *DeadLetters) List(ctx context.Context, organization, webhook, trigger string, from uint64, size int) ([]*DeadLetter, error) {
	lane, hook := bus.AnyToken, bus.AnyToken
	if trigger != "" {
		if !bus.IsTrigger(trigger) {
			return nil, nil
		}
		lane = bus.Lane(trigger)
	}
	if webhook != "" {
		hook = webhook
	}
	subject := bus.DeadLetterSubject(lane, organization, hook, bus.AnyToken)
	var page []*DeadLetter
	for len(page) < size {
		letter, err := d.next(ctx, from, subject)
		if fault.Is(err, fault.NotFound) {
			return page, nil
		}
		if err != nil {
			return nil, err
		}
		from = letter.Sequence + 1
		if trigger == "" || letter.Task.Trigger == trigger {
			page = append(page, letter)
		}
	}
	return page, nil
}

// next returns the first dead letter from a sequence on. What is none is passed over: it must not hide those
// behind it.
func (d *DeadLetters) next(ctx context.Context, from uint64, subject string) (*DeadLetter, error) {
	for {
		msg, err := d.stream.GetMsg(ctx, from, jetstream.WithGetMsgSubject(subject))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil, errNoDeadLetter()
		}
		if err != nil {
			return nil, fault.Wrap(fault.Unavailable, "STREAM_UNAVAILABLE", err, "dead letters cannot be read at the moment")
		}
		letter, err := decodeDeadLetter(msg)
		if err == nil {
			return letter, nil
		}
		d.queue.logger.ErrorContext(ctx, "message is no dead letter and is passed over",
			"sequence", msg.Sequence, "subject", msg.Subject, "error", err)
		from = msg.Sequence + 1
	}
}

func decodeDeadLetter(msg *jetstream.RawStreamMsg) (*DeadLetter, error) {
	lane, _, _ := strings.Cut(strings.TrimPrefix(msg.Subject, "deadletters."), ".")
	task, err := decode(msg.Header, lane, msg.Data)
	if err != nil {
		return nil, err
	}
	deadAt, err := time.Parse(time.RFC3339Nano, msg.Header.Get(bus.HeaderDeadAt))
	if err != nil {
		return nil, fmt.Errorf("%w: %s", errHeader, bus.HeaderDeadAt)
	}
	return &DeadLetter{Sequence: msg.Sequence, Reason: msg.Header.Get(bus.HeaderReason), DeadAt: deadAt, Task: task}, nil
}

// Replay sends a dead letter again, as a new run of the same delivery, and then removes it. If it is interrupted
// in between and called again within two minutes, the delivery is still sent once. Errors: fault.NotFound,
// fault.FailedPrecondition (the webhook is gone, so it would be dropped), fault.Unavailable, fault.ResourceExhausted.
func (d *DeadLetters) Replay(ctx context.Context, organization, delivery string) error {
	letter, err := d.Get(ctx, organization, delivery)
	if err != nil {
		return err
	}
	task := letter.Task
	if !d.exists(task.Webhook) {
		return fault.New(fault.FailedPrecondition, "WEBHOOK_DELETED", "the webhook of this dead letter was deleted")
	}
	task.Lane = bus.LaneBulk
	task.AttemptBase = task.Attempts
	msg := nats.NewMsg(bus.DeliverySubject(task.Lane, task.Organization, task.Webhook))
	msg.Header = encode(task)
	msg.Data = task.Event
	id := bus.ReplacementMsgID(bus.StreamDeadLetters, letter.Sequence)
	// Its time is before that of anything that follows from the replay, whichever is recorded first.
	record := &core.Record{ID: d.newID(), Time: d.now(), Task: task, AttemptCount: task.Attempts, State: core.StatePending}
	ack, err := bus.Publish(ctx, d.js, msg, id)
	if err != nil {
		return err
	}
	wait := func() error { return nil }
	if !ack.Duplicate { // else an earlier call has sent it, and by now it may have succeeded
		wait = d.queue.Record(ctx, record)
	}
	if err := d.stream.DeleteMsg(ctx, letter.Sequence); err != nil && !d.gone(ctx, letter.Sequence) {
		return fault.Wrap(fault.Unavailable, "STREAM_UNAVAILABLE", err, "the dead letter was sent but not yet removed; repeat the call")
	}
	return wait()
}

// gone reports that a message was removed already: by another replay, or because the replayed delivery has
// failed again and its new dead letter has taken the place of the old one.
func (d *DeadLetters) gone(ctx context.Context, sequence uint64) bool {
	_, err := d.stream.GetMsg(ctx, sequence)
	return errors.Is(err, jetstream.ErrMsgNotFound)
}
