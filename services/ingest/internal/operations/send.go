package operations

import (
	"context"
	"time"

	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/operation"
	"github.com/meetwire/meetwire/services/ingest/internal/core"
	"github.com/meetwire/meetwire/services/ingest/internal/natsbus"
)

// Send is what backfills and replays are asked for.
type Send struct {
	Webhook  string    `json:"webhook,omitempty"` // its id; empty: all that match
	Start    time.Time `json:"start"`
	End      time.Time `json:"end"`
	Triggers []string  `json:"triggers,omitempty"`
	Subject  string    `json:"subject,omitempty"`
	Filter   string    `json:"filter,omitempty"`
	Revision int64     `json:"revision"` // of the configuration that they were begun with
}

// sent is how far a backfill or a replay is.
type sent struct {
	Counted bool   `json:"counted,omitempty"` // how many events there are
	After   uint64 `json:"after,omitempty"`   // sequence of the last event that is done
	// An event with more deliveries than fit into a part: which it is, and up to which webhook it is done.
	Event   uint64 `json:"event,omitempty"`
	Webhook string `json:"webhook,omitempty"`
	// Some deliveries of the last part and of the one before.
	Last   samples `json:"last,omitempty"`
	Before samples `json:"before,omitempty"`
}

// send makes a step of a backfill or of a replay of many events.
func (o *Operations) send(ctx context.Context, w *operation.Work) (done bool, err error) {
	var asked Send
	var at sent
	if err := read(w, &asked, &at); err != nil {
		return false, err
	}
	if err := o.ready(ctx, w, asked.Revision); err != nil {
		return false, err
	}
	if err := o.checkWebhook(w, asked.Webhook); err != nil {
		return false, err
	}
	if !at.Counted {
		return false, o.countEvents(ctx, w, asked, at)
	}
	if err := o.keepUp(ctx, w, at.Before); err != nil {
		return false, err
	}
	part, err := o.collect(ctx, w, asked, at)
	if err != nil {
		return false, err
	}
	if part.behind && part.progress.Events == 0 && len(part.deliveries) == 0 {
		return false, operation.Later(behindWait)
	}
	step := operation.Step{Processed: int64(part.progress.Events)}
	sent, err := o.deliver(ctx, w, part.deliveries, &step)
	if err != nil {
		return false, err
	}
	if len(sent) > 0 {
		part.next.Last, part.next.Before = newSamples(sent), at.Last
	}
	done = part.progress.Done && !part.cut
	if seen := w.Processed + step.Processed; done && seen != w.Total {
		step.Total = &seen // the index was behind, or events have expired since
	}
	if step.Progress, err = Encode(part.next); err != nil {
		return false, err
	}
	return done, o.Steps.Advance(ctx, w, step)
}

// checkWebhook fails when there is nobody to send to.
func (o *Operations) checkWebhook(w *operation.Work, id string) error {
	if id == "" {
		return nil
	}
	webhook, ok := o.Webhooks.Webhook(w.Organization, id)
	switch {
	case !ok:
		return fault.New(fault.FailedPrecondition, "WEBHOOK_DELETED", "the webhook was deleted")
	case webhook.Disabled:
		return errDisabled()
	}
	return nil
}

// errDisabled says that what is sent to a webhook would become dead letters.
func errDisabled() error {
	return fault.New(fault.FailedPrecondition, "WEBHOOK_DISABLED", "the webhook is disabled: enable it first, and resume the operation if there is one")
}

// countEvents stores how many events there are to look at.
func (o *Operations) countEvents(ctx context.Context, w *operation.Work, asked Send, at sent) error {
	total, err := o.Rows.CountEvents(ctx, w.Organization, asked.Start, asked.End)
	if err != nil {
		return err
	}
	at.Counted = true
	progress, err := Encode(at)
	if err != nil {
		return err
	}
	return o.Steps.Advance(ctx, w, operation.Step{Progress: progress, Total: &total})
}

// Bounds of a part.
const (
	maxEvents     = 1000
	maxDeliveries = 500
	maxBytes      = 16 << 20
)

// collected is a part of the history.
type collected struct {
	deliveries []natsbus.Again
	bytes      int // of their events
	progress   core.Progress
	next       sent
	cut        bool // it ends before the end of what was asked for
	behind     bool // it ends because the live fan-out is not that far
}

// collect reads the next part of the history, and finds what there is to send.
func (o *Operations) collect(ctx context.Context, w *operation.Work, asked Send, at sent) (*collected, error) {
	selected, err := newSelector(asked)
	if err != nil {
		return nil, err
	}
	limit := w.Batch(maxDeliveries)
	part := &collected{next: at}
	floors := make(map[string]uint64) // by lane, up to where the live fan-out is done
	part.progress, err = o.Streams.Walk(ctx, core.History{
		Organization: w.Organization, Start: asked.Start, End: asked.End, After: at.After, MaxEvents: maxEvents,
	}, func(past *natsbus.Past) (more bool, err error) {
		if !selected.has(past.Event) {
			return true, nil
		}
		webhooks, revision := o.match(w.Organization, asked.Webhook, past.Event)
		if past.Sequence == at.Event {
			webhooks = after(webhooks, at.Webhook)
		}
		if len(webhooks) == 0 {
			return true, nil
		}
		if len(part.deliveries) >= limit || part.bytes >= maxBytes {
			part.cut = true
			return false, nil
		}
		if past.Sequence > floors[past.Lane] {
			if floors[past.Lane], err = o.Streams.FannedOut(ctx, past.Lane, past.Sequence); err != nil {
				return false, err
			}
		}
		if past.Sequence > floors[past.Lane] {
			part.cut, part.behind = true, true
			return false, nil
		}
		return part.add(past, webhooks, revision, limit), nil
	})
	if err != nil {
		return nil, err
	}
	part.next.After = part.progress.After
	return part, nil
}

// add takes in the deliveries of an event, as many as there is room for. It reports whether these are all.
func (c *collected) add(past *natsbus.Past, webhooks []string, revision int64, limit int) bool {
	fit := webhooks[:min(len(webhooks), limit-len(c.deliveries))]
	for _, webhook := range fit {
		c.deliveries = append(c.deliveries, natsbus.Again{Past: past, Webhook: webhook, Revision: revision})
	}
	c.bytes += len(past.Event.Raw)
	if len(fit) == len(webhooks) {
		c.next.Event, c.next.Webhook = 0, ""
		return true
	}
	c.next.Event, c.next.Webhook, c.cut = past.Sequence, fit[len(fit)-1], true
	return false
}
