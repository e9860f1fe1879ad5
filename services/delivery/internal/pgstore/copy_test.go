package pgstore_test

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/pgtest"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
	"github.com/meetwire/meetwire/services/delivery/internal/pgstore"
)

// statements remembers what was sent to Postgres.
type statements struct {
	mu  sync.Mutex
	all []string
}

func (s *statements) TraceQueryStart(ctx context.Context, _ *pgx.Conn, data pgx.TraceQueryStartData) context.Context {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, data.SQL)
	return ctx
}

func (s *statements) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// take reports whether deliveries and attempts were inserted since it was asked last.
func (s *statements) take() (deliveries, attempts bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := strings.Join(s.all, "\n")
	s.all = nil
	return strings.Contains(all, "INSERT INTO delivery.delivery AS"), strings.Contains(all, "INSERT INTO delivery.attempt (")
}

// has reports whether something was sent since take was called.
func (s *statements) has(part string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Contains(strings.Join(s.all, "\n"), part)
}

// traced returns a store of which it is known what it sends.
func traced(t *testing.T) (*pgstore.Store, *pgxpool.Pool, *statements) {
	t.Helper()
	config := pgtest.Database(t, "delivery", pgstore.Migrate).Config()
	sent := new(statements)
	config.ConnConfig.Tracer = sent
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	return pgstore.New(pool), pool, sent
}

// careful makes a store compare the next batches with what is there.
func careful(t *testing.T, store *pgstore.Store) {
	t.Helper()
	twice := newRecord()
	for range 2 {
		require.NoError(t, write(t, store, []*deliveryv1.Record{twice}))
	}
}

func TestNewRowsAreCopied(t *testing.T) {
	t.Parallel()
	store, _, sent := traced(t)
	ordinary := func() (copied bool) {
		t.Helper()
		require.NoError(t, write(t, store, []*deliveryv1.Record{newRecord(), newRecord()}))
		deliveries, attempts := sent.take()
		require.Equal(t, deliveries, attempts)
		return !deliveries
	}
	require.True(t, ordinary())
	first := newRecord()
	require.NoError(t, write(t, store, []*deliveryv1.Record{first}))
	sent.take()
	// Only the delivery is there.
	require.NoError(t, write(t, store, []*deliveryv1.Record{newRecord(), next(first, deliveryv1.Delivery_STATE_PENDING)}))
	deliveries, attempts := sent.take()
	require.True(t, deliveries)
	require.False(t, attempts)

	require.NoError(t, write(t, store, []*deliveryv1.Record{newRecord(), first}))
	deliveries, attempts = sent.take()
	require.True(t, deliveries)
	require.True(t, attempts)
	batches := 0
	for !ordinary() {
		batches++
		require.Less(t, batches, 50, "it never dares again")
	}
	require.Positive(t, batches, "what was there once may be followed by more that is")
}

func TestDeliveryThatWasPutOffIsCopiedOnce(t *testing.T) {
	t.Parallel()
	store, _, sent := traced(t)
	waiting := newRecord()
	waiting.State, waiting.Attempt, waiting.AttemptCount = deliveryv1.Delivery_STATE_PENDING, nil, 0
	require.NoError(t, write(t, store, []*deliveryv1.Record{newRecord(), waiting}))
	deliveries, _ := sent.take()
	require.False(t, deliveries, "nothing has told of it before")
	requireEqual(t, []*deliveryv1.Delivery{wanted(waiting)}, []*deliveryv1.Delivery{read(t, store, waiting).delivery})

	first := proto.CloneOf(waiting)
	first.Id, first.State, first.Known, first.AttemptCount, first.Attempt = uuid.NewString(), deliveryv1.Delivery_STATE_SUCCEEDED, true, 1, newRecord().GetAttempt()
	sent.take()
	require.NoError(t, write(t, store, []*deliveryv1.Record{newRecord(), first}))
	deliveries, attempts := sent.take()
	require.True(t, deliveries)
	require.False(t, attempts)
	requireEqual(t, []*deliveryv1.Delivery{wanted(first)}, []*deliveryv1.Delivery{read(t, store, first).delivery})

	sent.take()
	require.NoError(t, write(t, store, []*deliveryv1.Record{newRecord()}))
	deliveries, _ = sent.take()
	require.False(t, deliveries, "nothing was found that nobody knew of")
}

