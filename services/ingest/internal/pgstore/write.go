package pgstore

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/pg"
	ingestv1 "github.com/meetwire/meetwire/proto/gen/meetwire/ingest/v1"
	"github.com/meetwire/meetwire/services/ingest/internal/pgstore/sqlcgen"
)

// Write stores what became of events, all of it or nothing. What is stored already changes nothing, so the same call may
// be made again. It returns how many events are new. Errors: fault.InvalidArgument when one of them can never be stored;
// after any other the same call may succeed.
func (s *Store) Write(ctx context.Context, notes []*ingestv1.FanOut) (inserted int, err error) {
	w, err := newWriting(notes)
	if err != nil {
		return 0, err
	}
	days := w.days
	if err := s.days.Ensure(ctx, days...); err != nil {
		return 0, err
	}
	w.days = nil
	err = pg.InTx(ctx, s.pool, pgx.TxOptions{}, w.do)
	if pg.NoPartition(err) {
		// A day that is past its time was dropped since, by this process or by another.
		s.days.Forget(days)
		w.days = days
		err = pg.InTx(ctx, s.pool, pgx.TxOptions{}, w.do)
	}
	return w.inserted, pg.Fault(err)
}

// noteKey identifies a part of what became of an event.
type noteKey struct {
	sequence int64
	accepted time.Time // as Postgres keeps it
	part     int32
}

// writing is what became of events, on its way into the tables.
type writing struct {
	notes  map[noteKey]*ingestv1.FanOut
	events sqlcgen.InsertEventsParams
	parts  sqlcgen.InsertPartsParams
	// days are those whose partitions are made in the transaction: they cannot be dropped until it ends.
	days     []time.Time
	inserted int
}

// newWriting turns notes into the columns of the tables. The order is the same in every process, or two that write the
// same notes would wait for each other.
func newWriting(notes []*ingestv1.FanOut) (*writing, error) {
	w := &writing{notes: make(map[noteKey]*ingestv1.FanOut, len(notes))}
	var keys []noteKey
	for _, note := range notes {
		if note.GetEventSequence() < 1 || note.GetPart() < 0 {
			return nil, invalidNote("it is about no event")
		}
		if err := note.GetAcceptTime().CheckValid(); err != nil {
			return nil, invalidNote("the time of acceptance is none")
		}
		key := noteKey{note.GetEventSequence(), note.GetAcceptTime().AsTime().Truncate(time.Microsecond), note.GetPart()}
		if w.notes[key] == nil {
			keys = append(keys, key)
		}
		w.notes[key] = note
	}
	slices.SortFunc(keys, func(a, b noteKey) int {
		return cmp.Or(cmp.Compare(a.sequence, b.sequence), a.accepted.Compare(b.accepted), cmp.Compare(a.part, b.part))
	})
	for _, key := range keys {
		if d := pg.Day(key.accepted); !slices.Contains(w.days, d) {
			w.days = append(w.days, d)
		}
		if key.part > 0 {
			w.parts.Sequence, w.parts.AcceptTime, w.parts.Part = append(w.parts.Sequence, key.sequence), append(w.parts.AcceptTime, key.accepted), append(w.parts.Part, key.part)
			continue
		}
		appendEvent(&w.events, key, w.notes[key])
	}
	return w, nil
}

func invalidNote(what string) error {
	return fault.New(fault.InvalidArgument, "INVALID_NOTE", "what became of an event cannot be stored: %s", what)
}

func appendEvent(e *sqlcgen.InsertEventsParams, key noteKey, note *ingestv1.FanOut) {
	e.Sequence = append(e.Sequence, key.sequence)
	e.AcceptTime = append(e.AcceptTime, key.accepted)
	e.Organization = append(e.Organization, clean(note.GetOrganization()))
	e.Trigger = append(e.Trigger, clean(note.GetTrigger()))
	e.Source = append(e.Source, clean(note.GetSource()))
	e.ID = append(e.ID, clean(note.GetId()))
	e.Subject = append(e.Subject, clean(note.GetSubject()))
	at := time.Time{}
	if note.GetTime().IsValid() {
		at = note.GetTime().AsTime()
	}
	e.Time = append(e.Time, at)
	e.MatchedCount = append(e.MatchedCount, note.GetMatchedCount())
	e.SkippedCount = append(e.SkippedCount, note.GetSkippedCount())
	e.RejectRule = append(e.RejectRule, clean(note.GetRejectRule()))
}

