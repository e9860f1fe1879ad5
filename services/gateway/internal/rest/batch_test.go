package rest_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	ingestv1 "github.com/meetwire/meetwire/proto/gen/meetwire/ingest/v1"
)

const batchPath = eventsPath + ":batchPublish"

func TestStatusOfPublishedEventsTellsWhetherTheyWereStored(t *testing.T) {
	t.Parallel()
	e := setup(t)
	checked := &ingestv1.PublishEventResponse{Source: "/bookings", Id: "bk_1"}
	kept := &ingestv1.PublishEventResponse{Source: "/bookings", Id: "bk_1", Sequence: 7}
	for name, c := range map[string]struct {
		path   string
		answer proto.Message
		want   int
	}{
		"an event":                       {eventsPath, kept, http.StatusAccepted},
		"an event that was only checked": {eventsPath + "?validateOnly=true", checked, http.StatusOK},
		"one stored, one refused": {batchPath, &ingestv1.PublishEventsResponse{
			Results: []*ingestv1.PublishEventsResponse_Result{{}, {Event: kept}},
		}, http.StatusAccepted},
		"all refused": {batchPath, &ingestv1.PublishEventsResponse{Results: []*ingestv1.PublishEventsResponse_Result{{}, {}}}, http.StatusOK},
		"only checked": {batchPath + "?validate_only=true", &ingestv1.PublishEventsResponse{
			Results: []*ingestv1.PublishEventsResponse_Result{{Event: checked}},
		}, http.StatusOK},
		"none": {batchPath, &ingestv1.PublishEventsResponse{}, http.StatusOK},
	} {
		e.ingest.answers(func(proto.Message) (proto.Message, error) { return c.answer, nil })
		got := e.do(t, "POST", c.path, "[]", "Content-Type", "application/json")
		require.Equal(t, c.want, got.status, "%s: %s", name, got.body)
		var validateOnly bool
		switch request := e.ingest.only(t).request.(type) {
		case *ingestv1.PublishEventRequest:
			validateOnly = request.GetValidateOnly()
		case *ingestv1.PublishEventsRequest:
			validateOnly = request.GetValidateOnly()
		}
		require.Equal(t, strings.Contains(c.path, "?"), validateOnly, name)
	}
}

func TestBatchOfEventsReachesTheServiceAsItIs(t *testing.T) {
	t.Parallel()
	e := setup(t)
	for _, body := range []string{"[ {\"id\":\"1\"}\n]", "x", strings.Repeat("x", 4_100_000)} {
		got := e.do(t, "POST", batchPath, body, "Content-Type", "application/cloudevents-batch+json")
		require.Equal(t, http.StatusOK, got.status, "%s", got.body)
		request, ok := e.ingest.only(t).request.(*ingestv1.PublishEventsRequest)
		require.True(t, ok)
		require.Equal(t, "organizations/acme", request.GetParent())
		require.Equal(t, body, string(request.GetEvents().GetData()))
		require.Equal(t, "application/cloudevents-batch+json", request.GetEvents().GetContentType())
	}
	f := requireFailure(t, e.do(t, "POST", batchPath, strings.Repeat("x", 4_100_001)), 400, 3, "INVALID_FIELD")
	require.Contains(t, f.Message, "4100000 bytes")
	e.ingest.requireNotCalled(t)
}
