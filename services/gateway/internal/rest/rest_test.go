package rest_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/rpc"
	ingestv1 "github.com/meetwire/meetwire/proto/gen/meetwire/ingest/v1"
	subscriptionv1 "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
)

const (
	eventsPath   = "/v1/organizations/acme/events"
	webhooksPath = "/v1/organizations/acme/webhooks"
)

// published returns the event that ingest was given.
func published(t *testing.T, e *env) *ingestv1.PublishEventRequest {
	t.Helper()
	request, ok := e.ingest.only(t).request.(*ingestv1.PublishEventRequest)
	require.True(t, ok)
	return request
}

// stored is the answer to an event that was stored.
func stored(proto.Message) (proto.Message, error) {
	return &ingestv1.PublishEventResponse{Source: "/bookings", Id: "bk_1", Sequence: 42}, nil
}

func TestPublishedBodyReachesTheServiceAsItIs(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.ingest.answers(func(proto.Message) (proto.Message, error) {
		return &ingestv1.PublishEventResponse{
			Source: "/bookings", Id: "bk_1", Sequence: 42, Duplicate: true, PublishTime: &timestamppb.Timestamp{Seconds: 1769860800},
		}, nil
	})
	for _, body := range []string{
		"{ \"id\" : \"bk_1\",\r\n\t\"data\":{\"b\":1.0e0,\"a\":\"\\u0061<é>\",\"a\":null} }\n", // no encoder would write this
		"not JSON at all", "\x00\xff binary", `{"contentType":"x","data":"eA=="}`, "", strings.Repeat("x", 1<<20),
	} {
		got := e.do(t, "POST", eventsPath, body, "Content-Type", "application/cloudevents+json")
		require.Equal(t, http.StatusAccepted, got.status, "%s", got.body)
		require.JSONEq(t, `{"source":"/bookings","id":"bk_1","sequence":"42","duplicate":true,"publishTime":"2026-01-31T12:00:00Z"}`, string(got.body))
		request := published(t, e)
		require.Equal(t, "organizations/acme", request.GetParent())
		require.Equal(t, body, string(request.GetEvent().GetData()))
		require.Equal(t, "application/cloudevents+json", request.GetEvent().GetContentType())
	}
}

// What the body is said to be is for the service to judge. curl says the same of every body.
func TestContentTypeOfAnEventReachesTheService(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.ingest.answers(stored)
	for said, want := range map[string]string{
		"text/plain": "text/plain", "application/json; charset=utf-8": "application/json; charset=utf-8",
		"application/x-www-form-urlencoded": "", "": "",
	} {
		got := e.do(t, "POST", eventsPath, "{}", "Content-Type", said)
		require.Equal(t, http.StatusAccepted, got.status)
		require.Equal(t, want, published(t, e).GetEvent().GetContentType())
	}
	refusal := fault.Invalid(fault.Field{Path: "event.content_type", Rule: "value", Message: "must be application/json"})
	e.ingest.answers(func(proto.Message) (proto.Message, error) { return nil, rpc.Status(refusal).Err() })
	f := requireFailure(t, e.do(t, "POST", eventsPath, "x=1", "Content-Type", "text/plain"), 400, 3, "INVALID_FIELD")
	require.Equal(t, "event.content_type", decode[badRequest](t, f.Details[1]).FieldViolations[0].Field)
}

func TestOnlyTheCredentialAndTheTraceAreForwarded(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.do(t, "GET", webhooksPath, "",
		"Authorization", "Bearer mwk_x", "Traceparent", "00-aa-bb-01", "Tracestate", "v=1", "Cookie", "session=1",
		"Grpc-Metadata-Role", "operator", "Grpc-Metadata-Authorization", "Bearer other", "Meetwire-Organization", "beta",
		"X-Request-Id", "7", "X-Api-Key", "k", "Accept-Language", "de",
	)
	got := e.subscription.only(t).metadata
	require.Equal(t, []string{"Bearer mwk_x"}, got.Get("authorization"))
	require.Equal(t, []string{"00-aa-bb-01"}, got.Get("traceparent"))
	require.Equal(t, []string{"v=1"}, got.Get("tracestate"))
	for name := range got {
		switch name {
		case ":authority", "content-type", "user-agent", "grpc-accept-encoding", "x-forwarded-host", "x-forwarded-for":
			// of the transport
		case "authorization", "traceparent", "tracestate":
		default:
			require.Fail(t, "forwarded", "%s: %v", name, got.Get(name))
		}
	}

	e.do(t, "GET", webhooksPath, "")
	require.Empty(t, e.subscription.only(t).metadata.Get("authorization"), "the gateway has no credential of its own")
}

