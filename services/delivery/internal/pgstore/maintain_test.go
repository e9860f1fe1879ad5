package pgstore_test

import (
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/meetwire/meetwire/pkg/fault"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	"github.com/meetwire/meetwire/services/delivery/internal/pgstore"
)

// partitions returns the names of all partitions, sorted.
func partitions(t *testing.T, pool *pgxpool.Pool) []string {
	t.Helper()
	rows, err := pool.Query(newContext(t), `SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
		WHERE i.inhparent IN ('delivery.delivery'::regclass, 'delivery.attempt'::regclass) ORDER BY 1`)
	require.NoError(t, err)
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	return names
}

// acceptedOn returns a record of an event that was stored at a time.
func acceptedOn(at time.Time) *deliveryv1.Record {
	record := newRecord()
	record.AcceptTime = timestamppb.New(at)
	return record
}

func TestMigrateTwiceChangesNothing(t *testing.T) {
	t.Parallel()
	store, pool := setup(t)
	require.NoError(t, write(t, store, []*deliveryv1.Record{newRecord()}))
	before := partitions(t, pool)
	require.NoError(t, pgstore.Migrate(newContext(t), pool))
	require.Equal(t, before, partitions(t, pool))
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
		"attempt_20270301", "attempt_20270302", "attempt_20270303", "attempt_20270304",
		"attempt_20270305", "attempt_20270306", "attempt_20270307", "attempt_20270308",
		"delivery_20270301", "delivery_20270302", "delivery_20270303", "delivery_20270304",
		"delivery_20270305", "delivery_20270306", "delivery_20270307", "delivery_20270308",
	}, partitions(t, pool))
}

func TestWriteMakesThePartitionsThatItNeeds(t *testing.T) {
	t.Parallel()
	store, pool := setup(t)
	records := []*deliveryv1.Record{
		acceptedOn(time.Date(2024, 2, 29, 0, 0, 0, 0, time.UTC)),
		acceptedOn(time.Date(2024, 2, 29, 23, 59, 59, 999999999, time.UTC)),
		acceptedOn(time.Date(2024, 3, 1, 0, 0, 0, 0, time.UTC)),
		acceptedOn(time.Date(2031, 12, 31, 12, 0, 0, 0, time.UTC)),
	}
	require.NoError(t, write(t, store, records))
	require.Equal(t, []string{
		"attempt_20240229", "attempt_20240301", "attempt_20311231",
		"delivery_20240229", "delivery_20240301", "delivery_20311231",
	}, partitions(t, pool))
	for _, record := range records {
		require.Len(t, read(t, store, record).attempts, 1)
	}
}

// An event that is accepted again after days makes the same delivery again.
func TestOneDeliveryOnTwoDaysInABatch(t *testing.T) {
	t.Parallel()
	store, _ := setup(t)
	first := acceptedOn(accepted().AddDate(0, 0, -3))
	again := next(first, deliveryv1.Delivery_STATE_SUCCEEDED)
	again.AcceptTime = timestamppb.New(accepted())
	require.NoError(t, write(t, store, []*deliveryv1.Record{first, again}))
	require.Len(t, read(t, store, again).attempts, 1, "of the later day")
}

func TestMaintainDropsWhatIsTooOld(t *testing.T) {
	t.Parallel()
	store, _ := setup(t)
	now := accepted()
	old := acceptedOn(now.AddDate(0, 0, -31))
	oldest := acceptedOn(now.AddDate(-1, 0, 0))
	kept := acceptedOn(now.AddDate(0, 0, -30).Add(-23 * time.Hour)) // on the day that is kept, before the time of day
	today := acceptedOn(now)
	require.NoError(t, write(t, store, []*deliveryv1.Record{old, oldest, kept, today}))

	dropped, err := store.Maintain(newContext(t), now, now.AddDate(0, 0, -30))
	require.NoError(t, err)
	require.Equal(t, 6, dropped, "three tables of two days")
	for _, record := range []*deliveryv1.Record{old, oldest} {
		_, err := store.Delivery(newContext(t), "acme", uuid.MustParse(record.GetDelivery()))
		require.True(t, fault.Is(err, fault.NotFound), "%v", err)
	}
	for _, record := range []*deliveryv1.Record{kept, today} {
		require.Len(t, read(t, store, record).attempts, 1)
	}
	// A record of a day that is gone is stored again, until the next time.
	require.NoError(t, write(t, store, []*deliveryv1.Record{old}))
	require.Len(t, read(t, store, old).attempts, 1)
}

func TestPartitionDroppedByAnotherProcessIsMadeAgain(t *testing.T) {
	t.Parallel()
	store, pool := setup(t)
	other := pgstore.New(pool)
	first, second := acceptedOn(accepted()), acceptedOn(accepted())
	require.NoError(t, write(t, store, []*deliveryv1.Record{first}))
	dropped, err := other.Maintain(newContext(t), accepted().AddDate(0, 0, 31), accepted().AddDate(0, 0, 1))
	require.NoError(t, err)
	require.Equal(t, 3, dropped)
	require.NoError(t, write(t, store, []*deliveryv1.Record{second}))
	require.Len(t, read(t, store, second).attempts, 1)
}

// TestWritersAndMaintenanceAtOnce has two processes write to days that others are dropping.
func TestWritersAndMaintenanceAtOnce(t *testing.T) {
	t.Parallel()
	store, pool := setup(t)
	other := pgstore.New(pool)
	ctx := newContext(t)
	now := accepted()
	const rounds = 8
	var group sync.WaitGroup
	errs := make(chan error, 8*rounds)
	keep := make(chan *deliveryv1.Record, 4*rounds)
	for worker := range 4 {
		s := []*pgstore.Store{store, other}[worker%2]
		group.Go(func() {
			for round := range rounds {
				old, recent := acceptedOn(now.AddDate(0, 0, -40-round%3)), acceptedOn(now.AddDate(0, 0, round%3))
				errs <- writeWith(ctx, s, []*deliveryv1.Record{old, recent})
				keep <- recent
			}
		})
		group.Go(func() {
			for range rounds {
				_, err := s.Maintain(ctx, now, now.AddDate(0, 0, -30))
				errs <- err
			}
		})
	}
	group.Wait()
	close(errs)
	close(keep)
	for err := range errs {
		require.NoError(t, err)
	}
	for record := range keep {
		require.Len(t, read(t, store, record).attempts, 1)
	}
	_, err := store.Maintain(ctx, now, now.AddDate(0, 0, -30))
	require.NoError(t, err)
	require.Len(t, partitions(t, pool), 2*8, "only the days from today on are left")
}