// oddities are records with values of all kinds.
func oddities() []*deliveryv1.Record {
	large := newRecord()
	large.Attempt.RequestBody = bytes.Repeat([]byte("0123456789abcdef\x00"), 1<<16)
	large.Attempt.ResponseBody = bytes.Repeat([]byte{0xff}, 1<<16)
	early := newRecord()
	early.AcceptTime = timestamppb.New(time.Date(1999, 12, 31, 23, 59, 59, 999999000, time.UTC))
	early.Attempt.StartTime = timestamppb.New(time.Date(1969, 7, 20, 20, 17, 40, 123456000, time.UTC))
	early.EventSequence, early.Attempt.Duration = -1<<40, durationpb.New(-time.Nanosecond)
	waiting := newRecord()
	waiting.State, waiting.NextAttemptTime = deliveryv1.Delivery_STATE_PENDING, timestamppb.New(accepted().Add(time.Hour))
	waiting.Attempt.NextAttemptTime, waiting.Attempt.StatusCode, waiting.Attempt.ErrorClass = waiting.NextAttemptTime, 503, core.ErrorStatus
	waiting.Attempt.RequestTruncated, waiting.Attempt.ResponseTruncated = true, true
	waiting.Attempt.ConnectDuration, waiting.Attempt.TlsDuration = durationpb.New(1), durationpb.New(2)
	waiting.Attempt.FirstByteDuration = durationpb.New(1 << 40)
	bare := newRecord()
	bare.Attempt = &deliveryv1.Attempt{Number: 1, StartTime: bare.GetTime(), Duration: durationpb.New(0), DnsDuration: durationpb.New(1)}
	bare.EventSource, bare.EventId, bare.Trigger = "", "会议🗓️\t", "custom.ü"
	dropped := newRecord()
	dropped.State, dropped.Reason, dropped.Attempt, dropped.AttemptCount = deliveryv1.Delivery_STATE_DROPPED, "erased", nil, 0
	return []*deliveryv1.Record{large, early, waiting, bare, dropped}
}

func TestCopiedRowsAreAsInsertedOnes(t *testing.T) {
	t.Parallel()
	for name, prepare := range map[string]func(*testing.T, *pgstore.Store){
		"copied": func(*testing.T, *pgstore.Store) {}, "inserted": careful,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			store, _, sent := traced(t)
			prepare(t, store)
			sent.take()
			records := oddities()
			require.NoError(t, write(t, store, records))
			_, inserted := sent.take()
			require.Equal(t, name == "inserted", inserted)
			for _, record := range records {
				got := read(t, store, record)
				requireEqual(t, []*deliveryv1.Delivery{wanted(record)}, []*deliveryv1.Delivery{got.delivery})
				if record.GetAttempt() == nil {
					require.Empty(t, got.attempts)
					continue
				}
				requireEqual(t, []*deliveryv1.Attempt{wantedAttempt(record)}, got.attempts)
			}
		})
	}
}

// TestWhatComesTwiceCountsOnce writes attempts again: in later batches, in their own, and among new ones.
func TestWhatComesTwiceCountsOnce(t *testing.T) {
	t.Parallel()
	store, _ := setup(t)
	ctx, webhook := newContext(t), uuid.New()
	began := accepted().Add(20 * time.Millisecond)
	failure := func() *deliveryv1.Record { return took(webhook, began, time.Second, core.ErrorTimeout) }
	count := 0
	requireCounts := func(added int) {
		t.Helper()
		count += added
		hours, err := store.Statistics(ctx, "acme", webhook, began.Add(-time.Hour), began.Add(time.Hour))
		require.NoError(t, err)
		require.Len(t, hours, 1)
		require.EqualValues(t, count, hours[0].GetAttemptCount())
		health, err := store.Health(ctx, "acme", webhook)
		require.NoError(t, err)
		require.EqualValues(t, count, health.ConsecutiveFailures)
	}
	position, err := store.Lease(ctx, holder(), accepted(), time.Hour)
	require.NoError(t, err)
	take := func(records ...*deliveryv1.Record) {
		t.Helper()
		batch := batch(position, records)
		batch.Threshold = func(*deliveryv1.Record) (core.Threshold, bool) { return core.Threshold{Consecutive: 1000}, true }
		require.NoError(t, store.Write(ctx, batch, time.Hour))
		position++
	}
	a, b, c, d := failure(), failure(), failure(), failure()
	take(a, b, a)
	requireCounts(2)
	take(c, a, d, b, c)
	requireCounts(2)
	for range 12 { // until new ones are copied again
		take(failure(), failure())
		requireCounts(2)
	}
	take(a, b, c, d)
	requireCounts(0)
	again := failure()
	take(d, again)
	requireCounts(1)
	for _, record := range []*deliveryv1.Record{a, b, c, d, again} {
		got := read(t, store, record)
		requireEqual(t, []*deliveryv1.Attempt{wantedAttempt(record)}, got.attempts)
		requireEqual(t, []*deliveryv1.Delivery{wanted(record)}, []*deliveryv1.Delivery{got.delivery})
	}
}

