package pgstore_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/meetwire/meetwire/pkg/pgtest"
	ingestv1 "github.com/meetwire/meetwire/proto/gen/meetwire/ingest/v1"
	"github.com/meetwire/meetwire/services/ingest/internal/core"
	"github.com/meetwire/meetwire/services/ingest/internal/pgstore"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// setup returns a store over an empty database.
func setup(t *testing.T) (*pgstore.Store, *pgxpool.Pool) {
	t.Helper()
	pool := pgtest.Database(t, "ingest", pgstore.Migrate)
	return pgstore.New(pool), pool
}

// newContext bounds what a test waits for.
func newContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// accepted is when the first event of the tests was stored: a moment before the end of a day.
func accepted() time.Time { return time.Date(2026, 3, 14, 23, 59, 58, 123456789, time.UTC) }

// newNote returns what became of an event, which was stored so many seconds after the first.
func newNote(sequence int64) *ingestv1.FanOut {
	return &ingestv1.FanOut{
		EventSequence: sequence,
		Organization:  "acme",
		Trigger:       "meeting.booked",
		Source:        "/booking",
		Id:            "bk_1",
		Subject:       "mtg_1",
		Time:          timestamppb.New(accepted().Add(-time.Hour)),
		AcceptTime:    timestamppb.New(accepted().Add(time.Duration(sequence) * time.Second)),
		MatchedCount:  3,
	}
}

// with returns the same after a change.
func with(note *ingestv1.FanOut, change func(*ingestv1.FanOut)) *ingestv1.FanOut {
	change(note)
	return note
}

func write(t *testing.T, store *pgstore.Store, notes ...*ingestv1.FanOut) int {
	t.Helper()
	inserted, err := store.Write(newContext(t), notes)
	require.NoError(t, err)
	return inserted
}

// list returns the sequences of all events of an organization that a filter selects.
func list(t *testing.T, store *pgstore.Store, organization string, filter pgstore.Filter) []uint64 {
	t.Helper()
	page, _, err := store.Events(newContext(t), organization, filter, pgstore.Cursor{}, 1000)
	require.NoError(t, err)
	return sequences(page)
}

func sequences(page []core.Indexed) []uint64 {
	all := make([]uint64, len(page))
	for i, event := range page {
		all[i] = event.Sequence
	}
	return all
}

func requireMatching(t *testing.T, store *pgstore.Store, webhook uuid.UUID, want core.Matching) {
	t.Helper()
	got, err := store.Matching(newContext(t), "acme", webhook)
	require.NoError(t, err)
	require.Equal(t, want, got)
}
