package pgstore_test

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/meetwire/meetwire/pkg/fault"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	"github.com/meetwire/meetwire/services/delivery/internal/pgstore"
)

func TestWrittenRecordIsReadAsItWas(t *testing.T) {
	t.Parallel()
	store, _ := setup(t)
	record := newRecord()
	record.State = deliveryv1.Delivery_STATE_PENDING
	record.NextAttemptTime = timestamppb.New(accepted().Add(5 * time.Second))
	record.Attempt.NextAttemptTime = record.NextAttemptTime
	record.Attempt.StatusCode = 503
	record.Attempt.ResponseTruncated, record.Attempt.RequestTruncated = true, true
	record.Attempt.ErrorClass, record.Attempt.ErrorMessage = "status", "the receiver answered with status 503"
	require.NoError(t, write(t, store, []*deliveryv1.Record{record}))

	got := read(t, store, record)
	requireEqual(t, []*deliveryv1.Delivery{wanted(record)}, []*deliveryv1.Delivery{got.delivery})
	requireEqual(t, []*deliveryv1.Attempt{wantedAttempt(record)}, got.attempts)
}

func TestWritingNothingIsNoError(t *testing.T) {
	t.Parallel()
	store, _ := setup(t)
	require.NoError(t, write(t, store, nil))
}

func TestWritingTheSameAgainChangesNothing(t *testing.T) {
	t.Parallel()
	store, _ := setup(t)
	first := newRecord()
	first.State = deliveryv1.Delivery_STATE_PENDING
	second := next(first, deliveryv1.Delivery_STATE_SUCCEEDED)
	records := []*deliveryv1.Record{first, second}
	for range 2 {
		require.NoError(t, write(t, store, records))
		// A record that was taken twice can also be there twice in one batch.
		require.NoError(t, write(t, store, append(records, records...)))

		got := read(t, store, first)
		requireEqual(t, []*deliveryv1.Delivery{wanted(second)}, []*deliveryv1.Delivery{got.delivery})
		requireEqual(t, []*deliveryv1.Attempt{wantedAttempt(first), wantedAttempt(second)}, got.attempts)
	}
}

// TestOrderOfRecordsDoesNotMatter writes the life of a delivery in several orders and batches.
func TestOrderOfRecordsDoesNotMatter(t *testing.T) {
	t.Parallel()
	store, _ := setup(t)
	for range 10 {
		failed := newRecord()
		failed.State = deliveryv1.Delivery_STATE_PENDING
		failed.NextAttemptTime = timestamppb.New(accepted().Add(time.Minute))
		dead := next(failed, deliveryv1.Delivery_STATE_DEAD_LETTERED)
		dead.NextAttemptTime, dead.Reason = nil, "attempts_exhausted"
		replayed := next(dead, deliveryv1.Delivery_STATE_PENDING)
		replayed.Attempt, replayed.Reason, replayed.AttemptCount = nil, "", 2
		succeeded := next(replayed, deliveryv1.Delivery_STATE_SUCCEEDED)
		succeeded.AttemptCount = 3
		succeeded.Attempt = proto.CloneOf(dead.GetAttempt())
		succeeded.Attempt.Number = 3
		succeeded.Attempt.StartTime = succeeded.Time

		order := []*deliveryv1.Record{failed, dead, replayed, succeeded}
		rand.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		cut := rand.IntN(len(order) + 1)
		require.NoError(t, write(t, store, order[:cut]))
		require.NoError(t, write(t, store, order[cut:]))

		got := read(t, store, failed)
		requireEqual(t, []*deliveryv1.Delivery{wanted(succeeded)}, []*deliveryv1.Delivery{got.delivery})
		requireEqual(t, []*deliveryv1.Attempt{wantedAttempt(failed), wantedAttempt(dead), wantedAttempt(succeeded)}, got.attempts)
	}
}

