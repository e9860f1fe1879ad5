package delivery_test

import (
	"net/http"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	grpcstatus "google.golang.org/grpc/status"

	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	operationv1 "github.com/meetwire/meetwire/proto/gen/meetwire/operation/v1"
)

func TestServiceWorksOnOperationsAndTellsWhoBeganThem(t *testing.T) {
	t.Parallel()
	i := start(t)
	i.respond(status(http.StatusInternalServerError))
	i.ready(t)
	id := i.publish(t, "bk_1")
	i.received(t)
	i.requireState(t, id, deliveryv1.Delivery_STATE_DEAD_LETTERED, 1)
	i.requireSettled(t) // its dead letter is stored

	i.respond(status(http.StatusOK))
	request := &deliveryv1.ReplayDeadLettersRequest{Parent: "organizations/acme", RequestId: uuid.NewString()}
	begun, err := i.letters.ReplayDeadLetters(newContext(t), request)
	require.NoError(t, err)
	again, err := i.letters.ReplayDeadLetters(newContext(t), request)
	require.NoError(t, err)
	require.Equal(t, begun.GetName(), again.GetName())
	require.Equal(t, id, i.received(t).header.Get("webhook-id"))
	i.requireState(t, id, deliveryv1.Delivery_STATE_SUCCEEDED, 2)
	service := dial(t, i.address, i.config.ServiceToken)
	require.Contains(t, i.feed.recorded(), "replay organizations/acme")

	sent, err := i.delivers.ResendDelivery(newContext(t), &deliveryv1.ResendDeliveryRequest{Name: "organizations/acme/deliveries/" + id})
	require.NoError(t, err)
	require.Equal(t, "organizations/acme/deliveries/"+id, sent.GetDelivery())
	require.Equal(t, id, i.received(t).header.Get("webhook-id"))
	require.Eventually(t, func() bool {
		now, err := i.delivers.GetDelivery(newContext(t), &deliveryv1.GetDeliveryRequest{Name: sent.GetDelivery()})
		require.NoError(t, err)
		return now.GetState() == deliveryv1.Delivery_STATE_SUCCEEDED && now.GetAttemptCount() == 3
	}, patience, tick)
	require.Contains(t, i.feed.recorded(), "resend organizations/acme/deliveries/"+id)

	test, err := deliveryv1.NewInternalServiceClient(service).SendTest(newContext(t), &deliveryv1.SendTestRequest{
		Webhook: i.webhook, Event: `{"specversion":"1.0","id":"1","source":"/s","type":"meeting.booked","data":{}}`,
	})
	require.NoError(t, err)
	require.EqualValues(t, http.StatusOK, test.GetAttempt().GetStatusCode())
	require.Regexp(t, `^test_`, i.received(t).header.Get("webhook-id"))

	// With the organization its operations go, too.
	removed := i.feed.change(&configv1.Resource{Resource: &configv1.Resource_DeletedOrganization{DeletedOrganization: "acme"}})
	_, err = deliveryv1.NewInternalServiceClient(service).PurgeOrganization(newContext(t), &deliveryv1.PurgeOrganizationRequest{
		Organization: "acme", Revision: removed,
	})
	require.NoError(t, err)
	var left int
	require.NoError(t, i.pool.QueryRow(newContext(t), `SELECT count(*) FROM delivery.operation`).Scan(&left))
	require.Zero(t, left)
	_, err = operationv1.NewOperationServiceClient(service).GetOperation(newContext(t), &operationv1.GetOperationRequest{Name: begun.GetName()})
	require.Contains(t, []codes.Code{codes.NotFound, codes.PermissionDenied}, grpcstatus.Code(err), "%v", err)
}
