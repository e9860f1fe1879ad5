package grpcapi_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/meetwire/meetwire/pkg/fault"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	"github.com/meetwire/meetwire/services/delivery/internal/grpcapi"
	"github.com/meetwire/meetwire/services/delivery/internal/pgstore"
)

func TestGetDelivery(t *testing.T) {
	t.Parallel()
	store := &fakeStore{deliveries: []*deliveryv1.Delivery{{Name: "it"}}}
	api := &grpcapi.Deliveries{Store: store}
	got, err := api.GetDelivery(t.Context(), &deliveryv1.GetDeliveryRequest{Name: "organizations/acme/deliveries/" + deliveryID})
	require.NoError(t, err)
	require.Equal(t, "it", got.GetName())
	require.Equal(t, "acme", store.organization)
	require.Equal(t, uuid.MustParse(deliveryID), store.id)
}

func TestBadNamesOfDeliveriesAreRefused(t *testing.T) {
	t.Parallel()
	api := &grpcapi.Deliveries{} // must not be asked
	for _, name := range badNames("deliveries") {
		_, err := api.GetDelivery(t.Context(), &deliveryv1.GetDeliveryRequest{Name: name})
		requireInvalid(t, err, "name", name)
		_, err = api.ListAttempts(t.Context(), &deliveryv1.ListAttemptsRequest{Parent: name})
		requireInvalid(t, err, "parent", name)
	}
	for _, parent := range badParents() {
		_, err := api.ListDeliveries(t.Context(), &deliveryv1.ListDeliveriesRequest{Parent: parent})
		requireInvalid(t, err, "parent", parent)
	}
}

func TestFilterOfDeliveries(t *testing.T) {
	t.Parallel()
	hook := uuid.MustParse(webhookID)
	trigger, source, event := "meeting.booked", "/booking", "bk_ü 1"
	dead := int16(deliveryv1.Delivery_STATE_DEAD_LETTERED)
	sequence, code, class := int64(42), int32(503), "timeout"
	since, until := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC), time.Date(2026, 5, 2, 0, 0, 0, 0, time.UTC)
	for text, want := range map[string]pgstore.Filter{
		"": {},
		`webhook = "organizations/acme/webhooks/` + webhookID + `"`:                      {Webhook: &hook},
		`trigger = meeting.booked`:                                                       {Trigger: &trigger},
		`event_source = "/booking"`:                                                      {EventSource: &source},
		`event_id = "bk_ü 1" AND state = STATE_DEAD_LETTERED`:                            {EventID: &event, State: &dead},
		`event_sequence = "42" AND last_status_code = "503"`:                             {Sequence: &sequence, StatusCode: &code},
		`last_error_class = timeout`:                                                     {ErrorClass: &class},
		`accept_time >= "2026-05-01T00:00:00Z" AND accept_time < "2026-05-02T00:00:00Z"`: {Since: &since, Until: &until},
	} {
		store := &fakeStore{}
		api := &grpcapi.Deliveries{Store: store}
		_, err := api.ListDeliveries(t.Context(), &deliveryv1.ListDeliveriesRequest{Parent: "organizations/acme", Filter: text})
		require.NoError(t, err, text)
		require.Equal(t, want, store.filter, text)
		require.Equal(t, "acme", store.organization)
	}
}

func TestEveryStateCanBeFilteredFor(t *testing.T) {
	t.Parallel()
	for number, name := range deliveryv1.Delivery_State_name {
		if number == 0 {
			continue
		}
		store := &fakeStore{}
		api := &grpcapi.Deliveries{Store: store}
		_, err := api.ListDeliveries(t.Context(), &deliveryv1.ListDeliveriesRequest{Parent: "organizations/acme", Filter: "state = " + name})
		require.NoError(t, err, name)
		require.NotNil(t, store.filter.State)
		require.EqualValues(t, number, *store.filter.State)
	}
}

