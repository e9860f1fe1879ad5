package operations

import (
	"context"
	"encoding/json"
	"fmt"

	"google.golang.org/protobuf/types/known/timestamppb"

	ingestv1 "github.com/meetwire/meetwire/proto/gen/meetwire/ingest/v1"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
)

// resumeProgress says up to which event a webhook has got what it has missed.
type resumeProgress struct {
	AfterSequence int64 `json:"after_sequence,omitempty"`
}

// resumeWebhook lets ingest send one more part of what a webhook has missed.
func (r *Runner) resumeWebhook(ctx context.Context, w *core.Work) (bool, error) {
	var progress resumeProgress
	if err := load(w, &progress); err != nil {
		return false, err
	}
	if !w.Parameters.EndTime.After(w.Parameters.StartTime) {
		return true, nil // nothing can have happened
	}
	part, err := call(ctx, func(ctx context.Context, req *ingestv1.FanOutHistoryRequest) (*ingestv1.FanOutHistoryResponse, error) {
		return r.cfg.Ingest.FanOutHistory(ctx, req)
	}, &ingestv1.FanOutHistoryRequest{
		Organization: w.Parameters.Organization, Webhook: w.Parameters.Webhook,
		StartTime: timestamppb.New(w.Parameters.StartTime), EndTime: timestamppb.New(w.Parameters.EndTime),
		AfterSequence: progress.AfterSequence, Revision: w.Parameters.Revision,
	}, "send what a webhook has missed")
	if err != nil {
		return false, err
	}
	progress.AfterSequence = max(progress.AfterSequence, part.GetAfterSequence())
	step := core.Step{Processed: int64(part.GetEventCount()), Affected: int64(part.GetMatchedCount())}
	return part.GetDone(), r.advance(ctx, w, progress, step)
}

// load reads where an operation goes on.
func load(w *core.Work, progress any) error {
	if err := json.Unmarshal(w.Progress, progress); err != nil {
		return fmt.Errorf("read the progress of operation %s: %w", w.ID, err)
	}
	return nil
}

// advance stores where an operation goes on, and what was done until there.
func (r *Runner) advance(ctx context.Context, w *core.Work, progress any, step core.Step) error {
	if err := save(&step, progress); err != nil {
		return err
	}
	if err := r.cfg.Store.AdvanceOperation(ctx, *w, step); err != nil {
		return err
	}
	w.Progress = step.Progress
	return nil
}

// save puts where an operation goes on into a step.
func save(step *core.Step, progress any) (err error) {
	if step.Progress, err = json.Marshal(progress); err != nil {
		return fmt.Errorf("write the progress of an operation: %w", err)
	}
	return nil
}
