package pgstore_test

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/timestamppb"

	ingestv1 "github.com/meetwire/meetwire/proto/gen/meetwire/ingest/v1"
	"github.com/meetwire/meetwire/services/ingest/internal/pgstore"
)

// partitions returns the names of all partitions of events, sorted.
func partitions(t *testing.T, pool *pgxpool.Pool) []string {
	t.Helper()
	rows, err := pool.Query(newContext(t), `SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
		WHERE i.inhparent IN ('ingest.event'::regclass, 'ingest.event_part'::regclass) ORDER BY 1`)
	require.NoError(t, err)
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	return names
}

// storedAt returns a note of an event that was stored at a time.
func storedAt(sequence int64, at time.Time) *ingestv1.FanOut {
	return with(newNote(sequence), func(n *ingestv1.FanOut) { n.AcceptTime = timestamppb.New(at) })
}

func TestMigrateTwiceChangesNothing(t *testing.T) {
	t.Parallel()
	store, pool := setup(t)
	write(t, store, newNote(1))
	before := partitions(t, pool)
	require.NoError(t, pgstore.Migrate(newContext(t), pool))
	require.Equal(t, before, partitions(t, pool))
	require.Equal(t, []uint64{1}, list(t, store, "acme", pgstore.Filter{}))
}

func TestMaintainPreparesTheComingWeek(t *testing.T) {
	t.Parallel()
	store, pool := setup(t)
	// Late in the evening of the 28th in New York it is the 1st in UTC.
	now := time.Date(2027, 2, 28, 22, 0, 0, 0, time.FixedZone("EST", -5*3600))
	for range 2 {
		dropped, err := store.Maintain(newContext(t), now, now.AddDate(0, 0, -30))
		require.NoError(t, err)
		require.Zero(t, dropped)
	}
	require.Equal(t, []string{
		"event_20270301", "event_20270302", "event_20270303", "event_20270304",
		"event_20270305", "event_20270306", "event_20270307", "event_20270308",
		"event_part_20270301", "event_part_20270302", "event_part_20270303", "event_part_20270304",
		"event_part_20270305", "event_part_20270306", "event_part_20270307", "event_part_20270308",
	}, partitions(t, pool))
}

func TestDaysAreThoseOfUTC(t *testing.T) {
	t.Parallel()
	store, pool := setup(t)
	write(t, store, storedAt(1, time.Date(2024, 2, 29, 0, 0, 0, 0, time.UTC)),
		storedAt(2, time.Date(2024, 2, 29, 23, 59, 59, 999999999, time.UTC)), storedAt(3, time.Date(2024, 3, 1, 0, 0, 0, 0, time.UTC)))
	require.Equal(t, []string{"event_20240229", "event_20240301", "event_part_20240229", "event_part_20240301"}, partitions(t, pool))
	require.Equal(t, []uint64{3, 2, 1}, list(t, store, "acme", pgstore.Filter{}))
}

func TestMaintainDropsWhatIsTooOld(t *testing.T) {
	t.Parallel()
	store, pool := setup(t)
	now := accepted()
	old := storedAt(2, now.AddDate(0, 0, -31))
	write(t, store, storedAt(1, now.AddDate(-1, 0, 0)), old, storedAt(3, now.AddDate(0, 0, -30).Add(-23*time.Hour)), storedAt(4, now))
	dropped, err := store.Maintain(newContext(t), now, now.AddDate(0, 0, -30))
	require.NoError(t, err)
	require.Equal(t, 4, dropped, "both tables of two days")
	require.Equal(t, []uint64{4, 3}, list(t, store, "acme", pgstore.Filter{}))
	// What is heard of late is stored again, until the next time, also by who has not dropped it.
	require.Equal(t, 1, write(t, store, old))
	dropped, err = pgstore.New(pool).Maintain(newContext(t), now, now.AddDate(0, 0, -30))
	require.NoError(t, err)
	require.Equal(t, 2, dropped)
	require.Equal(t, 1, write(t, store, old))
	require.Equal(t, []uint64{4, 3, 2}, list(t, store, "acme", pgstore.Filter{}))
}