func TestBadFiltersOfDeliveriesAreRefused(t *testing.T) {
	t.Parallel()
	api := &grpcapi.Deliveries{} // must not be asked
	for _, filter := range []string{
		"trigger", `trigger = `, `trigger = ""`, `trigger != a`, `trigger = a OR trigger = b`, `NOT trigger = a`, `trigger = a trigger = b`,
		`trigger = a AND trigger = b`, `organization = globex`, `Trigger = a`, `reason = poison`, `attempt_count = 1`, "(((", "\x00", "\xff",
		`state = STATE_UNSPECIFIED`, `state = pending`, `state = 1`, `state = "STATE_pending"`,
		`webhook = "` + webhookID + `"`,
		`webhook = "organizations/globex/webhooks/` + webhookID + `"`,
		`webhook = "organizations/acme/webhooks/1"`,
		`webhook = "organizations/acme/webhooks/"`,
		`webhook = "organizations/acme/deliveries/` + webhookID + `"`,
		`event_id = "` + strings.Repeat("x", 2048) + `"`,
		`event_sequence = "x"`, `event_sequence = "-1"`, `event_sequence = "9223372036854775808"`, `last_status_code = "4294967296"`,
		`accept_time = "2026-05-01T00:00:00Z"`, `accept_time >= "today"`, `accept_time >= 2026`,
	} {
		_, err := api.ListDeliveries(t.Context(), &deliveryv1.ListDeliveriesRequest{Parent: "organizations/acme", Filter: filter})
		requireInvalid(t, err, "filter", filter)
	}
}

func TestDeliveriesInPages(t *testing.T) {
	t.Parallel()
	store := &fakeStore{}
	for i := range 7 {
		store.deliveries = append(store.deliveries, &deliveryv1.Delivery{Name: fmt.Sprint(i)})
	}
	api := &grpcapi.Deliveries{Store: store}
	request := &deliveryv1.ListDeliveriesRequest{Parent: "organizations/acme", Filter: "event_id = bk_1", PageSize: 3}
	var got []*deliveryv1.Delivery
	for {
		page, err := api.ListDeliveries(t.Context(), request)
		require.NoError(t, err)
		got = append(got, page.GetDeliveries()...)
		if page.GetNextPageToken() == "" {
			break
		}
		requireOtherRequestsRefused(t, api, request, page.GetNextPageToken())
		request.PageToken = page.GetNextPageToken()
	}
	require.Equal(t, store.deliveries, got)
	require.Equal(t, []int{3, 3, 3}, store.sizes)
}

// requireOtherRequestsRefused uses a token for lists that it does not belong to, and damages it.
func requireOtherRequestsRefused(t *testing.T, api *grpcapi.Deliveries, request *deliveryv1.ListDeliveriesRequest, token string) {
	t.Helper()
	for _, change := range []func(*deliveryv1.ListDeliveriesRequest){
		func(r *deliveryv1.ListDeliveriesRequest) { r.Parent = "organizations/globex" },
		func(r *deliveryv1.ListDeliveriesRequest) { r.Filter = "event_id = bk_2" },
		func(r *deliveryv1.ListDeliveriesRequest) { r.PageToken += "x" },
		func(r *deliveryv1.ListDeliveriesRequest) { r.PageToken = r.PageToken[1:] },
		func(r *deliveryv1.ListDeliveriesRequest) { r.PageToken = "1" },
	} {
		other := proto.CloneOf(request)
		other.PageToken = token
		change(other)
		_, err := (&grpcapi.Deliveries{}).ListDeliveries(t.Context(), other)
		requireInvalid(t, err, "page_token", other.GetPageToken())
	}
	_, err := api.ListAttempts(t.Context(), &deliveryv1.ListAttemptsRequest{Parent: "organizations/acme/deliveries/" + deliveryID, PageToken: token})
	requireInvalid(t, err, "page_token", token)
}

