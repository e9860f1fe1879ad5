package pgstore

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/meetwire/meetwire/pkg/pg"
	"github.com/meetwire/meetwire/services/ingest/internal/pgstore/sqlcgen"
)

// CountEvents counts the events of an organization that were stored in a time range. Errors: fault.Unavailable.
func (s *Store) CountEvents(ctx context.Context, organization string, from, before time.Time) (int64, error) {
	n, err := sqlcgen.New(s.pool).CountEvents(ctx, sqlcgen.CountEventsParams{
		Organization: organization, FromTime: from.UTC(), BeforeTime: before.UTC(),
	})
	if err != nil {
		return 0, pg.Fault(fmt.Errorf("count events: %w", err))
	}
	return n, nil
}

// Selection is which events are to be erased: those of one of its parts.
type Selection struct {
	Sequences []int64 `json:"sequences,omitempty"` // and whatever else was stored of the same source and id
	ID        string  `json:"event_id,omitempty"`
	Subject   string  `json:"subject,omitempty"`
}

// FindEvents returns a page of the sequences of selected events of an organization that are not erased yet, in their
// order, between two others: after the first, up to the second. Errors: fault.Unavailable.
func (s *Store) FindEvents(ctx context.Context, organization string, selected Selection, after, until int64, size int) ([]int64, error) {
	q := sqlcgen.New(s.pool)
	limit := int32(size) //nolint:gosec // G115: a page
	var found []int64
	var err error
	switch {
	case selected.ID != "":
		found, err = q.FindEventsByID(ctx, sqlcgen.FindEventsByIDParams{
			Organization: organization, ID: selected.ID, After: after, Until: until, PageSize: limit,
		})
	case selected.Subject != "":
		found, err = q.FindEventsBySubject(ctx, sqlcgen.FindEventsBySubjectParams{
			Organization: organization, Subject: selected.Subject, After: after, Until: until, PageSize: limit,
		})
	default:
		found, err = q.FindNamedEvents(ctx, sqlcgen.FindNamedEventsParams{
			Organization: organization, Sequences: selected.Sequences, After: after, Until: until, PageSize: limit,
		})
	}
	if err != nil {
		return nil, pg.Fault(fmt.Errorf("find events: %w", err))
	}
	return found, nil
}

// ForgetFilterErrors removes why filters of an organization's webhooks could not tell. Errors: fault.Unavailable.
func (s *Store) ForgetFilterErrors(ctx context.Context, organization string) error {
	if err := sqlcgen.New(s.pool).ForgetFilterErrors(ctx, organization); err != nil {
		return pg.Fault(fmt.Errorf("forget why filters could not tell: %w", err))
	}
	return nil
}

// ForgetSubject removes, in a transaction, the subject that an erasure was asked for from what is kept of that. Errors:
// fault.Unavailable.
func (s *Store) ForgetSubject(ctx context.Context, tx pgx.Tx, operation uuid.UUID) error {
	if err := sqlcgen.New(tx).ForgetSubject(ctx, operation); err != nil {
		return pg.Fault(fmt.Errorf("forget the subject of an erasure: %w", err))
	}
	return nil
}
