package pgstore

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/google/uuid"

	"github.com/meetwire/meetwire/pkg/pg"
	"github.com/meetwire/meetwire/services/ingest/internal/core"
	"github.com/meetwire/meetwire/services/ingest/internal/pgstore/sqlcgen"
)

// Filter selects events; what is nil, or a zero time, selects all.
type Filter struct {
	Trigger *string
	Source  *string
	ID      *string
	Subject *string
	From    time.Time // stored at this time or later
	Before  time.Time // stored before this time
}

// Cursor is where a page of events ended; zero is before the first page.
type Cursor struct {
	Time     time.Time `json:"t"`
	Sequence int64     `json:"s"`
}

// endOfTime is after everything that was ever stored.
func endOfTime() time.Time { return time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC) }

// begin returns where the first page begins.
func (f Filter) begin() Cursor {
	if f.Before.IsZero() {
		return Cursor{Time: endOfTime(), Sequence: math.MaxInt64}
	}
	return Cursor{Time: f.Before, Sequence: 0}
}

// Event returns what is known of one event of an organization. Errors: fault.NotFound, fault.Unavailable.
func (s *Store) Event(ctx context.Context, organization string, sequence int64) (core.Indexed, error) {
	row, err := sqlcgen.New(s.pool).GetEvent(ctx, sqlcgen.GetEventParams{Sequence: sequence, Organization: organization})
	if err != nil {
		return core.Indexed{}, pg.Fault(err)
	}
	return indexed(row), nil
}

// Events returns a page of events of an organization, the newest first, and where it ended. Errors: fault.Unavailable.
func (s *Store) Events(ctx context.Context, organization string, filter Filter, after Cursor, size int) ([]core.Indexed, Cursor, error) {
	if after == (Cursor{}) {
		after = filter.begin()
	}
	rows, err := s.events(ctx, organization, filter, after, int32(size)) //nolint:gosec // G115: a page
	if err != nil {
		return nil, after, pg.Fault(fmt.Errorf("list events: %w", err))
	}
	page := make([]core.Indexed, len(rows))
	for i, row := range rows {
		page[i] = indexed(row)
		after = Cursor{Time: row.AcceptTime.UTC(), Sequence: row.Sequence}
	}
	return page, after, nil
}

// events asks by the attribute that selects the fewest.
func (s *Store) events(ctx context.Context, organization string, f Filter, after Cursor, size int32) ([]sqlcgen.IngestEvent, error) {
	q := sqlcgen.New(s.pool)
	switch {
	case f.ID != nil:
		return q.ListEventsByID(ctx, sqlcgen.ListEventsByIDParams{
			Organization: organization, ID: *f.ID, Trigger: f.Trigger, Source: f.Source, Subject: f.Subject,
			BeforeTime: after.Time, BeforeSequence: after.Sequence, FromTime: f.From, PageSize: size,
		})
	case f.Subject != nil:
		return q.ListEventsBySubject(ctx, sqlcgen.ListEventsBySubjectParams{
			Organization: organization, Subject: *f.Subject, Trigger: f.Trigger, Source: f.Source,
			BeforeTime: after.Time, BeforeSequence: after.Sequence, FromTime: f.From, PageSize: size,
		})
	case f.Trigger != nil && f.Source != nil:
		return q.ListEventsByTriggerAndSource(ctx, sqlcgen.ListEventsByTriggerAndSourceParams{
			Organization: organization, Trigger: *f.Trigger, Source: *f.Source,
			BeforeTime: after.Time, BeforeSequence: after.Sequence, FromTime: f.From, PageSize: size,
		})
	case f.Trigger != nil:
		return q.ListEventsByTrigger(ctx, sqlcgen.ListEventsByTriggerParams{
			Organization: organization, Trigger: *f.Trigger,
			BeforeTime: after.Time, BeforeSequence: after.Sequence, FromTime: f.From, PageSize: size,
		})
	case f.Source != nil:
		return q.ListEventsBySource(ctx, sqlcgen.ListEventsBySourceParams{
			Organization: organization, Source: *f.Source,
			BeforeTime: after.Time, BeforeSequence: after.Sequence, FromTime: f.From, PageSize: size,
		})
	}
	return q.ListEvents(ctx, sqlcgen.ListEventsParams{
		Organization: organization, BeforeTime: after.Time, BeforeSequence: after.Sequence, FromTime: f.From, PageSize: size,
	})
}

// Matching returns how events have matched a webhook of an organization. Errors: fault.NotFound when nothing is known,
// fault.Unavailable.
func (s *Store) Matching(ctx context.Context, organization string, webhook uuid.UUID) (core.Matching, error) {
	row, err := sqlcgen.New(s.pool).GetMatching(ctx, sqlcgen.GetMatchingParams{Webhook: webhook, Organization: organization})
	if err != nil {
		return core.Matching{}, pg.Fault(err)
	}
	return core.Matching{
		Generation:        row.Generation,
		SkippedSince:      utc(row.SkippedSince),
		Skipped:           row.SkippedCount,
		FilterFailures:    row.FilterFailureCount,
		LastFilterFailure: utc(row.LastFailureTime),
		LastFilterError:   row.LastFilterError,
	}, nil
}

func indexed(row sqlcgen.IngestEvent) core.Indexed {
	return core.Indexed{
		Sequence:     uint64(row.Sequence), //nolint:gosec // G115: a sequence of JetStream
		Organization: row.Organization,
		Trigger:      row.Trigger,
		Source:       row.Source,
		ID:           row.ID,
		Subject:      row.Subject,
		Time:         utc(row.Time),
		Accepted:     row.AcceptTime.UTC(),
		Matched:      row.MatchedCount,
		Skipped:      row.SkippedCount,
		RejectRule:   row.RejectRule,
		Erased:       utc(row.EraseTime),
	}
}

// utc returns a time that may be missing, then zero.
func utc(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.UTC()
}
