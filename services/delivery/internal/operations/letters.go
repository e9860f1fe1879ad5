package operations

import (
	"context"
	"time"

	"github.com/meetwire/meetwire/pkg/operation"
	"github.com/meetwire/meetwire/services/delivery/internal/natsbus"
	"github.com/meetwire/meetwire/services/delivery/internal/pgstore"
)

// Some is which dead letters a replay or a purge was asked for.
type Some struct {
	natsbus.Selection

	Until    uint64 `json:"until"`    // sequence of the newest dead letter when the operation began
	Revision int64  `json:"revision"` // of the configuration that it was begun with
}

// replay makes a step of a replay of many dead letters.
func (o *Operations) replay(ctx context.Context, w *operation.Work) (done bool, err error) {
	var asked Some
	part, at, err := o.nextLetters(ctx, w, &asked)
	if err != nil || !at.Counted {
		return false, err
	}
	var send []*natsbus.DeadLetter
	step := operation.Step{Processed: int64(part.Read)}
	for _, letter := range part.Letters {
		if !o.active(letter.Task) {
			step.Skipped++
			continue
		}
		send = append(send, letter)
	}
	step.Affected = int64(len(send))
	if !w.DryRun && len(send) > 0 {
		if err := o.send(ctx, w, send); err != nil {
			return false, err
		}
	}
	return o.advance(ctx, w, step, part.Next)
}

// send sends dead letters again, but for those that this operation has sent already, before it was interrupted.
func (o *Operations) send(ctx context.Context, w *operation.Work, letters []*natsbus.DeadLetter) error {
	sent, err := o.sent(ctx, letters)
	if err != nil {
		return err
	}
	var left, gone []*natsbus.DeadLetter
	for _, letter := range letters {
		if sent[letter.Task.Delivery] {
			gone = append(gone, letter)
		} else {
			left = append(left, letter)
		}
	}
	if err := o.Letters.RemoveAll(ctx, gone); err != nil {
		return err
	}
	if err := pace(ctx, w, len(left)); err != nil {
		return err
	}
	return o.Letters.ReplayAll(ctx, left)
}

// skew is by how much the clocks of two instances may differ: what was recorded of a delivery sooner after its dead
// letter may in truth have come before.
const skew = time.Minute

// sent returns which dead letters were sent since they became ones: their records say so.
func (o *Operations) sent(ctx context.Context, letters []*natsbus.DeadLetter) (map[string]bool, error) {
	since := make([]pgstore.Since, len(letters))
	for i, letter := range letters {
		since[i] = pgstore.Since{Delivery: letter.Task.Delivery, AcceptedAt: letter.Task.AcceptedAt, Time: letter.DeadAt.Add(skew)}
	}
	return o.Ledger.SentSince(ctx, since)
}

// purge makes a step of a purge of many dead letters.
func (o *Operations) purge(ctx context.Context, w *operation.Work) (done bool, err error) {
	var asked Some
	part, at, err := o.nextLetters(ctx, w, &asked)
	if err != nil || !at.Counted {
		return false, err
	}
	if !w.DryRun && len(part.Letters) > 0 {
		if err := o.Letters.PurgeAll(ctx, part.Letters); err != nil {
			return false, err
		}
	}
	step := operation.Step{Processed: int64(part.Read), Affected: int64(len(part.Letters))}
	return o.advance(ctx, w, step, part.Next)
}

// nextLetters reads the next part. The first time it counts instead: then the place says that nothing was counted before.
func (o *Operations) nextLetters(ctx context.Context, w *operation.Work, asked *Some) (part natsbus.LetterPart, at place, err error) {
	if at, err = o.begin(ctx, w, asked, &asked.Revision); err != nil {
		return part, at, err
	}
	if !at.Counted {
		total, err := o.Letters.Count(ctx, asked.Selection)
		if err != nil {
			return part, at, err
		}
		return part, at, o.counted(ctx, w, total)
	}
	if asked.Until == 0 {
		return part, at, nil // there were none
	}
	part, err = o.Letters.List(ctx, asked.Selection, at.Next, asked.Until, w.Batch(maxPart))
	return part, at, err
}
