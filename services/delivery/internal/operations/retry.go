package operations

import (
	"context"
	"slices"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/operation"
	"github.com/meetwire/meetwire/services/delivery/internal/natsbus"
)

// Retry is what is to be tried at once.
type Retry struct {
	Webhook  string `json:"webhook,omitempty"` // its id; empty: all
	Until    uint64 `json:"until"`             // sequence of the newest timer when the operation began
	Revision int64  `json:"revision"`          // of the configuration that it was begun with
}

// retry makes a step of trying at once what waits.
func (o *Operations) retry(ctx context.Context, w *operation.Work) (done bool, err error) {
	var asked Retry
	at, err := o.begin(ctx, w, &asked, &asked.Revision)
	if err != nil {
		return false, err
	}
	organization, webhook := anyToken(w.Organization), anyToken(asked.Webhook)
	if !at.Counted {
		total, err := o.Timers.CountMatching(ctx, organization, webhook)
		if err != nil {
			return false, err
		}
		return false, o.counted(ctx, w, total)
	}
	var part natsbus.TimerPart
	if asked.Until > 0 {
		part, err = o.Timers.ListTimers(ctx, organization, webhook, at.Next, asked.Until, w.Batch(maxPart))
		if err != nil {
			return false, err
		}
	}
	step := operation.Step{Processed: int64(part.Read)}
	now := o.Now()
	due := slices.DeleteFunc(part.Timers, func(timer *natsbus.Timer) bool {
		return !timer.Due.After(now) || !o.active(timer.Task) // it fires by itself, or to no purpose
	})
	step.Affected = int64(len(due))
	if !w.DryRun && len(due) > 0 {
		if err := pace(ctx, w, len(due)); err != nil {
			return false, err
		}
		n, err := o.Timers.HastenAll(ctx, due)
		if err != nil {
			return false, err
		}
		step.Affected = int64(n)
	}
	step.Skipped = step.Processed - step.Affected
	return o.advance(ctx, w, step, part.Next)
}

// anyToken stands for all where nothing is named.
func anyToken(name string) string {
	if name == "" {
		return bus.AnyToken
	}
	return name
}
