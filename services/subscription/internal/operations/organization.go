package operations

import (
	"context"
	"time"

	"github.com/meetwire/meetwire/pkg/operation"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	ingestv1 "github.com/meetwire/meetwire/proto/gen/meetwire/ingest/v1"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
)

// removeBatch is how many rows are removed in one transaction.
const removeBatch = 1000

// organizationStore removes what is left of an organization that was deleted.
type organizationStore interface {
	// RemoveAnnouncements removes what is still to be announced or sent for an organization, and stops its other
	// operations: from then on nothing new of it comes into a stream. It stores the progress of the operation with it.
	// core.ErrTaken when the lease is lost.
	RemoveAnnouncements(ctx context.Context, w core.Work, progress []byte) error
	// RemoveOrganizationRows removes at most limit rows of an organization that was deleted, and stores the progress
	// of the operation with it. It returns how many; 0 when nothing but the organization's slug is left.
	// core.ErrTaken when the lease is lost.
	RemoveOrganizationRows(ctx context.Context, w core.Work, limit int) (int64, error)
	// ForgetOrganization removes what the change feed has from before the organization was deleted. Watchers that are
	// further behind begin anew. core.ErrTaken when the lease is lost.
	ForgetOrganization(ctx context.Context, w core.Work) error
}

// The parts of the deletion of an organization. What was under way when it was deleted, in instances that had not heard
// of it yet or in an attempt that took long, may leave something behind after the first removal: there is a second one.
const (
	deleteAnnouncements  = ""
	deleteEvents         = "events"
	deleteDeliveries     = "deliveries"
	deleteRows           = "rows"
	deleteLastEvents     = "last_events"
	deleteLastDeliveries = "last_deliveries"
	deleteLastRows       = "last_rows"
)

// defaultSettle is after how long nothing of an organization is under way any more: an attempt takes at most 30 s.
const defaultSettle = 40 * time.Second

// deleteProgress says which part is next.
type deleteProgress struct {
	Part string `json:"part,omitempty"`
}

// deleteOrganization removes one more part of what is left of an organization.
func (r *Runner) deleteOrganization(ctx context.Context, w *core.Work) (bool, error) {
	var progress deleteProgress
	if err := load(w, &progress); err != nil {
		return false, err
	}
	switch progress.Part {
	case deleteAnnouncements:
		return false, r.removeAnnouncements(ctx, w)
	case deleteEvents:
		return false, r.purgeEvents(ctx, w, deleteDeliveries)
	case deleteDeliveries:
		return false, r.purgeDeliveries(ctx, w, deleteRows)
	case deleteRows:
		removed, err := r.cfg.Store.RemoveOrganizationRows(ctx, *w, removeBatch)
		if err != nil || removed > 0 {
			return false, err
		}
		return false, r.advance(ctx, w, deleteProgress{Part: deleteLastEvents}, core.Step{})
	case deleteLastEvents:
		if wait := w.CreateTime.Add(r.cfg.Settle).Sub(r.cfg.Now()); wait > 0 {
			return false, operation.Later(wait)
		}
		return false, r.purgeEvents(ctx, w, deleteLastDeliveries)
	case deleteLastDeliveries:
		return false, r.purgeDeliveries(ctx, w, deleteLastRows)
	default:
		removed, err := r.cfg.Store.RemoveOrganizationRows(ctx, *w, removeBatch)
		if err != nil || removed > 0 {
			return false, err
		}
		return true, r.cfg.Store.ForgetOrganization(ctx, *w) // by now all watchers have heard of the deletion
	}
}

func (r *Runner) removeAnnouncements(ctx context.Context, w *core.Work) error {
	var step core.Step
	if err := save(&step, deleteProgress{Part: deleteEvents}); err != nil {
		return err
	}
	if err := r.cfg.Store.RemoveAnnouncements(ctx, *w, step.Progress); err != nil {
		return err
	}
	w.Progress = step.Progress
	return nil
}

// purgeEvents lets ingest remove what it has of the organization.
func (r *Runner) purgeEvents(ctx context.Context, w *core.Work, next string) error {
	answer, err := call(ctx, func(ctx context.Context, req *ingestv1.PurgeOrganizationRequest) (*ingestv1.PurgeOrganizationResponse, error) {
		return r.cfg.Ingest.PurgeOrganization(ctx, req)
	}, &ingestv1.PurgeOrganizationRequest{
		Organization: w.Parameters.Organization, Revision: w.Parameters.Revision,
	}, "remove the events of an organization")
	if err != nil {
		return err
	}
	removed := answer.GetMessageCount()
	return r.advance(ctx, w, deleteProgress{Part: next}, core.Step{Processed: removed, Affected: removed})
}

// purgeDeliveries lets delivery do the same.
func (r *Runner) purgeDeliveries(ctx context.Context, w *core.Work, next string) error {
	answer, err := call(ctx, func(ctx context.Context, req *deliveryv1.PurgeOrganizationRequest) (*deliveryv1.PurgeOrganizationResponse, error) {
		return r.cfg.Delivery.PurgeOrganization(ctx, req)
	}, &deliveryv1.PurgeOrganizationRequest{
		Organization: w.Parameters.Organization, Revision: w.Parameters.Revision,
	}, "remove the deliveries of an organization")
	if err != nil {
		return err
	}
	removed := answer.GetMessageCount() + answer.GetRowCount()
	return r.advance(ctx, w, deleteProgress{Part: next}, core.Step{Processed: removed, Affected: removed})
}