// maxText bounds texts in bytes: an index refuses what is much longer. Attributes have at most 256 characters, so this is
// for what was rejected.
const maxText = 1024

// clean returns text that Postgres takes.
func clean(text string) string {
	if len(text) > maxText {
		text = text[:maxText]
	}
	return strings.ReplaceAll(strings.ToValidUTF8(text, ""), "\x00", "\uFFFD")
}

func (w *writing) do(ctx context.Context, tx pgx.Tx) error {
	q := sqlcgen.New(tx)
	for _, d := range w.days {
		if err := q.EnsureDay(ctx, d); err != nil {
			return fmt.Errorf("make the partitions of a day: %w", err)
		}
	}
	var fresh []noteKey
	if len(w.events.Sequence) > 0 {
		rows, err := q.InsertEvents(ctx, w.events)
		if err != nil {
			return fmt.Errorf("store events: %w", err)
		}
		w.inserted = len(rows)
		for _, row := range rows {
			fresh = append(fresh, noteKey{row.Sequence, row.AcceptTime.UTC(), 0})
		}
	}
	if len(w.parts.Sequence) > 0 {
		rows, err := q.InsertParts(ctx, w.parts)
		if err != nil {
			return fmt.Errorf("store parts of notes: %w", err)
		}
		for _, row := range rows {
			fresh = append(fresh, noteKey{row.Sequence, row.AcceptTime.UTC(), row.Part})
		}
	}
	params, err := w.matching(fresh)
	if err != nil || len(params.Webhook) == 0 {
		return err
	}
	if err := q.AddMatching(ctx, params); err != nil {
		return fmt.Errorf("count what webhooks missed: %w", err)
	}
	return nil
}

// matching is what is added for one webhook.
type matching struct {
	webhook      uuid.UUID
	organization string
	generation   int64
	since        time.Time
	skipped      int64
	failures     int64
	lastFailure  time.Time
	lastError    string
}

// matching sums up what notes that have not been counted before say of webhooks, in the order of their ids.
func (w *writing) matching(fresh []noteKey) (params sqlcgen.AddMatchingParams, err error) {
	sums := make(map[uuid.UUID]*matching)
	sum := func(id, organization string) (*matching, error) {
		webhook, err := uuid.Parse(id)
		if err != nil {
			return nil, invalidNote("the id of a webhook is no UUID")
		}
		m := sums[webhook]
		if m == nil {
			m = &matching{webhook: webhook, organization: organization}
			sums[webhook] = m
		}
		return m, nil
	}
	for _, key := range fresh {
		note := w.notes[key]
		for _, skip := range note.GetSkips() {
			m, err := sum(skip.GetWebhook(), note.GetOrganization())
			if err != nil {
				return params, err
			}
			m.skip(skip.GetGeneration(), key.accepted)
		}
		for _, failure := range note.GetFilterFailures() {
			m, err := sum(failure.GetWebhook(), note.GetOrganization())
			if err != nil {
				return params, err
			}
			m.fail(key.accepted, clean(failure.GetError()))
		}
	}
	all := make([]*matching, 0, len(sums))
	for _, m := range sums {
		all = append(all, m)
	}
	slices.SortFunc(all, func(a, b *matching) int { return bytes.Compare(a.webhook[:], b.webhook[:]) })
	for _, m := range all {
		params.Webhook, params.Organization = append(params.Webhook, m.webhook), append(params.Organization, m.organization)
		params.Generation, params.SkippedSince = append(params.Generation, m.generation), append(params.SkippedSince, m.since)
		params.SkippedCount, params.FilterFailureCount = append(params.SkippedCount, m.skipped), append(params.FilterFailureCount, m.failures)
		params.LastFailureTime, params.LastFilterError = append(params.LastFailureTime, m.lastFailure), append(params.LastFilterError, m.lastError)
	}
	return params, nil
}

// skip counts an event that was missed. What was missed in an earlier generation does not count any more.
func (m *matching) skip(generation int64, accepted time.Time) {
	switch {
	case m.skipped == 0 || generation > m.generation:
		m.generation, m.since, m.skipped = generation, accepted, 1
	case generation == m.generation:
		m.skipped++
		if accepted.Before(m.since) {
			m.since = accepted
		}
	}
}

// fail counts an event of which a filter could not tell.
func (m *matching) fail(accepted time.Time, why string) {
	m.failures++
	if !accepted.Before(m.lastFailure) {
		m.lastFailure, m.lastError = accepted, why
	}
}
