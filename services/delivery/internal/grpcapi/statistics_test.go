package grpcapi_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/meetwire/meetwire/pkg/fault"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
	"github.com/meetwire/meetwire/services/delivery/internal/grpcapi"
	"github.com/meetwire/meetwire/services/delivery/internal/pgstore"
)

func TestAllAttempts(t *testing.T) {
	t.Parallel()
	store := &fakeStore{}
	for i := range 5 {
		store.attempts = append(store.attempts, &deliveryv1.Attempt{Name: fmt.Sprint(i)})
	}
	api := &grpcapi.Deliveries{Store: store}
	request := &deliveryv1.ListAttemptsRequest{
		Parent: "organizations/acme/deliveries/-", PageSize: 3,
		Filter: `webhook = "organizations/acme/webhooks/` + webhookID + `" AND status_code = "503" AND error_class = status AND succeeded = false AND start_time >= "2026-05-01T00:00:00Z"`,
	}
	first, err := api.ListAttempts(t.Context(), request)
	require.NoError(t, err)
	hook, code, class, since := uuid.MustParse(webhookID), int32(503), "status", time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	require.Equal(t, pgstore.AttemptFilter{Webhook: &hook, StatusCode: &code, ErrorClass: &class, Failed: true, Since: &since}, store.attempted)
	require.Equal(t, "acme", store.organization)
	request.PageToken = first.GetNextPageToken()
	second, err := api.ListAttempts(t.Context(), request)
	require.NoError(t, err)
	require.Equal(t, store.attempts, append(first.GetAttempts(), second.GetAttempts()...))
	require.Empty(t, second.GetNextPageToken())
}

func TestBadFiltersOfAttemptsAreRefused(t *testing.T) {
	t.Parallel()
	api := &grpcapi.Deliveries{} // must not be asked
	for _, filter := range []string{
		`trigger = "meeting.booked"`, `succeeded = yes`, `status_code = "abc"`, `status_code = 1`, `error_class = ""`,
		`webhook = "organizations/globex/webhooks/` + webhookID + `"`, `start_time = "2026-05-01T00:00:00Z"`,
	} {
		_, err := api.ListAttempts(t.Context(), &deliveryv1.ListAttemptsRequest{Parent: "organizations/acme/deliveries/-", Filter: filter})
		requireInvalid(t, err, "filter", filter)
	}
	_, err := api.ListAttempts(t.Context(), &deliveryv1.ListAttemptsRequest{
		Parent: "organizations/acme/deliveries/" + deliveryID, Filter: `error_class = "timeout"`,
	})
	requireInvalid(t, err, "filter", "of one delivery")
	_, err = api.ListAttempts(t.Context(), &deliveryv1.ListAttemptsRequest{Parent: "organizations/-/deliveries/-"})
	requireInvalid(t, err, "parent", "all organizations")
}

func TestTimeRangeOfStatistics(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 5, 3, 12, 34, 56, 0, time.UTC)
	store := &fakeStore{}
	webhooks := &fakeWebhooks{core.Webhook{ID: webhookID, Organization: "acme"}}
	api := &grpcapi.Deliveries{Store: store, Webhooks: webhooks, Now: func() time.Time { return now }}
	_, err := api.ListWebhookStatistics(t.Context(), &deliveryv1.ListWebhookStatisticsRequest{Parent: "organizations/globex/webhooks/" + webhookID})
	require.True(t, fault.Is(err, fault.NotFound), "%v", err)
	request := &deliveryv1.ListWebhookStatisticsRequest{Parent: "organizations/acme/webhooks/" + webhookID}
	_, err = api.ListWebhookStatistics(t.Context(), request)
	require.NoError(t, err)
	require.Equal(t, []any{"acme", uuid.MustParse(webhookID)}, []any{store.organization, store.id})
	require.Equal(t, time.Date(2026, 5, 2, 12, 0, 0, 0, time.UTC), store.since, "whole hours")
	require.Equal(t, now, store.until)

	for field, change := range map[string][2]*timestamppb.Timestamp{
		"start_time": {timestamppb.New(now), timestamppb.New(now.Add(-time.Hour))},
		"end_time":   {nil, {Seconds: -1 << 62}},
	} {
		request.StartTime, request.EndTime = change[0], change[1]
		_, err = api.ListWebhookStatistics(t.Context(), request)
		requireInvalid(t, err, field, fmt.Sprint(change))
	}
	request.StartTime, request.EndTime = timestamppb.New(now.AddDate(0, 0, -32)), nil
	_, err = api.ListWebhookStatistics(t.Context(), request)
	require.ErrorContains(t, err, "31 days")
}
