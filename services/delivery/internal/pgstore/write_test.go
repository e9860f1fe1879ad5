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
	record.Attempt.ResponseTruncated = true
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
	record.Attempt.ResponseHeaders = []*deliveryv1.Header{{Name: "X-Ü", Value: "\u0001 \"quoted\" \\u0000 会议"}}
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
		"header":   func(r *deliveryv1.Record) { r.Attempt.ResponseHeaders[0].Value = "a\x00b" },
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