func TestHeadersOfServicesStayInside(t *testing.T) {
	t.Parallel()
	e := setup(t)
	got := e.do(t, "GET", webhooksPath, "", "TE", "trailers")
	require.Equal(t, http.StatusOK, got.status)
	for name := range got.header {
		require.False(t, strings.HasPrefix(name, "Grpc-"), name)
	}
}

func TestMessagesAreReadAndWrittenAsJSON(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.subscription.answers(func(request proto.Message) (proto.Message, error) {
		create, ok := request.(*subscriptionv1.CreateWebhookRequest)
		if !ok {
			return nil, fmt.Errorf("unexpected %T", request)
		}
		return create.GetWebhook(), nil
	})
	got := e.do(t, "POST", webhooksPath, `{"displayName":"<Mine> é","target_url":"https://example.com/?a=1&b=2","triggers":["meeting.booked"]}`)
	require.Equal(t, http.StatusOK, got.status, "%s", got.body)
	require.JSONEq(t, `{"displayName":"<Mine> é","targetUrl":"https://example.com/?a=1&b=2","triggers":["meeting.booked"]}`, string(got.body))
	request, ok := e.subscription.only(t).request.(*subscriptionv1.CreateWebhookRequest)
	require.True(t, ok)
	require.Equal(t, "organizations/acme", request.GetParent())
	require.Equal(t, "https://example.com/?a=1&b=2", request.GetWebhook().GetTargetUrl())
}

func TestParametersReachTheService(t *testing.T) {
	t.Parallel()
	e := setup(t)
	require.Equal(t, http.StatusOK, e.do(t, "GET", webhooksPath+"?pageSize=7&page_token=abc", "").status)
	request, ok := e.subscription.only(t).request.(*subscriptionv1.ListWebhooksRequest)
	require.True(t, ok)
	require.EqualValues(t, 7, request.GetPageSize())
	require.Equal(t, "abc", request.GetPageToken())
}

func TestRequestsThatCannotBeReadAreRefusedHere(t *testing.T) {
	t.Parallel()
	e := setup(t)
	for name, c := range map[string]struct{ method, path, body, text string }{
		"an unknown field":       {"POST", webhooksPath, `{"displayName":"x","targetUri":"https://example.com"}`, "targetUri"},
		"a field twice":          {"POST", webhooksPath, `{"displayName":"x","displayName":"y"}`, "displayName"},
		"another type":           {"POST", webhooksPath, `{"displayName":1}`, "displayName"},
		"no JSON":                {"POST", webhooksPath, `{"displayName":`, "EOF"},
		"no object":              {"POST", webhooksPath, `[]`, ""},
		"too large a message":    {"POST", webhooksPath, `{"displayName":"` + strings.Repeat("x", 1<<20) + `"}`, "1048576 bytes"},
		"too large an event":     {"POST", eventsPath, strings.Repeat("x", 1<<20+1), "1048576 bytes"},
		"an unknown parameter":   {"GET", webhooksPath + "?page_siez=1", "", "page_siez"},
		"an unreadable number":   {"GET", webhooksPath + "?page_size=many", "", "page_size"},
		"an unknown parameter 2": {"GET", webhooksPath + "?filter.x=1", "", "filter.x"},
	} {
		f := requireFailure(t, e.do(t, c.method, c.path, c.body, "Content-Type", "application/json"), 400, 3, "INVALID_FIELD")
		require.Contains(t, f.Message, c.text, name)
		require.Len(t, f.Details, 2, name)
		violations := decode[badRequest](t, f.Details[1])
		require.Equal(t, "type.googleapis.com/google.rpc.BadRequest", violations.Type)
		require.Len(t, violations.FieldViolations, 1)
		require.Equal(t, "request", violations.FieldViolations[0].Field)
	}
	e.subscription.requireNotCalled(t)
	e.ingest.requireNotCalled(t)
}

