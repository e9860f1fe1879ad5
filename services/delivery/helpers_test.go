package delivery_test

import (
	"maps"
	"strconv"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/meetwire/meetwire/pkg/bus"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
)

// call makes the clients of the API.
func (i *installation) call(api *grpc.ClientConn) {
	i.api, i.letters, i.delivers = api, deliveryv1.NewDeadLetterServiceClient(api), deliveryv1.NewDeliveryServiceClient(api)
}

// publishMany publishes deliveries of different events to a webhook, and returns their ids.
func (i *installation) publishMany(t *testing.T, organization, webhook string, n int) []string {
	t.Helper()
	template := i.delivery(t, "many", booked("many"))
	ids, futures := make([]string, n), make([]jetstream.PubAckFuture, n)
	for k := range n {
		i.many++
		event := "many_" + strconv.Itoa(i.many)
		ids[k] = bus.DeliveryID(organization, "/bookings", event, webhook)
		msg := nats.NewMsg(bus.DeliverySubject("meeting-booked", organization, webhook))
		msg.Header, msg.Data = maps.Clone(template.Header), template.Data
		msg.Header.Set(bus.HeaderOrganization, organization)
		msg.Header.Set(bus.HeaderWebhookID, webhook)
		msg.Header.Set(bus.HeaderEventID, event)
		msg.Header.Set(bus.HeaderDeliveryID, ids[k])
		var err error
		futures[k], err = bus.PublishAsync(i.js, msg, ids[k])
		require.NoError(t, err)
	}
	for _, future := range futures {
		_, err := bus.Await(newContext(t), future)
		require.NoError(t, err)
	}
	return ids
}

// state is the state of a delivery; unspecified while it is not known.
func (i *installation) state(t *testing.T, id string) deliveryv1.Delivery_State {
	t.Helper()
	found, err := i.delivers.GetDelivery(t.Context(), &deliveryv1.GetDeliveryRequest{Name: "organizations/acme/deliveries/" + id})
	if err != nil {
		return deliveryv1.Delivery_STATE_UNSPECIFIED
	}
	return found.GetState()
}

// made is how many attempts of a delivery are recorded.
func (i *installation) made(t *testing.T, id string) (n int) {
	t.Helper()
	require.NoError(t, i.pool.QueryRow(newContext(t), "SELECT count(*) FROM delivery.attempt WHERE delivery = $1", id).Scan(&n))
	return n
}

// counted is how many deliveries are recorded in a state, for a reason.
func (i *installation) counted(t *testing.T, state deliveryv1.Delivery_State, reason string) (n int) {
	t.Helper()
	require.NoError(t, i.pool.QueryRow(newContext(t), "SELECT count(*) FROM delivery.delivery WHERE state = $1 AND reason = $2",
		int(state), reason).Scan(&n))
	return n
}

// records returns everything that was recorded, in the order of the stream.
func (i *installation) records(t *testing.T) []*deliveryv1.Record {
	t.Helper()
	stream, err := i.js.Stream(newContext(t), bus.StreamRecords)
	require.NoError(t, err)
	var all []*deliveryv1.Record
	for sequence := uint64(1); sequence <= stream.CachedInfo().State.LastSeq; sequence++ {
		msg, err := stream.GetMsg(newContext(t), sequence)
		require.NoError(t, err)
		record := new(deliveryv1.Record)
		require.NoError(t, proto.Unmarshal(msg.Data, record))
		all = append(all, record)
	}
	return all
}
