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

// Configuration is what is known of webhooks.
type Configuration interface {
	// Webhook returns a webhook, or false when none has this id.
	Webhook(id string) (*core.Webhook, bool)
	// WaitFor waits until a revision of the configuration is in force. It returns the context's error.
	WaitFor(ctx context.Context, revision int64) error
	// Revision is the one in force.
	Revision() int64
	// HasOrganization reports whether an organization exists.
	HasOrganization(id string) bool
}

// DeadLetters reads the stream DEADLETTERS and sends from it.
type DeadLetters struct {
	js     jetstream.JetStream
	stream jetstream.Stream
	// scanned is the same, over the connection for what reads much.
	scanned jetstream.Stream
	maxAge  time.Duration
	queue   *Queue
	config  Configuration
	now     func() time.Time
	newID   func() string
}

// NewDeadLetters opens the stream, which must exist.
func NewDeadLetters(
	ctx context.Context, js jetstream.JetStream, queue *Queue, config Configuration, now func() time.Time, newID func() string,
) (*DeadLetters, error) {
	stream, err := js.Stream(ctx, bus.StreamDeadLetters)
	if err != nil {
		return nil, fmt.Errorf("open stream %s: %w", bus.StreamDeadLetters, err)
	}
	scanned, err := queue.scans.Stream(ctx, bus.StreamDeadLetters)
	if err != nil {
		return nil, fmt.Errorf("open stream %s: %w", bus.StreamDeadLetters, err)
	}
	maxAge := stream.CachedInfo().Config.MaxAge
	return &DeadLetters{js: js, stream: stream, scanned: scanned, maxAge: maxAge, queue: queue, config: config, now: now, newID: newID}, nil
}

// MaxAge returns how long dead letters are kept now; 0: for ever. Errors: fault.Unavailable.
func (d *DeadLetters) MaxAge(ctx context.Context) (time.Duration, error) {
	limited, cancel := context.WithTimeout(ctx, attemptTime)
	defer cancel()
	info, err := d.stream.Info(limited)
	if err != nil {
		return 0, unavailable(err, "it cannot be told how long dead letters are kept")
	}
	return info.Config.MaxAge, nil
}

// DeadLetter is a message of DEADLETTERS.
type DeadLetter struct {
	Sequence uint64
	Reason   string
	DeadAt   time.Time
	Expires  time.Time // the stream forgets it; zero: never
	Task     *core.Task
}

// errNoDeadLetter is what a caller gets for one that does not exist, or not any more.
func errNoDeadLetter() error {
	return fault.New(fault.NotFound, "DEAD_LETTER_NOT_FOUND", "no such dead letter")
}

// Get returns the dead letter of a delivery. Errors: fault.NotFound, fault.Unavailable.
func (d *DeadLetters) Get(ctx context.Context, organization, delivery string) (*DeadLetter, error) {
	subject := bus.DeadLetterSubject(bus.AnyToken, organization, bus.AnyToken, delivery)
	for from := uint64(1); ; {
		msg, err := d.stream.GetMsg(ctx, from, jetstream.WithGetMsgSubject(subject))
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			return nil, errNoDeadLetter()
		}
		if err != nil {
			return nil, unavailable(err, "dead letters cannot be read at the moment")
		}
		letter := d.read(ctx, &bus.StoredMsg{
			Sequence: msg.Sequence, Subject: msg.Subject, Header: msg.Header, Data: msg.Data, Stored: msg.Time,
		})
		if letter != nil {
			return letter, nil
		}
		from = msg.Sequence + 1
	}
}

// read reads a message; nil when it is no dead letter: that must not hide those behind it.
func (d *DeadLetters) read(ctx context.Context, msg *bus.StoredMsg) *DeadLetter {
	letter, err := decodeDeadLetter(msg)
	if err != nil {
		d.queue.logger.ErrorContext(ctx, "message is no dead letter and is passed over",
			"sequence", msg.Sequence, "subject", msg.Subject, "error", err)
		return nil
	}
	if d.maxAge > 0 {
		letter.Expires = msg.Stored.Add(d.maxAge)
	}
	return letter
}

func decodeDeadLetter(msg *bus.StoredMsg) (*DeadLetter, error) {
	lane, _, _ := strings.Cut(strings.TrimPrefix(msg.Subject, "deadletters."), ".")
	task, err := decode(msg.Header, lane, msg.Data)
	if err != nil {
		return nil, err
	}
	deadAt, err := time.Parse(time.RFC3339Nano, msg.Header.Get(bus.HeaderDeadAt))
	if err != nil {
		return nil, fmt.Errorf("%w: %s", errHeader, bus.HeaderDeadAt)
	}
	task.Recorded = true // before it became one
	return &DeadLetter{Sequence: msg.Sequence, Reason: msg.Header.Get(bus.HeaderReason), DeadAt: deadAt, Task: task}, nil
}

