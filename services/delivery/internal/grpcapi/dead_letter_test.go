package grpcapi_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/meetwire/meetwire/pkg/fault"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
	"github.com/meetwire/meetwire/services/delivery/internal/grpcapi"
	"github.com/meetwire/meetwire/services/delivery/internal/natsbus"
)

const letterName = "organizations/acme/deadLetters/" + deliveryID

func letter(sequence uint64) *natsbus.DeadLetter {
	return &natsbus.DeadLetter{
		Sequence: sequence,
		Reason:   core.ReasonAttemptsExhausted,
		DeadAt:   time.Date(2026, 3, 15, 0, 0, 0, 1, time.UTC),
		Task: &core.Task{
			Delivery: deliveryID, Organization: "acme", Webhook: webhookID, Lane: "meeting-booked", Trigger: "meeting.booked",
			EventSource: "/booking", EventID: "bk_ü", EventSequence: 7, Attempts: 10,
			AcceptedAt: time.Date(2026, 3, 14, 0, 0, 0, 0, time.UTC), Event: []byte(`{"id": "bk_ü"}`),
		},
	}
}

// message is what letter looks like in a list.
func message() *deliveryv1.DeadLetter {
	return &deliveryv1.DeadLetter{
		Name: letterName, Webhook: "organizations/acme/webhooks/" + webhookID, Trigger: "meeting.booked",
		EventSource: "/booking", EventId: "bk_ü", EventSequence: 7, Reason: "attempts_exhausted", AttemptCount: 10,
		AcceptTime:     timestamppb.New(time.Date(2026, 3, 14, 0, 0, 0, 0, time.UTC)),
		DeadLetterTime: timestamppb.New(time.Date(2026, 3, 15, 0, 0, 0, 1, time.UTC)),
	}
}

func TestOnlyGetReturnsTheEvent(t *testing.T) {
	t.Parallel()
	letters := &fakeLetters{letters: []*natsbus.DeadLetter{letter(3)}}
	api := &grpcapi.DeadLetters{Letters: letters}
	list, err := api.ListDeadLetters(t.Context(), &deliveryv1.ListDeadLettersRequest{Parent: "organizations/acme"})
	require.NoError(t, err)
	require.Len(t, list.GetDeadLetters(), 1)
	require.True(t, proto.Equal(message(), list.GetDeadLetters()[0]), "%v", list)

	one, err := api.GetDeadLetter(t.Context(), &deliveryv1.GetDeadLetterRequest{Name: letterName})
	require.NoError(t, err)
	want := message()
	want.Event = `{"id": "bk_ü"}`
	require.True(t, proto.Equal(want, one), "%v", one)
	require.Equal(t, "acme", letters.organization)
	require.Equal(t, deliveryID, letters.delivery)
}

func TestReplay(t *testing.T) {
	t.Parallel()
	letters := &fakeLetters{}
	api := &grpcapi.DeadLetters{Letters: letters}
	response, err := api.ReplayDeadLetter(t.Context(), &deliveryv1.ReplayDeadLetterRequest{Name: letterName})
	require.NoError(t, err)
	require.Equal(t, "organizations/acme/deliveries/"+deliveryID, response.GetDelivery())
	require.Equal(t, "acme", letters.organization)
	require.Equal(t, deliveryID, letters.delivery)
	require.Equal(t, 1, letters.replayed)
}

func TestErrorsOfTheDeadLettersPassThrough(t *testing.T) {
	t.Parallel()
	for _, want := range []error{
		fault.New(fault.NotFound, "DEAD_LETTER_NOT_FOUND", "no such dead letter"),
		fault.New(fault.FailedPrecondition, "WEBHOOK_DELETED", "the webhook was deleted"),
		fault.New(fault.ResourceExhausted, "STREAM_FULL", "the stream is full"),
		fault.New(fault.Unavailable, "STREAM_UNAVAILABLE", "the stream is not available"),
	} {
		api := &grpcapi.DeadLetters{Letters: &fakeLetters{err: want}}
		_, err := api.ReplayDeadLetter(t.Context(), &deliveryv1.ReplayDeadLetterRequest{Name: letterName})
		require.ErrorIs(t, err, want)
		_, err = api.GetDeadLetter(t.Context(), &deliveryv1.GetDeadLetterRequest{Name: letterName})
		require.ErrorIs(t, err, want)
		_, err = api.ListDeadLetters(t.Context(), &deliveryv1.ListDeadLettersRequest{Parent: "organizations/acme"})
		require.ErrorIs(t, err, want)
	}
}

