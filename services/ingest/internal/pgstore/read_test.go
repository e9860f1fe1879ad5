package pgstore_test

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/timestamppb"

	ingestv1 "github.com/meetwire/meetwire/proto/gen/meetwire/ingest/v1"
	"github.com/meetwire/meetwire/services/ingest/internal/pgstore"
)

func TestEventsAreListedNewestFirst(t *testing.T) {
	t.Parallel()
	store, _ := setup(t)
	var notes []*ingestv1.FanOut
	for sequence := range int64(40) {
		notes = append(notes, with(newNote(sequence+1), func(n *ingestv1.FanOut) {
			n.AcceptTime = timestamppb.New(accepted().Add(time.Duration(sequence/2) * time.Hour)) // two at a time, over days
			n.Trigger = []string{"meeting.booked", "meeting.canceled"}[sequence%2]
			n.Source = []string{"/a", "/b"}[sequence/2%2]
			n.Id = fmt.Sprint("id", sequence%4)
			n.Subject = []string{"", "x", "y"}[sequence%3]
		}))
	}
	beta := with(newNote(99), func(n *ingestv1.FanOut) { n.Organization = "beta" })
	write(t, store, append(notes, beta)...)

	// want is what a loop over all finds.
	want := func(selects func(*ingestv1.FanOut) bool) []uint64 {
		found := []uint64{}
		for _, note := range slices.Backward(notes) {
			if selects(note) {
				found = append(found, uint64(note.GetEventSequence()))
			}
		}
		return found
	}
	text := func(s string) *string { return &s }
	from, before := accepted().Add(3*time.Hour).Truncate(time.Microsecond), accepted().Add(9*time.Hour).Truncate(time.Microsecond)
	for name, c := range map[string]struct {
		filter  pgstore.Filter
		selects func(*ingestv1.FanOut) bool
	}{
		"all":     {pgstore.Filter{}, func(*ingestv1.FanOut) bool { return true }},
		"trigger": {pgstore.Filter{Trigger: text("meeting.canceled")}, func(n *ingestv1.FanOut) bool { return n.GetTrigger() == "meeting.canceled" }},
		"source":  {pgstore.Filter{Source: text("/b")}, func(n *ingestv1.FanOut) bool { return n.GetSource() == "/b" }},
		"id":      {pgstore.Filter{ID: text("id3")}, func(n *ingestv1.FanOut) bool { return n.GetId() == "id3" }},
		"subject": {pgstore.Filter{Subject: text("x")}, func(n *ingestv1.FanOut) bool { return n.GetSubject() == "x" }},
		"none":    {pgstore.Filter{Subject: text("z")}, func(*ingestv1.FanOut) bool { return false }},
		"trigger and source": {pgstore.Filter{Trigger: text("meeting.booked"), Source: text("/a")}, func(n *ingestv1.FanOut) bool {
			return n.GetTrigger() == "meeting.booked" && n.GetSource() == "/a"
		}},
		"everything": {pgstore.Filter{ID: text("id0"), Subject: text("x"), Trigger: text("meeting.booked"), Source: text("/a"), From: from}, func(n *ingestv1.FanOut) bool {
			return n.GetId() == "id0" && n.GetSubject() == "x" && n.GetTrigger() == "meeting.booked" && n.GetSource() == "/a" && !n.GetAcceptTime().AsTime().Before(from)
		}},
		"time": {pgstore.Filter{From: from, Before: before}, func(n *ingestv1.FanOut) bool {
			at := n.GetAcceptTime().AsTime().Truncate(time.Microsecond)
			return !at.Before(from) && at.Before(before)
		}},
		"subject in a time": {pgstore.Filter{Subject: text("x"), Source: text("/a"), From: from, Before: before}, func(n *ingestv1.FanOut) bool {
			at := n.GetAcceptTime().AsTime().Truncate(time.Microsecond)
			return n.GetSubject() == "x" && n.GetSource() == "/a" && !at.Before(from) && at.Before(before)
		}},
	} {
		require.Equal(t, want(c.selects), list(t, store, "acme", c.filter), name)
		// A page ends where the next one begins, wherever that is.
		for _, size := range []int{1, 3} {
			paged, after := []uint64{}, pgstore.Cursor{}
			for {
				page, end, err := store.Events(newContext(t), "acme", c.filter, after, size)
				require.NoError(t, err)
				paged, after = append(paged, sequences(page)...), end
				if len(page) < size {
					break
				}
			}
			require.Equal(t, want(c.selects), paged, "%s, %d at a time", name, size)
		}
	}
}

