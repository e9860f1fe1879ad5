package pgstore_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/meetwire/meetwire/pkg/pgtest"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
	"github.com/meetwire/meetwire/services/delivery/internal/pgstore"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

// setup returns a store over an empty database.
func setup(t *testing.T) (*pgstore.Store, *pgxpool.Pool) {
	t.Helper()
	pool := pgtest.Database(t, "delivery", pgstore.Migrate)
	return pgstore.New(pool), pool
}

// newContext bounds what a test waits for.
func newContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// accepted is when the events of the tests were stored, unless they say otherwise.
func accepted() time.Time { return time.Date(2026, 3, 14, 23, 59, 59, 123456000, time.UTC) }

// newRecord returns a record of a new delivery that succeeds with its first attempt.
func newRecord() *deliveryv1.Record {
	began := accepted().Add(20 * time.Millisecond)
	return &deliveryv1.Record{
		Id:            uuid.Must(uuid.NewV7()).String(),
		Time:          timestamppb.New(began.Add(time.Second)),
		Organization:  "acme",
		Delivery:      uuid.NewString(),
		Webhook:       uuid.NewString(),
		Trigger:       "meeting.booked",
		EventSource:   "/booking",
		EventId:       "bk_1",
		EventSequence: 7,

		WebhookGeneration: 1,
		AcceptTime:        timestamppb.New(accepted()),
		AttemptCount:      1,
		State:             deliveryv1.Delivery_STATE_SUCCEEDED,
		Attempt: &deliveryv1.Attempt{
			Number:          1,
			StartTime:       timestamppb.New(began),
			Duration:        durationpb.New(123456789 * time.Nanosecond),
			RequestUrl:      "https://example.com/hook",
			RequestHeaders:  []*deliveryv1.Header{{Name: "webhook-id", Value: "1"}, {Name: "content-type", Value: "application/json"}},
			RequestBody:     []byte(`{"a":1}`),
			StatusCode:      200,
			ResponseHeaders: []*deliveryv1.Header{{Name: "Set-Cookie", Value: "b"}, {Name: "Set-Cookie", Value: "a"}},
			ResponseBody:    []byte("ok"),
			DnsDuration:     durationpb.New(time.Millisecond),
			RemoteAddress:   "192.0.2.1:443",
		},
	}
}

// holder is the instance that records in the tests.
func holder() uuid.UUID { return uuid.MustParse("99999999-9999-4999-8999-999999999999") }

// batch is one that follows a position. Every attempt counts, for a webhook that is disabled at the third failure.
func batch(position uint64, records []*deliveryv1.Record) pgstore.Batch {
	return pgstore.Batch{
		Holder: holder(), Before: position, Position: position + 1, Records: records, Now: accepted(),
		Threshold: func(*deliveryv1.Record) (core.Threshold, bool) { return core.Threshold{Consecutive: 3}, true },
		Counted:   func(*deliveryv1.Record) bool { return true },
	}
}

// write stores records as the next ones of the stream.
func write(t *testing.T, store *pgstore.Store, records []*deliveryv1.Record) error {
	t.Helper()
	return writeWith(newContext(t), store, records)
}

func writeWith(ctx context.Context, store *pgstore.Store, records []*deliveryv1.Record) error {
	for {
		position, err := store.Lease(ctx, holder(), accepted(), time.Hour)
		if err != nil {
			return err
		}
		// Several tests may write to one store.
		if err := store.Write(ctx, batch(position, records), time.Hour); !errors.Is(err, pgstore.ErrLeaseLost) {
			return err
		}
	}
}

// next returns a record of the same delivery a minute later, with the given state and an attempt of its own.
func next(record *deliveryv1.Record, state deliveryv1.Delivery_State) *deliveryv1.Record {
	later := proto.CloneOf(record)
	later.Id = uuid.Must(uuid.NewV7()).String()
	later.Time = timestamppb.New(record.GetTime().AsTime().Add(time.Minute))
	later.State = state
	if later.Attempt != nil {
		later.AttemptCount++
		later.Attempt.Number++
		later.Attempt.StartTime = timestamppb.New(record.GetAttempt().GetStartTime().AsTime().Add(time.Minute))
	}
	return later
}

// stored is what became of a delivery.
type stored struct {
	delivery *deliveryv1.Delivery
	attempts []*deliveryv1.Attempt
}

// read returns the delivery that a record is about, with all its attempts.
func read(t *testing.T, store *pgstore.Store, record *deliveryv1.Record) stored {
	t.Helper()
	id := uuid.MustParse(record.GetDelivery())
	delivery, err := store.Delivery(newContext(t), record.GetOrganization(), id)
	require.NoError(t, err)
	attempts, _, err := store.Attempts(newContext(t), record.GetOrganization(), id, pgstore.AttemptCursor{}, 1000)
	require.NoError(t, err)
	return stored{delivery: delivery, attempts: attempts}
}

// requireEqual compares messages, or lists of them, by what they say.
func requireEqual[M proto.Message](t *testing.T, want, got []M) {
	t.Helper()
	require.Len(t, got, len(want))
	for i := range want {
		require.True(t, proto.Equal(want[i], got[i]), "want %v\ngot  %v", want[i], got[i])
	}
}

// wanted is the delivery that a record describes.
func wanted(record *deliveryv1.Record) *deliveryv1.Delivery {
	prefix := "organizations/" + record.GetOrganization()
	return &deliveryv1.Delivery{
		Name:            prefix + "/deliveries/" + record.GetDelivery(),
		Webhook:         prefix + "/webhooks/" + record.GetWebhook(),
		Trigger:         record.GetTrigger(),
		EventSource:     record.GetEventSource(),
		EventId:         record.GetEventId(),
		EventSequence:   record.GetEventSequence(),
		State:           record.GetState(),
		Reason:          record.GetReason(),
		AttemptCount:    record.GetAttemptCount(),
		AcceptTime:      record.GetAcceptTime(),
		UpdateTime:      record.GetTime(),
		NextAttemptTime: record.GetNextAttemptTime(),
		LastStatusCode:  record.GetAttempt().GetStatusCode(),
		LastErrorClass:  record.GetAttempt().GetErrorClass(),
	}
}

// wantedAttempt is the attempt that a record describes.
func wantedAttempt(record *deliveryv1.Record) *deliveryv1.Attempt {
	attempt := proto.CloneOf(record.GetAttempt())
	attempt.Name = wanted(record).GetName() + "/attempts/" + record.GetId()
	attempt.Webhook, attempt.Trigger, attempt.EventId = wanted(record).GetWebhook(), record.GetTrigger(), record.GetEventId()
	return attempt
}