func TestLivesOfDeliveriesInOneBatch(t *testing.T) {
	t.Parallel()
	store, _, sent := traced(t)
	failed := newRecord()
	failed.State, failed.NextAttemptTime = deliveryv1.Delivery_STATE_PENDING, timestamppb.New(accepted().Add(time.Minute))
	succeeded := next(failed, deliveryv1.Delivery_STATE_SUCCEEDED)
	succeeded.NextAttemptTime = nil
	late := newRecord()
	late.State = deliveryv1.Delivery_STATE_PENDING
	later := next(late, deliveryv1.Delivery_STATE_SUCCEEDED)
	require.NoError(t, write(t, store, []*deliveryv1.Record{failed, later, succeeded, late}))
	_, inserted := sent.take()
	require.False(t, inserted)
	requireLife := func(records ...*deliveryv1.Record) {
		t.Helper()
		got := read(t, store, records[0])
		requireEqual(t, []*deliveryv1.Delivery{wanted(records[len(records)-1])}, []*deliveryv1.Delivery{got.delivery})
		attempts := make([]*deliveryv1.Attempt, len(records))
		for i, record := range records {
			attempts[i] = wantedAttempt(record)
		}
		requireEqual(t, attempts, got.attempts)
	}
	requireLife(failed, succeeded)
	requireLife(late, later)

	// All of a batch may go on what has begun earlier.
	third, fourth := next(succeeded, deliveryv1.Delivery_STATE_PENDING), next(later, deliveryv1.Delivery_STATE_DEAD_LETTERED)
	fourth.Reason = core.ReasonAttemptsExhausted
	require.NoError(t, write(t, store, []*deliveryv1.Record{fourth, third}))
	deliveries, inserted := sent.take()
	require.True(t, deliveries)
	require.False(t, inserted)
	requireLife(failed, succeeded, third)
	requireLife(late, later, fourth)
}

// TestFirstAttemptOfADeliveryThatIsKnown is what a replay does to a dead letter for a webhook that was disabled.
func TestFirstAttemptOfADeliveryThatIsKnown(t *testing.T) {
	t.Parallel()
	store, _ := setup(t)
	first := newRecord()
	dead := next(first, deliveryv1.Delivery_STATE_DEAD_LETTERED)
	dead.Attempt, dead.AttemptCount, dead.Reason = nil, 0, core.ReasonAttemptsExhausted
	require.NoError(t, write(t, store, []*deliveryv1.Record{dead}))
	other := newRecord()
	require.NoError(t, write(t, store, []*deliveryv1.Record{other, first}))
	for _, record := range []*deliveryv1.Record{first, other} {
		got := read(t, store, record)
		requireEqual(t, []*deliveryv1.Delivery{wanted(record)}, []*deliveryv1.Delivery{got.delivery})
		requireEqual(t, []*deliveryv1.Attempt{wantedAttempt(record)}, got.attempts)
	}
}

func TestRecordInTheMiddleThatCannotBeStored(t *testing.T) {
	t.Parallel()
	store, _ := setup(t)
	for name, spoil := range map[string]func(*deliveryv1.Record){
		"delivery": func(r *deliveryv1.Record) { r.EventId = "a\x00b" },
		"attempt":  func(r *deliveryv1.Record) { r.Attempt.RequestUrl = "https://example.com/\xff" },
	} {
		records := make([]*deliveryv1.Record, 301)
		for i := range records {
			records[i] = newRecord()
			records[i].Attempt.RequestBody = bytes.Repeat([]byte("x"), 4096)
		}
		spoil(records[150])
		err := write(t, store, records)
		require.True(t, fault.Is(err, fault.InvalidArgument), "%s: %v", name, err)
		_, err = store.Delivery(newContext(t), "acme", uuid.MustParse(records[0].GetDelivery()))
		require.True(t, fault.Is(err, fault.NotFound), "%s: %v", name, err)
		require.NoError(t, write(t, store, records[:150]))
		require.NoError(t, write(t, store, records[151:]))
	}
}

// TestCopyIntoADayThatWasDropped writes for a day of which the store believes that it has partitions.
func TestCopyIntoADayThatWasDropped(t *testing.T) {
	t.Parallel()
	store, pool, sent := traced(t)
	require.NoError(t, write(t, store, []*deliveryv1.Record{newRecord()}))
	other := pgstore.New(pool)
	_, err := other.Maintain(newContext(t), accepted().AddDate(0, 0, 2), accepted().AddDate(0, 0, 1))
	require.NoError(t, err)
	sent.take()
	record := newRecord()
	require.NoError(t, write(t, store, []*deliveryv1.Record{record, newRecord()}))
	_, inserted := sent.take()
	require.False(t, inserted)
	requireEqual(t, []*deliveryv1.Attempt{wantedAttempt(record)}, read(t, store, record).attempts)
}
