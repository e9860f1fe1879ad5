package operations

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/operation"
	"github.com/meetwire/meetwire/pkg/rpc"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	"github.com/meetwire/meetwire/services/ingest/internal/pgstore"
)

// Erase is what an erasure is asked for.
type Erase struct {
	pgstore.Selection

	Revision int64 `json:"revision"`
}

// The stages of an erasure, in their order.
const (
	stageBegin  = ""        // nothing is known
	stageFanOut = "fan_out" // the events up to Until are being fanned out
	stageIndex  = "index"   // the index is being written
	stageFirst  = "first"   // everything is removed but the rows of the index, by which the second pass finds the events
	stageWait   = "wait"    // what was being sent during the first pass ends
	stageSecond = "second"  // everything is removed once more, and the rows are cleared
	stageForget = "forget"  // what was asked for is forgotten
)

const (
	// maxErase is how many events are erased at once: delivery takes no more with one call.
	maxErase = 1000
	// eraseTime bounds such a call: delivery looks through all that it has of the organization.
	eraseTime = 5 * time.Minute
	// secondPass is longer than an attempt may take, with what comes before and after it.
	secondPass = 40 * time.Second
)

// erased is how far an erasure is.
type erased struct {
	Stage  string    `json:"stage,omitempty"`
	Until  int64     `json:"until,omitempty"`   // sequence of the newest event when it began
	FanOut uint64    `json:"fan_out,omitempty"` // sequence of the newest note about them
	After  int64     `json:"after,omitempty"`   // sequence of the last event that is done in this pass
	Second time.Time `json:"second,omitzero"`   // when the second pass begins
}

// erase makes a step of an erasure.
func (o *Operations) erase(ctx context.Context, w *operation.Work) (done bool, err error) {
	var asked Erase
	var at erased
	if err := read(w, &asked, &at); err != nil {
		return false, err
	}
	if err := o.ready(ctx, w, asked.Revision); err != nil {
		return false, err
	}
	switch at.Stage {
	case stageBegin:
		last, err := o.Streams.LastEvent(ctx)
		if err != nil {
			return false, err
		}
		at.Stage, at.Until = stageFanOut, int64(last) //nolint:gosec // G115: a sequence of JetStream
		return false, o.advance(ctx, w, at, operation.Step{})
	case stageFanOut:
		return false, o.waitForFanOut(ctx, w, at)
	case stageIndex:
		return false, o.waitForIndex(ctx, w, asked, at)
	case stageFirst:
		return false, o.pass(ctx, w, asked, at)
	case stageWait:
		if wait := at.Second.Sub(o.Now()); wait > 0 {
			return false, operation.Later(wait)
		}
		at.Stage, at.After = stageSecond, 0
		return false, o.advance(ctx, w, at, operation.Step{})
	case stageSecond:
		return false, o.pass(ctx, w, asked, at)
	case stageForget:
		return true, o.forget(ctx, w)
	}
	return false, fault.New(fault.Internal, "OPERATION_UNKNOWN", "an erasure has no stage %q", at.Stage)
}

// advance stores a step.
func (o *Operations) advance(ctx context.Context, w *operation.Work, at erased, step operation.Step) error {
	progress, err := Encode(at)
	if err != nil {
		return err
	}
	step.Progress = progress
	return o.Steps.Advance(ctx, w, step)
}

// waitForFanOut waits until nobody works on the events any more.
func (o *Operations) waitForFanOut(ctx context.Context, w *operation.Work, at erased) error {
	ok, err := o.Streams.AllFannedOut(ctx, uint64(at.Until)) //nolint:gosec // G115: a sequence of JetStream
	if err != nil {
		return err
	}
	if !ok {
		return operation.Later(behindWait)
	}
	if at.FanOut, err = o.Streams.LastFanOut(ctx); err != nil {
		return err
	}
	at.Stage = stageIndex
	return o.advance(ctx, w, at, operation.Step{})
}

