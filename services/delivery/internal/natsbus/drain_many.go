package natsbus

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/lifecycle"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

// drain moves what waits for one webhook.
type drain struct {
	*Queue

	filter string
	size   int // how many are read, and removed, at once
	still  func() bool
	bury   Bury

	left    bool   // timers that were read have been left where they are
	removed uint64 // how many messages had been removed before timers were read
}

// waiting is a timer that is being moved.
type waiting struct {
	sequence uint64
	task     *core.Task
}

// run moves all timers.
func (d *drain) run(ctx context.Context) (moved int, err error) {
	scan := timerScan{reader: d.timers, filter: d.filter, size: d.size}
	for d.still() {
		if d.removed, _, err = d.removals(ctx); err != nil {
			return moved, err
		}
		timers, err := scan.read(ctx)
		if err != nil || len(timers) == 0 {
			return moved, err
		}
		n, err := d.move(ctx, timers)
		moved += n
		if err != nil {
			return moved, err
		}
	}
	return moved, nil
}

// move buries timers and removes them after that. What is left when that fails or has to stop, waits on.
func (d *drain) move(ctx context.Context, timers []bus.StoredMsg) (moved int, err error) {
	var mu sync.Mutex
	var buried []uint64
	gone := 0
	failure := severalOf(ctx, drainParts, slices.Collect(slices.Chunk(timers, drainBatch)), func(ctx context.Context, part []bus.StoredMsg) error {
		if !d.still() {
			return nil
		}
		done, missing, err := d.buryPart(ctx, part)
		mu.Lock()
		defer mu.Unlock()
		buried, gone = append(buried, done...), gone+missing
		return err
	})
	d.left = d.left || len(buried)+gone < len(timers)
	if len(buried) > 0 {
		// Also while stopping: what is buried must not fire any more.
		if err := d.remove(lifecycle.Grace(ctx), buried); err != nil {
			return 0, errors.Join(failure, err)
		}
	}
	return len(buried), failure
}

// buryPart buries timers, several at once. It returns the sequences of those that were, how many were gone by then, and
// the first failure.
func (d *drain) buryPart(ctx context.Context, timers []bus.StoredMsg) (buried []uint64, gone int, err error) {
	ctx, cancel := context.WithTimeout(ctx, drainTime)
	defer cancel()
	tasks := d.tasks(ctx, timers)
	if err := d.events.readMany(ctx, tasks); err != nil {
		return nil, 0, err
	}
	// Since they were read some may have been canceled or erased, or have fired.
	there, err := d.there(ctx, tasks)
	if err != nil {
		return nil, 0, err
	}
	var mu sync.Mutex
	err = several(ctx, there, func(ctx context.Context, one waiting) error {
		if !d.still() {
			return nil
		}
		if err := d.bury(ctx, one.task, bus.ReplacementMsgID(bus.StreamRetries, one.sequence)); err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		buried = append(buried, one.sequence)
		return nil
	})
	return buried, len(tasks) - len(there), err
}

// tasks reads what timers wait with.
func (d *drain) tasks(ctx context.Context, timers []bus.StoredMsg) []waiting {
	tasks := make([]waiting, 0, len(timers))
	for _, timer := range timers {
		task, err := decode(timer.Header, timer.Header.Get(bus.HeaderLane), timer.Data)
		if err != nil {
			// Nobody but delivery sets timers. One that it cannot read must not keep the others from moving.
			d.logger.ErrorContext(ctx, "timer cannot be read and is left as it is", "sequence", timer.Sequence, "error", err)
			continue
		}
		tasks = append(tasks, waiting{timer.Sequence, task})
	}
	return tasks
}

// there returns those of some timers that are still there: all, when nothing at all was removed since they were read.
func (d *drain) there(ctx context.Context, timers []waiting) ([]waiting, error) {
	removed, replicas, err := d.removals(ctx)
	if err != nil || removed == d.removed && replicas == 1 {
		return timers, err // with replicas, who answered the read may not have known of a removal yet
	}
	var mu sync.Mutex
	missing := make(map[uint64]bool)
	err = several(ctx, timers, func(ctx context.Context, timer waiting) error {
		there, err := d.waits(ctx, timer.sequence)
		if err != nil || there {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		missing[timer.sequence] = true
		return nil
	})
	return slices.DeleteFunc(timers, func(timer waiting) bool { return missing[timer.sequence] }), err
}

// removals returns how many messages have been removed from RETRIES, or have fired, ever since there is this stream, and how
// many replicas that has.
func (d *drain) removals(ctx context.Context) (removed uint64, replicas int, err error) {
	limited, cancel := context.WithTimeout(ctx, attemptTime)
	defer cancel()
	stream, err := d.js.Stream(limited, bus.StreamRetries)
	if err != nil {
		return 0, 0, fmt.Errorf("open stream %s: %w", bus.StreamRetries, err)
	}
	info := stream.CachedInfo()
	return info.State.LastSeq - info.State.Msgs, info.Config.Replicas, nil
}

// waits reports whether a timer is still there.
func (d *drain) waits(ctx context.Context, sequence uint64) (bool, error) {
	limited, cancel := context.WithTimeout(ctx, attemptTime)
	defer cancel()
	msg, err := fromLeader(limited, d.js, bus.StreamRetries, sequence)
	return msg != nil, err
}

// remove removes what was buried: with one request if that is all of the webhook, up to the last of it.
func (d *drain) remove(ctx context.Context, buried []uint64) error {
	if !d.left {
		return d.persist(ctx, "remove timers", func(ctx context.Context) error {
			return d.retries.Purge(ctx, jetstream.WithPurgeSubject(d.filter), jetstream.WithPurgeSequence(slices.Max(buried)+1))
		})
	}
	return several(ctx, buried, func(ctx context.Context, sequence uint64) error {
		return d.persist(ctx, "remove a timer", func(ctx context.Context) error {
			_, err := d.removeTimer(ctx, sequence)
			return err
		})
	})
}