func TestAttemptsInPages(t *testing.T) {
	t.Parallel()
	store := &fakeStore{}
	for i := range 5 {
		store.attempts = append(store.attempts, &deliveryv1.Attempt{Name: fmt.Sprint(i)})
	}
	api := &grpcapi.Deliveries{Store: store}
	request := &deliveryv1.ListAttemptsRequest{Parent: "organizations/acme/deliveries/" + deliveryID, PageSize: 2}
	var got []*deliveryv1.Attempt
	for {
		page, err := api.ListAttempts(t.Context(), request)
		require.NoError(t, err)
		got = append(got, page.GetAttempts()...)
		if page.GetNextPageToken() == "" {
			break
		}
		request.PageToken = page.GetNextPageToken()
	}
	require.Equal(t, store.attempts, got)
	require.Equal(t, uuid.MustParse(deliveryID), store.id)
	request.PageToken = "damaged"
	_, err := api.ListAttempts(t.Context(), request)
	requireInvalid(t, err, "page_token", request.GetPageToken())
}

// However large attempts are, a page of them can be answered, and the next one goes on where it ended.
func TestPagesOfLargeAttempts(t *testing.T) {
	t.Parallel()
	for name, bytes := range map[string]int{"large": 1 << 20, "middling": 100 << 10, "small": 10} {
		store := &fakeStore{}
		for i := range 200 {
			store.attempts = append(store.attempts, &deliveryv1.Attempt{Name: fmt.Sprint(i), ResponseBody: make([]byte, bytes)})
		}
		api := &grpcapi.Deliveries{Store: store}
		request := &deliveryv1.ListAttemptsRequest{Parent: "organizations/acme/deliveries/" + deliveryID, PageSize: 100}
		var got []*deliveryv1.Attempt
		for {
			page, err := api.ListAttempts(t.Context(), request)
			require.NoError(t, err)
			require.LessOrEqual(t, len(page.GetAttempts()), 100, name)
			require.Less(t, proto.Size(page), 32<<20, name)
			if bytes < 1000 && len(got) < 200 {
				require.Len(t, page.GetAttempts(), 100, "what is small comes as it was asked for")
			}
			got = append(got, page.GetAttempts()...)
			if request.PageToken = page.GetNextPageToken(); request.PageToken == "" {
				break
			}
		}
		require.Equal(t, store.attempts, got, name)
	}
}

func TestSizeOfAPage(t *testing.T) {
	t.Parallel()
	store := &fakeStore{}
	api := &grpcapi.Deliveries{Store: store}
	for _, size := range []int32{0, 1, 1000} {
		_, err := api.ListDeliveries(t.Context(), &deliveryv1.ListDeliveriesRequest{Parent: "organizations/acme", PageSize: size})
		require.NoError(t, err)
		_, err = api.ListAttempts(t.Context(), &deliveryv1.ListAttemptsRequest{Parent: "organizations/acme/deliveries/" + deliveryID, PageSize: size})
		require.NoError(t, err)
	}
	// Attempts are read some at a time: they are large.
	require.Equal(t, []int{50, 16, 1, 1, 1000, 16}, store.sizes)
}

func TestErrorsOfTheStorePassThrough(t *testing.T) {
	t.Parallel()
	away := fault.New(fault.Unavailable, "AWAY", "away")
	api := &grpcapi.Deliveries{Store: &fakeStore{err: away}}
	name := "organizations/acme/deliveries/" + deliveryID
	_, err := api.GetDelivery(t.Context(), &deliveryv1.GetDeliveryRequest{Name: name})
	require.ErrorIs(t, err, away)
	_, err = api.ListDeliveries(t.Context(), &deliveryv1.ListDeliveriesRequest{Parent: "organizations/acme"})
	require.ErrorIs(t, err, away)
	_, err = api.ListAttempts(t.Context(), &deliveryv1.ListAttemptsRequest{Parent: name})
	require.ErrorIs(t, err, away)
}