// waitForIndex waits until the index knows the events, and counts them. That is all that a dry run does.
func (o *Operations) waitForIndex(ctx context.Context, w *operation.Work, asked Erase, at erased) error {
	ok, err := o.Streams.Indexed(ctx, at.FanOut)
	if err != nil {
		return err
	}
	if !ok {
		return operation.Later(behindWait)
	}
	total, named, err := o.count(ctx, w.Organization, asked.Selection, at)
	if err != nil {
		return err
	}
	at.Stage = stageFirst
	step := operation.Step{Total: &total, Skipped: int64(len(asked.Sequences)) - named}
	if w.DryRun {
		at.Stage, step.Processed, step.Affected = stageForget, total, total
	}
	return o.advance(ctx, w, at, step)
}

// count counts the events that are to be erased, and how many of them were asked for by their sequences.
func (o *Operations) count(ctx context.Context, organization string, selected pgstore.Selection, at erased) (total, named int64, err error) {
	for last := int64(0); ; {
		found, err := o.Rows.FindEvents(ctx, organization, selected, last, at.Until, maxErase)
		if err != nil || len(found) == 0 {
			return total, named, err
		}
		last = found[len(found)-1]
		total += int64(len(found))
		for _, sequence := range found {
			if slices.Contains(selected.Sequences, sequence) {
				named++
			}
		}
	}
}

// pass erases some of the events, and goes on to the next stage after the last of them.
func (o *Operations) pass(ctx context.Context, w *operation.Work, asked Erase, at erased) error {
	found, err := o.Rows.FindEvents(ctx, w.Organization, asked.Selection, at.After, at.Until, maxErase)
	if err != nil {
		return err
	}
	last := len(found) < maxErase
	sequences := found
	if at.After == 0 {
		sequences = union(found, asked.Sequences, at.Until) // also what the index does not know
	}
	if len(sequences) > 0 {
		if err := o.eraseEverywhere(ctx, w.Organization, sequences); err != nil {
			return err
		}
	}
	var step operation.Step
	if at.Stage == stageSecond {
		step.Processed = int64(len(found))
		if step.Affected, err = o.Rows.EraseEvents(ctx, w.Organization, sequences, o.Now().UTC()); err != nil {
			return err
		}
	}
	switch {
	case !last:
		at.After = found[len(found)-1]
	case at.Stage == stageFirst:
		at.Stage, at.Second = stageWait, o.Now().Add(o.secondPass())
	default:
		at.Stage = stageForget
	}
	return o.advance(ctx, w, at, step)
}

func (o *Operations) secondPass() time.Duration {
	if o.SecondPass > 0 {
		return o.SecondPass
	}
	return secondPass
}

// union adds to sequences those of others that are not among them and not too new.
func union(found, others []int64, until int64) []int64 {
	all := slices.Clone(found)
	for _, sequence := range others {
		if sequence <= until && !slices.Contains(found, sequence) {
			all = append(all, sequence)
		}
	}
	return all
}

// eraseEverywhere removes what events say from the streams, and from what delivery keeps.
func (o *Operations) eraseEverywhere(ctx context.Context, organization string, sequences []int64) error {
	if _, err := o.Streams.Erase(ctx, organization, sequences); err != nil {
		return err
	}
	for chunk := range slices.Chunk(sequences, maxErase) {
		limited, cancel := context.WithTimeout(ctx, eraseTime)
		_, err := o.Delivery.EraseEvents(limited, &deliveryv1.EraseEventsRequest{Organization: organization, EventSequences: chunk})
		cancel()
		if err != nil {
			return fmt.Errorf("erase deliveries: %w", rpc.FaultFromStatus(err))
		}
	}
	return nil
}

// forget removes what may tell of the events from what is known of webhooks and of the operation itself.
func (o *Operations) forget(ctx context.Context, w *operation.Work) error {
	id, err := uuid.Parse(w.ID)
	if err != nil {
		return fmt.Errorf("read the id of an operation: %w", err)
	}
	if !w.DryRun {
		if err := o.Rows.ForgetFilterErrors(ctx, w.Organization); err != nil {
			return err
		}
	}
	return o.Steps.Within(ctx, w, func(ctx context.Context, tx pgx.Tx) (operation.Step, error) {
		return operation.Step{}, o.Rows.ForgetSubject(ctx, tx, id)
	})
}