func TestBadNamesOfDeadLettersAreRefused(t *testing.T) {
	t.Parallel()
	api := &grpcapi.DeadLetters{} // must not be asked
	for _, name := range badNames("deadLetters") {
		_, err := api.GetDeadLetter(t.Context(), &deliveryv1.GetDeadLetterRequest{Name: name})
		requireInvalid(t, err, "name", name)
		_, err = api.ReplayDeadLetter(t.Context(), &deliveryv1.ReplayDeadLetterRequest{Name: name})
		requireInvalid(t, err, "name", name)
	}
	for _, parent := range badParents() {
		_, err := api.ListDeadLetters(t.Context(), &deliveryv1.ListDeadLettersRequest{Parent: parent})
		requireInvalid(t, err, "parent", parent)
	}
}

func TestFilterOfDeadLetters(t *testing.T) {
	t.Parallel()
	letters := &fakeLetters{}
	api := &grpcapi.DeadLetters{Letters: letters}
	_, err := api.ListDeadLetters(t.Context(), &deliveryv1.ListDeadLettersRequest{
		Parent: "organizations/acme",
		Filter: `webhook = "organizations/acme/webhooks/` + webhookID + `" AND trigger = "custom.thing"`,
	})
	require.NoError(t, err)
	require.Equal(t, []string{"acme", webhookID, "custom.thing"}, []string{letters.organization, letters.webhook, letters.trigger})
}

func TestBadFiltersOfDeadLettersAreRefused(t *testing.T) {
	t.Parallel()
	api := &grpcapi.DeadLetters{} // must not be asked
	for _, filter := range []string{
		"trigger", `trigger != a.b`, `trigger = "*"`, `trigger = ">"`, `trigger = "a b"`, `trigger = booked`, `trigger = "meeting..booked"`,
		`state = STATE_PENDING`, `event_id = bk_1`, "((",
		`webhook = "*"`, `webhook = "organizations/globex/webhooks/` + webhookID + `"`, `webhook = "organizations/acme/webhooks/*"`,
	} {
		_, err := api.ListDeadLetters(t.Context(), &deliveryv1.ListDeadLettersRequest{Parent: "organizations/acme", Filter: filter})
		requireInvalid(t, err, "filter", filter)
	}
}

func TestDeadLettersInPages(t *testing.T) {
	t.Parallel()
	letters := &fakeLetters{}
	for _, sequence := range []uint64{2, 3, 50, 51, 1000} { // others' are in between
		letters.letters = append(letters.letters, letter(sequence))
	}
	api := &grpcapi.DeadLetters{Letters: letters}
	request := &deliveryv1.ListDeadLettersRequest{Parent: "organizations/acme", PageSize: 2}
	got := 0
	for {
		page, err := api.ListDeadLetters(t.Context(), request)
		require.NoError(t, err)
		got += len(page.GetDeadLetters())
		if page.GetNextPageToken() == "" {
			break
		}
		request.PageToken = page.GetNextPageToken()
		for _, other := range []*deliveryv1.ListDeadLettersRequest{
			{Parent: "organizations/globex", PageToken: request.GetPageToken()},
			{Parent: "organizations/acme", Filter: "trigger = meeting.booked", PageToken: request.GetPageToken()},
			{Parent: "organizations/acme", PageToken: request.GetPageToken() + "="},
		} {
			_, err := (&grpcapi.DeadLetters{}).ListDeadLetters(t.Context(), other)
			requireInvalid(t, err, "page_token", other)
		}
	}
	require.Equal(t, 5, got)
	require.Equal(t, []int{2, 2, 2}, letters.sizes)

	request = &deliveryv1.ListDeadLettersRequest{Parent: "organizations/acme"}
	_, err := api.ListDeadLetters(t.Context(), request)
	require.NoError(t, err)
	require.Equal(t, 50, letters.sizes[len(letters.sizes)-1])
}
