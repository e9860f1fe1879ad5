package grpcapi_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/fault"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	"github.com/meetwire/meetwire/services/delivery/internal/grpcapi"
	"github.com/meetwire/meetwire/services/delivery/internal/natsbus"
	"github.com/meetwire/meetwire/services/delivery/internal/pgstore"
)

// fakeKnown knows of deliveries, and remembers what was erased.
type fakeKnown struct {
	until   time.Time
	waiting map[string]int
	known   map[uuid.UUID]pgstore.Known
	err     error // of Erase

	organization string
	erased       []string // by whom, in order
}

func (k *fakeKnown) Look(_ context.Context, organization string, _ []string, _ natsbus.Recorded) (time.Time, map[string]int, error) {
	k.organization = organization
	return k.until, k.waiting, nil
}

func (k *fakeKnown) CountDeliveries(_ context.Context, organization string, sequence int64) (pgstore.Counts, error) {
	k.organization = organization
	return pgstore.Counts{Pending: sequence, Succeeded: 2, DeadLettered: 3, Dropped: 4}, nil
}

func (k *fakeKnown) FindDeliveries(context.Context, string, []uuid.UUID) (map[uuid.UUID]pgstore.Known, error) {
	return k.known, nil
}

func (*fakeKnown) Recorded(context.Context, time.Time) (uint64, error) { return 0, nil }

func (k *fakeKnown) EraseAttempts(context.Context, string, []int64) (int64, error) {
	k.erased = append(k.erased, "rows")
	return 5, nil
}

func (k *fakeKnown) Erase(context.Context, string, []int64) (natsbus.Erasure, error) {
	k.erased = append(k.erased, "messages")
	return natsbus.Erasure{Messages: 3, Dropped: 2}, k.err
}

func (k *fakeKnown) api(since time.Time) *grpcapi.Internal {
	return &grpcapi.Internal{Ledger: k, Waiting: k, Eraser: k, KeptSince: func(string) time.Time { return since }}
}

func TestFoundDeliveriesAreWhatIsRecordedAndWhatWaits(t *testing.T) {
	t.Parallel()
	ids := make([]uuid.UUID, 5)
	for i := range ids {
		ids[i] = uuid.New()
	}
	until := time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC)
	k := &fakeKnown{
		until: until,
		known: map[uuid.UUID]pgstore.Known{
			ids[0]: {State: deliveryv1.Delivery_STATE_SUCCEEDED, Attempts: 2},
			ids[1]: {State: deliveryv1.Delivery_STATE_DEAD_LETTERED, Attempts: 3},
			ids[2]: {State: deliveryv1.Delivery_STATE_SUCCEEDED, Attempts: 1},
		},
		waiting: map[string]int{ids[1].String(): 4, ids[2].String(): 0, ids[3].String(): 1},
	}
	request := &deliveryv1.FindDeliveriesRequest{Organization: "acme"}
	for _, id := range ids {
		request.Deliveries = append(request.Deliveries, id.String())
	}
	got, err := k.api(until.Add(-time.Hour)).FindDeliveries(t.Context(), request)
	require.NoError(t, err)
	require.Equal(t, "acme", k.organization)
	require.Equal(t, until, got.GetRecordedUntil().AsTime())
	require.Equal(t, until.Add(-time.Hour), got.GetKeptSince().AsTime())
	type state struct {
		state    deliveryv1.Delivery_State
		attempts int32
	}
	states := make(map[string]state)
	for _, one := range got.GetDeliveries() {
		states[one.GetDelivery()] = state{deliveryv1.Delivery_State(one.GetState()), one.GetAttemptCount()}
	}
	require.Equal(t, map[string]state{
		ids[0].String(): {deliveryv1.Delivery_STATE_SUCCEEDED, 2},
		ids[1].String(): {deliveryv1.Delivery_STATE_PENDING, 4},
		ids[2].String(): {deliveryv1.Delivery_STATE_SUCCEEDED, 1},
		ids[3].String(): {deliveryv1.Delivery_STATE_PENDING, 1},
	}, states)

	request.Deliveries = []string{"no-uuid"}
	_, err = k.api(until).FindDeliveries(t.Context(), request)
	requireInvalid(t, err, "deliveries", request)
	request.Organization = "a.b"
	_, err = k.api(until).FindDeliveries(t.Context(), request)
	requireInvalid(t, err, "organization", request)
}

func TestDeliveriesAreCounted(t *testing.T) {
	t.Parallel()
	k := &fakeKnown{}
	got, err := k.api(time.Time{}).CountDeliveries(t.Context(), &deliveryv1.CountDeliveriesRequest{Organization: "acme", EventSequence: 1})
	require.NoError(t, err)
	require.Equal(t, []int32{1, 2, 3, 4}, []int32{got.GetPendingCount(), got.GetSucceededCount(), got.GetDeadLetteredCount(), got.GetDroppedCount()})
	_, err = k.api(time.Time{}).CountDeliveries(t.Context(), &deliveryv1.CountDeliveriesRequest{Organization: ">", EventSequence: 1})
	requireInvalid(t, err, "organization", ">")
}

func TestStreamsAreErasedBeforeRows(t *testing.T) {
	t.Parallel()
	k := &fakeKnown{}
	request := &deliveryv1.EraseEventsRequest{Organization: "acme", EventSequences: []int64{7}}
	got, err := k.api(time.Time{}).EraseEvents(t.Context(), request)
	require.NoError(t, err)
	require.Equal(t, []string{"messages", "rows"}, k.erased)
	require.Equal(t, []int64{3, 2, 5}, []int64{got.GetMessageCount(), got.GetDroppedCount(), got.GetRowCount()})

	k = &fakeKnown{err: fault.Wrap(fault.Unavailable, "AWAY", errors.New("away"), "away")}
	_, err = k.api(time.Time{}).EraseEvents(t.Context(), request)
	require.True(t, fault.Is(err, fault.Unavailable))
	require.Equal(t, []string{"messages"}, k.erased)
	_, err = k.api(time.Time{}).EraseEvents(t.Context(), &deliveryv1.EraseEventsRequest{Organization: "acme"})
	requireInvalid(t, err, "event_sequences", request)
	_, err = k.api(time.Time{}).EraseEvents(t.Context(), &deliveryv1.EraseEventsRequest{Organization: "*", EventSequences: []int64{1}})
	requireInvalid(t, err, "organization", request)
}