// fill stores many events of one organization: of the last 20 days, every thousandth with a subject that nobody else has.
func fill(t *testing.T, pool *pgxpool.Pool, store *pgstore.Store, n int) {
	t.Helper()
	ctx := newContext(t)
	_, err := store.Maintain(ctx, accepted(), accepted().AddDate(0, 0, -30))
	require.NoError(t, err)
	for day := range 21 {
		_, err := pool.Exec(ctx, "SELECT ingest.ensure_day($1)", accepted().AddDate(0, 0, -day))
		require.NoError(t, err)
	}
	_, err = pool.Exec(ctx, `INSERT INTO ingest.event (accept_time, sequence, organization, trigger, source, id, subject, matched_count, skipped_count, reject_rule)
		SELECT $1::timestamptz - (($2::int - i) * interval '20 days' / $2::int), i, 'acme', 'meeting.booked', '/booking', 'id' || i,
			CASE WHEN i % 1000 = 0 THEN 'rare' || i ELSE 'mtg' || i % 100 END, 1, 0, '' FROM generate_series(1, $2::int) AS i`, accepted(), n)
	require.NoError(t, err)
	_, err = pool.Exec(ctx, "ANALYZE ingest.event")
	require.NoError(t, err)
}

// TestPagesAreReadFromAnIndex looks at the plans: a page must cost the same however many events there are. It asserts how
// many rows are looked at, not how long that takes.
func TestPagesAreReadFromAnIndex(t *testing.T) {
	t.Parallel()
	store, pool := setup(t)
	const events = 30_000
	fill(t, pool, store, events)
	text := func(s string) *string { return &s }
	middle := accepted().AddDate(0, 0, -10).Add(11 * time.Hour)
	for name, filter := range map[string]pgstore.Filter{
		"all": {}, "in the middle": {From: middle.Add(-time.Hour), Before: middle},
		"trigger": {Trigger: text("meeting.booked")}, "no such trigger": {Trigger: text("meeting.canceled")},
		"source": {Source: text("/booking")}, "no such source": {Source: text("/other")},
		"id": {ID: text("id77")}, "subject": {Subject: text("mtg7")}, "rare subject": {Subject: text("rare2000")},
		"subject before": {Subject: text("mtg7"), Before: middle},
	} {
		read, err := readRows(t, pool, func(pool *pgxpool.Pool) error {
			// More often than Postgres plans for each call: what it does then must be as good.
			for range 8 {
				if _, _, err := pgstore.New(pool).Events(newContext(t), "acme", filter, pgstore.Cursor{}, 50); err != nil {
					return err
				}
			}
			return nil
		})
		require.NoError(t, err)
		require.LessOrEqual(t, read, int64(8*(50+50)), "rows that were looked at: %s", name)
	}
}

// readRows returns how many rows of events were fetched from tables while something is done on one connection.
func readRows(t *testing.T, pool *pgxpool.Pool, do func(*pgxpool.Pool) error) (int64, error) {
	t.Helper()
	config := pool.Config()
	config.MaxConns = 1
	one, err := pgxpool.NewWithConfig(newContext(t), config)
	require.NoError(t, err)
	defer one.Close()
	count := func() (n int64) {
		// Of this connection's own transaction, so that what other tests do does not count.
		_, err := one.Exec(newContext(t), "SELECT pg_stat_force_next_flush()")
		require.NoError(t, err)
		_, err = one.Exec(newContext(t), "SELECT pg_stat_clear_snapshot()")
		require.NoError(t, err)
		require.NoError(t, one.QueryRow(newContext(t), `SELECT coalesce(sum(seq_tup_read + coalesce(idx_tup_fetch, 0)), 0)::bigint
			FROM pg_stat_user_tables WHERE schemaname = 'ingest'`).Scan(&n))
		return n
	}
	before := count()
	err = do(one)
	return count() - before, err
}

// Only what the time range covers is looked at.
func TestPartitionsOfOtherDaysAreLeftAlone(t *testing.T) {
	t.Parallel()
	store, pool := setup(t)
	fill(t, pool, store, 5000)
	rows, err := pool.Query(newContext(t), `EXPLAIN (ANALYZE, COSTS OFF, TIMING OFF) SELECT * FROM ingest.event WHERE organization = 'acme'
		AND accept_time <= $1 AND accept_time >= $2 ORDER BY accept_time DESC, sequence DESC LIMIT 50`,
		accepted().AddDate(0, 0, -9), accepted().AddDate(0, 0, -10))
	require.NoError(t, err)
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	plan := strings.Join(lines, "\n")
	require.NotContains(t, plan, "Sort", plan)
	require.Len(t, regexp.MustCompile(`Index Scan.* on event_\d+`).FindAllString(plan, -1), 2, plan)
}