// TestClocksDoNotDecide has records of workers whose clocks differ by days.
func TestClocksDoNotDecide(t *testing.T) {
	t.Parallel()
	store, _ := setup(t)
	const pending, dead, succeeded = deliveryv1.Delivery_STATE_PENDING, deliveryv1.Delivery_STATE_DEAD_LETTERED, deliveryv1.Delivery_STATE_SUCCEEDED
	record := func(attempts int32, attempted bool, state deliveryv1.Delivery_State) *deliveryv1.Record {
		r := newRecord()
		r.Delivery, r.AttemptCount, r.State = "", attempts, state
		r.Time = timestamppb.New(accepted().AddDate(0, 0, int(-attempts)).Add(rand.N(48 * time.Hour)).Truncate(time.Second))
		if r.Attempt.Number = attempts; !attempted {
			r.Attempt = nil
		}
		return r
	}
	for name, life := range map[string]struct {
		records []*deliveryv1.Record
		last    int // decides
	}{
		"an attempt follows another":                  {[]*deliveryv1.Record{record(1, true, pending), record(2, true, succeeded)}, 1},
		"which is taken in late":                      {[]*deliveryv1.Record{record(2, true, succeeded), record(1, true, pending)}, 0},
		"what follows from an attempt":                {[]*deliveryv1.Record{record(2, true, pending), record(2, false, dead)}, 1},
		"which is taken in late, or twice":            {[]*deliveryv1.Record{record(2, true, pending), record(2, false, dead), record(2, true, pending)}, 1},
		"the end after a worker died with an attempt": {[]*deliveryv1.Record{record(2, true, pending), record(1, false, dead)}, 1},
		"which is replayed":                           {[]*deliveryv1.Record{record(2, true, pending), record(1, false, dead), record(1, false, pending), record(2, true, succeeded)}, 3},
		"an attempt that was made twice":              {[]*deliveryv1.Record{record(2, true, pending), record(2, true, succeeded)}, 1},
		"a replay":                                    {[]*deliveryv1.Record{record(2, true, dead), record(2, false, pending), record(2, false, dead)}, 2},
		"a replay that is recorded after its call":    {[]*deliveryv1.Record{record(2, true, dead), record(3, true, succeeded), record(2, false, pending)}, 1},
	} {
		for _, together := range []bool{true, false} {
			id, attempts := uuid.NewString(), int32(0)
			var all []*deliveryv1.Record
			for _, r := range life.records {
				attempts = max(attempts, r.GetAttemptCount())
				r = proto.CloneOf(r)
				r.Id, r.Delivery = uuid.Must(uuid.NewV7()).String(), id
				all = append(all, r)
			}
			if together {
				require.NoError(t, write(t, store, all))
			} else {
				for _, r := range all {
					require.NoError(t, write(t, store, []*deliveryv1.Record{r}))
				}
			}
			got := read(t, store, all[0]).delivery
			want := all[life.last]
			require.Equal(t, want.GetState(), got.GetState(), name)
			require.Equal(t, attempts, got.GetAttemptCount(), name)
			require.Equal(t, want.GetTime().AsTime(), got.GetUpdateTime().AsTime(), name)
		}
	}
}

func TestEventAcceptedAgainOnTheSameDay(t *testing.T) {
	t.Parallel()
	store, _ := setup(t)
	first := newRecord()
	first.AttemptCount, first.Attempt.Number, first.State = 5, 5, deliveryv1.Delivery_STATE_DEAD_LETTERED
	again := next(first, deliveryv1.Delivery_STATE_SUCCEEDED)
	again.EventSequence, again.AttemptCount, again.Attempt.Number = 99, 1, 1
	again.AcceptTime = timestamppb.New(accepted().Add(time.Microsecond))
	require.NoError(t, write(t, store, []*deliveryv1.Record{first}))
	require.NoError(t, write(t, store, []*deliveryv1.Record{again}))
	require.NoError(t, write(t, store, []*deliveryv1.Record{first}))
	requireEqual(t, []*deliveryv1.Delivery{wanted(again)}, []*deliveryv1.Delivery{read(t, store, first).delivery})
}

func TestOlderRecordAddsItsAttemptOnly(t *testing.T) {
	t.Parallel()
	store, _ := setup(t)
	older := newRecord()
	older.State = deliveryv1.Delivery_STATE_PENDING
	older.NextAttemptTime = timestamppb.New(accepted().Add(time.Minute))
	newer := next(older, deliveryv1.Delivery_STATE_DROPPED)
	newer.NextAttemptTime, newer.Reason = nil, "webhook_deleted"
	for _, record := range []*deliveryv1.Record{newer, older} {
		require.NoError(t, write(t, store, []*deliveryv1.Record{record}))
		got := read(t, store, newer)
		requireEqual(t, []*deliveryv1.Delivery{wanted(newer)}, []*deliveryv1.Delivery{got.delivery})
	}
	require.Len(t, read(t, store, newer).attempts, 2)
}

