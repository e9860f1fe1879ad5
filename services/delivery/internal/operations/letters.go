package operations

import (
	"cmp"
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
		if n, err := o.send(ctx, w, send); err != nil {
			return false, o.part(ctx, w, n, err)
		}
	}
	return o.advance(ctx, w, step, part.Next)
}

// part stores that a step has failed after it was done with so many dead letters: they are gone, and are not met again.
func (o *Operations) part(ctx context.Context, w *operation.Work, n int, failure error) error {
	if n == 0 {
		return failure
	}
	ctx, cancel := ending(ctx)
	defer cancel()
	return cmp.Or(o.Steps.Advance(ctx, w, operation.Step{Processed: int64(n), Affected: int64(n)}), failure)
}

// send sends dead letters again, but for those that this operation has sent already, before it was interrupted. It returns
// with how many it is done, also when it fails.
func (o *Operations) send(ctx context.Context, w *operation.Work, letters []*natsbus.DeadLetter) (int, error) {
	sent, err := o.sent(ctx, letters)
	if err != nil {
		return 0, err
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
		return 0, err
	}
	if err := pace(ctx, w, len(left)); err != nil {
		return len(gone), err
	}
	n, err := o.Letters.ReplayAll(ctx, left)
	return len(gone) + n, err
}

// skew is by how much the clocks of two instances may differ: what was recorded of a delivery sooner after its dead
// letter, and with as many attempts, may in truth have come before.
const skew = time.Minute

// sent returns which dead letters were sent since they became ones: their records say so.
func (o *Operations) sent(ctx context.Context, letters []*natsbus.DeadLetter) (map[string]bool, error) {
	since := make([]pgstore.Since, len(letters))
	for i, letter := range letters {
		since[i] = pgstore.Since{
			Delivery: letter.Task.Delivery, AcceptedAt: letter.Task.AcceptedAt, Attempts: letter.Task.Attempts, Time: letter.DeadAt.Add(skew),
		}
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
	step := operation.Step{Processed: int64(part.Read), Affected: int64(len(part.Letters))}
	if !w.DryRun && len(part.Letters) > 0 {
		n, err := o.Letters.PurgeAll(ctx, part.Letters)
		if err != nil {
			return false, o.part(ctx, w, n, err)
		}
		step.Affected, step.Skipped = int64(n), int64(len(part.Letters)-n) // somebody else has replayed or purged those
	}
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
