package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/meetwire/meetwire/pkg/bus"
)

// target is what one measurement measures, running.
type target struct {
	nats     *process
	natsURL  string
	conn     *nats.Conn
	js       jetstream.JetStream
	measured []*process
	records  *records                      // nil: nothing is recorded
	close    []func(context.Context) error // after the processes have ended
}

// newTarget starts a nats-server of its own and connects to it.
func newTarget(ctx context.Context, e *environment, folder string, f *fleet) (*target, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, fmt.Errorf("make a folder: %w", err)
	}
	t := &target{}
	t.close = append(t.close, func(context.Context) error { return os.RemoveAll(folder) })
	var err error
	if t.nats, t.natsURL, err = startNATS(ctx, e, filepath.Join(folder, "nats"), f); err != nil {
		return t, err
	}
	if t.conn, err = nats.Connect(t.natsURL, nats.Name("bench")); err != nil {
		return t, fmt.Errorf("connect to nats: %w", err)
	}
	t.js, err = bus.JetStream(t.conn)
	return t, err
}

// stop closes what is left when the processes have ended.
func (t *target) stop(ctx context.Context) error {
	if t == nil {
		return nil
	}
	if t.conn != nil {
		t.conn.Close()
	}
	t.records.close()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
	defer cancel()
	var failures []error
	for _, close := range t.close {
		failures = append(failures, close(ctx))
	}
	return errors.Join(failures...)
}

// settlePeriod is how often it is looked whether anything is left to do.
const settlePeriod = 20 * time.Millisecond

// errNotSettled is returned when work is left that should be done.
var errNotSettled = errors.New("work is left over")

// settle waits until nothing is left to do in any stream: everything that was published has been acknowledged by
// every consumer, and no timer waits. It returns when that was.
func (t *target) settle(ctx context.Context, within time.Duration) (time.Time, error) {
	limited, cancel := context.WithTimeout(ctx, within)
	defer cancel()
	ticker := time.NewTicker(settlePeriod)
	defer ticker.Stop()
	for {
		left, err := t.left(limited)
		switch {
		case ctx.Err() != nil:
			return time.Time{}, ctx.Err()
		case limited.Err() == nil && err != nil:
			return time.Time{}, err
		case limited.Err() == nil && left == "":
			return time.Now(), nil
		}
		select {
		case <-ticker.C:
		case <-limited.Done():
			return time.Time{}, fmt.Errorf("%w after %s: %s", errNotSettled, within, left)
		}
	}
}

// detours is how many messages did not take the straight way so far.
type detours struct {
	given  uint64 // how often a delivery was given out
	timers uint64 // messages stored in RETRIES: timers, and what they fired
}

// detours counts them.
func (t *target) detours(ctx context.Context) (detours, error) {
	var d detours
	for _, name := range []string{loopStream, bus.StreamDeliveries, bus.StreamRetries} {
		stream, err := t.js.Stream(ctx, name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			continue
		}
		if err != nil {
			return d, fmt.Errorf("look at stream %s: %w", name, err)
		}
		if name == bus.StreamRetries {
			d.timers = stream.CachedInfo().State.LastSeq
			continue
		}
		consumers := stream.ListConsumers(ctx)
		for info := range consumers.Info() {
			d.given += info.Delivered.Consumer
		}
		if err := consumers.Err(); err != nil {
			return d, fmt.Errorf("look at the consumers of %s: %w", name, err)
		}
	}
	return d, nil
}

// left says where work is left. Streams are looked at in the order in which work passes through them, so that
// nothing slips by.
func (t *target) left(ctx context.Context) (string, error) {
	for _, name := range []string{loopStream, bus.StreamEvents, bus.StreamDeliveries, bus.StreamRetries, bus.StreamRecords} {
		if left, err := t.leftIn(ctx, name); left != "" || err != nil {
			return left, err
		}
	}
	return "", nil
}

// leftIn says what is left in one stream.
func (t *target) leftIn(ctx context.Context, name string) (string, error) {
	stream, err := t.js.Stream(ctx, name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("look at stream %s: %w", name, err)
	}
	if waiting := stream.CachedInfo().State.Msgs; name == bus.StreamRetries && waiting > 0 {
		return fmt.Sprintf("%d timers", waiting), nil
	}
	consumers := stream.ListConsumers(ctx)
	left := ""
	for info := range consumers.Info() {
		if info.NumPending > 0 || info.NumAckPending > 0 {
			left = fmt.Sprintf("consumer %s: %d waiting, %d in work", info.Name, info.NumPending, info.NumAckPending)
		}
	}
	if err := consumers.Err(); err != nil {
		return "", fmt.Errorf("look at the consumers of %s: %w", name, err)
	}
	if left == "" && name == bus.StreamRecords {
		return t.records.left(ctx, stream.CachedInfo().State.LastSeq)
	}
	return left, nil
}