func TestAnyBytesAndLettersSurvive(t *testing.T) {
	t.Parallel()
	store, _ := setup(t)
	all := make([]byte, 256)
	for i := range all {
		all[i] = byte(i)
	}
	record := newRecord()
	record.EventId = "bk_ü-会议-🗓️-e\u0301-'; DROP TABLE x; --\\"
	record.EventSource = "/büro/%20\"quoted\""
	record.Attempt.RequestBody = all
	record.Attempt.ResponseBody = append([]byte{0, 0xff, 0xfe, 0x80}, all...)
	record.Attempt.ErrorMessage = "ошибка"
	record.Attempt.ResponseHeaders = []*deliveryv1.Header{{Name: "X-Ü", Value: "\u0000\u0001 \"quoted\" \\u0000 会议"}}
	empty := newRecord()
	empty.Attempt.RequestBody, empty.Attempt.ResponseBody = nil, nil
	empty.Attempt.RequestHeaders, empty.Attempt.ResponseHeaders = nil, nil
	require.NoError(t, write(t, store, []*deliveryv1.Record{record, empty}))

	for _, r := range []*deliveryv1.Record{record, empty} {
		got := read(t, store, r)
		requireEqual(t, []*deliveryv1.Delivery{wanted(r)}, []*deliveryv1.Delivery{got.delivery})
		requireEqual(t, []*deliveryv1.Attempt{wantedAttempt(r)}, got.attempts)
	}
	page, _, err := store.Deliveries(newContext(t), "acme", pgstore.Filter{EventID: &record.EventId}, pgstore.FirstDeliveries(), 10)
	require.NoError(t, err)
	requireEqual(t, []*deliveryv1.Delivery{wanted(record)}, page)
}

func TestUnstorableRecordIsRefusedWithItsBatch(t *testing.T) {
	t.Parallel()
	store, _ := setup(t)
	for name, spoil := range map[string]func(*deliveryv1.Record){
		"delivery": func(r *deliveryv1.Record) { r.Delivery = "no-uuid" },
		"webhook":  func(r *deliveryv1.Record) { r.Webhook = "" },
		"attempt":  func(r *deliveryv1.Record) { r.Id = strings.Repeat("z", 36) },
		"text":     func(r *deliveryv1.Record) { r.Reason = "a\x00b" },
		"message":  func(r *deliveryv1.Record) { r.Attempt.ErrorMessage = "a\x00b" },
		"time":     func(r *deliveryv1.Record) { r.Time = nil },
		"accepted": func(r *deliveryv1.Record) { r.AcceptTime = &timestamppb.Timestamp{Seconds: 1 << 60} },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			good, bad := newRecord(), newRecord()
			spoil(bad)
			err := write(t, store, []*deliveryv1.Record{good, bad})
			require.True(t, fault.Is(err, fault.InvalidArgument), "writing it again is of no use: %v", err)
			_, err = store.Delivery(newContext(t), "acme", uuid.MustParse(good.GetDelivery()))
			require.True(t, fault.Is(err, fault.NotFound), "a batch is stored whole or not at all: %v", err)
			require.NoError(t, write(t, store, []*deliveryv1.Record{good}))
		})
	}
}

// TestEventAcceptedAgainOnALaterDay is what happens when a publisher repeats an event after days: the same
// delivery is made again.
func TestEventAcceptedAgainOnALaterDay(t *testing.T) {
	t.Parallel()
	store, _ := setup(t)
	first := newRecord()
	first.State = deliveryv1.Delivery_STATE_DEAD_LETTERED
	again := next(first, deliveryv1.Delivery_STATE_SUCCEEDED)
	again.AcceptTime = timestamppb.New(accepted().AddDate(0, 0, 2))
	again.EventSequence = 99
	require.NoError(t, write(t, store, []*deliveryv1.Record{first}))
	require.NoError(t, write(t, store, []*deliveryv1.Record{again}))

	got := read(t, store, first)
	requireEqual(t, []*deliveryv1.Delivery{wanted(again)}, []*deliveryv1.Delivery{got.delivery})
	requireEqual(t, []*deliveryv1.Attempt{wantedAttempt(again)}, got.attempts)
}