func TestErrorsOfServicesKeepCodeReasonAndFields(t *testing.T) {
	t.Parallel()
	e := setup(t)
	for _, c := range []struct {
		kind         fault.Kind
		status, code int
	}{
		{fault.InvalidArgument, 400, 3},
		{fault.FailedPrecondition, 400, 9},
		{fault.Unauthenticated, 401, 16},
		{fault.PermissionDenied, 403, 7},
		{fault.NotFound, 404, 5},
		{fault.AlreadyExists, 409, 6},
		{fault.Aborted, 409, 10},
		{fault.ResourceExhausted, 429, 8},
		{fault.Internal, 500, 13},
		{fault.Unavailable, 503, 14},
	} {
		e.subscription.answers(func(proto.Message) (proto.Message, error) {
			return nil, rpc.Status(fault.New(c.kind, "THE_REASON", "the message")).Err()
		})
		f := requireFailure(t, e.do(t, "GET", webhooksPath, ""), c.status, c.code, "THE_REASON")
		require.Len(t, f.Details, 1)
		if c.kind != fault.Internal {
			require.Equal(t, "the message", f.Message)
		}
	}

	e.subscription.answers(func(proto.Message) (proto.Message, error) {
		return nil, rpc.Status(fault.Invalid(
			fault.Field{Path: "webhook.target_url", Rule: "scheme", Message: "must be https"},
			fault.Field{Path: "webhook.triggers[1]", Rule: "unknown", Message: "is not a trigger"},
		)).Err()
	})
	f := requireFailure(t, e.do(t, "POST", webhooksPath, "{}"), 400, 3, "INVALID_FIELD")
	require.Equal(t, "webhook.target_url: must be https", f.Message)
	violations := decode[badRequest](t, f.Details[1]).FieldViolations
	require.Len(t, violations, 2)
	require.Equal(t, "webhook.triggers[1]", violations[1].Field)
	require.Equal(t, "unknown", violations[1].Reason)
	require.Equal(t, "is not a trigger", violations[1].Description)
}

// Texts of broken connections and of what nobody classified are not for clients.
func TestErrorsTellNothingOfTheInside(t *testing.T) {
	t.Parallel()
	e := setup(t)
	for err, want := range map[error]struct {
		status, code int
		reason       string
	}{
		status.Error(codes.Internal, "SELECT secret FROM 127.0.0.1"):    {500, 13, "INTERNAL"},
		status.Error(codes.Unknown, "SELECT secret FROM 127.0.0.1"):     {500, 13, "UNKNOWN"},
		status.Error(codes.Unavailable, "dial 127.0.0.1:5432: refused"): {503, 14, "UNAVAILABLE"},
		errors.New("panic at 127.0.0.1"):                                {500, 13, "UNKNOWN"},
	} {
		e.subscription.answers(func(proto.Message) (proto.Message, error) { return nil, err })
		f := requireFailure(t, e.do(t, "GET", webhooksPath, ""), want.status, want.code, want.reason)
		require.NotContains(t, f.Message, "127.0.0.1")
		require.NotContains(t, f.Message, "SELECT")
	}
	e.ingest.answers(stored)
	e.subscription.stop()
	got := e.do(t, "GET", webhooksPath, "")
	requireFailure(t, got, 503, 14, "UNAVAILABLE")
	require.NotContains(t, string(got.body), "127.0.0.1")
	require.NotContains(t, string(got.body), e.subscription.address)
	require.Equal(t, http.StatusAccepted, e.do(t, "POST", eventsPath, "{}").status, "the others go on")
}

func TestEndOfTimeIsTold(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.subscription.answers(func(proto.Message) (proto.Message, error) {
		return nil, status.Error(codes.DeadlineExceeded, "late")
	})
	got := e.do(t, "GET", webhooksPath, "")
	require.Equal(t, http.StatusGatewayTimeout, got.status)
	require.Equal(t, 4, decode[failure](t, got.body).Code)
}