// Last returns the sequence of the newest dead letter. Errors: fault.Unavailable.
func (d *DeadLetters) Last(ctx context.Context) (uint64, error) {
	return lastOf(ctx, d.js, bus.StreamDeadLetters)
}

// Replay sends a dead letter again, as a new run of the same delivery, and then removes it. If it is interrupted
// in between and called again within two minutes, the delivery is still sent once. Errors: fault.NotFound,
// fault.FailedPrecondition (the webhook is gone or not active), fault.Unavailable, fault.ResourceExhausted.
func (d *DeadLetters) Replay(ctx context.Context, organization, delivery string) error {
	letter, err := d.Get(ctx, organization, delivery)
	if err != nil {
		return err
	}
	if err := CheckActive(ctx, d.config, organization, letter.Task.Webhook); err != nil {
		return err
	}
	return d.send(ctx, letter, bus.LaneBulk, bus.ReplacementMsgID(bus.StreamDeadLetters, letter.Sequence))
}

// send sends a dead letter again in a lane, and removes it. Sent before under the same id, it is only removed.
func (d *DeadLetters) send(ctx context.Context, letter *DeadLetter, lane, msgID string) error {
	// Its time is before that of anything that follows from the replay, whichever is recorded first.
	record := d.replayed(letter)
	ack, err := bus.Publish(ctx, d.js, again(letter.Task, lane, record.Time), msgID)
	if err != nil {
		return err
	}
	wait := func() error { return nil }
	if !ack.Duplicate { // else an earlier call has sent it, and by now it may have succeeded
		wait = d.queue.Record(ctx, record)
	}
	if _, err := d.remove(ctx, letter.Sequence); err != nil {
		return unavailable(err, "the dead letter was sent but not yet removed")
	}
	return wait()
}

// again is the message with which a delivery is sent again, as a new run that begins at a time.
func again(task *core.Task, lane string, at time.Time) *nats.Msg {
	next := *task
	next.Lane, next.AttemptBase, next.RunAt, next.SlotAt = lane, task.Attempts, at, time.Time{}
	msg := nats.NewMsg(bus.DeliverySubject(lane, task.Organization, task.Webhook))
	msg.Header, msg.Data = encode(&next), task.Event
	return msg
}

// replayed is the record of a dead letter that is none any more.
func (d *DeadLetters) replayed(letter *DeadLetter) *core.Record {
	task := *letter.Task
	task.AttemptBase = task.Attempts
	return &core.Record{ID: d.newID(), Time: d.now(), Task: &task, AttemptCount: task.Attempts, State: core.StatePending}
}

// remove removes a dead letter. It reports false for one that is not there any more: another replay or a purge has removed
// it, or the replayed delivery has failed again and its new dead letter has taken the place of the old one.
func (d *DeadLetters) remove(ctx context.Context, sequence uint64) (removed bool, err error) {
	limited, cancel := context.WithTimeout(ctx, attemptTime)
	defer cancel()
	if removed, err = removeMsg(limited, d.stream, sequence); err != nil {
		return false, fmt.Errorf("remove dead letter %d: %w", sequence, err)
	}
	return removed, nil
}

// activeWait is how long the word that a webhook is active again may take to get here.
const activeWait = time.Second

// CheckActive returns fault.FailedPrecondition when a webhook of an organization is gone, paused or disabled, also after
// what may be on its way here has come.
func CheckActive(ctx context.Context, config Configuration, organization, webhook string) error {
	waiting, cancel := context.WithTimeout(ctx, activeWait)
	defer cancel()
	for {
		revision := config.Revision()
		found, ok := config.Webhook(webhook)
		if ok && found.Organization == organization && found.Status == core.StatusActive {
			return nil
		}
		if config.WaitFor(waiting, revision+1) == nil {
			continue
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case !ok || found.Organization != organization:
			return fault.New(fault.FailedPrecondition, "WEBHOOK_DELETED", "webhook %s was deleted", webhook)
		case found.Status == core.StatusPaused:
			return notActive(webhook, "paused: resume it first")
		default:
			return notActive(webhook, "disabled: enable it first")
		}
	}
}

func notActive(webhook, how string) error {
	return fault.New(fault.FailedPrecondition, "WEBHOOK_NOT_ACTIVE", "webhook %s is %s", webhook, how)
}
