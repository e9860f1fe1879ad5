package grpcapi_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/api/httpbody"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/fault"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	ingestv1 "github.com/meetwire/meetwire/proto/gen/meetwire/ingest/v1"
	"github.com/meetwire/meetwire/services/ingest/internal/core"
	"github.com/meetwire/meetwire/services/ingest/internal/grpcapi"
)

func batch(events ...string) *ingestv1.PublishEventsRequest {
	return &ingestv1.PublishEventsRequest{
		Parent: "organizations/acme", Events: &httpbody.HttpBody{Data: []byte("[" + strings.Join(events, ",") + "]")},
	}
}

// numbered returns events with ids of their own.
func numbered(n int) []string {
	events := make([]string, n)
	for i := range events {
		events[i] = event(fmt.Sprint(i), "meeting.booked", `{}`)
	}
	return events
}

// requireError asserts that a result is an error about one field, and returns it.
func requireError(t *testing.T, result *ingestv1.PublishEventsResponse_Result, code codes.Code, field string) {
	t.Helper()
	require.Nil(t, result.GetEvent())
	require.EqualValues(t, code, result.GetError().GetCode(), "%v", result)
	for _, detail := range result.GetError().GetDetails() {
		var bad errdetails.BadRequest
		if detail.MessageIs(&bad) {
			require.NoError(t, detail.UnmarshalTo(&bad))
			require.Len(t, bad.GetFieldViolations(), 1)
			require.Equal(t, field, bad.GetFieldViolations()[0].GetField())
			return
		}
	}
	require.Fail(t, "no field is named", "%v", result.GetError())
}

func TestBatchHasAResultForEachEvent(t *testing.T) {
	t.Parallel()
	e := setup(t)
	documents := []string{
		event("a", "meeting.booked", `{}`),
		event("", "meeting.booked", `{}`),
		event("c", "meeting.booked", `{"title":1}`),
		event("a", "meeting.booked", `{"title":"again"}`),
		`17`,
		event("f", "webhook.disabled", `{}`),
		event("g", "meeting.booked", `{"title":"last"}`),
	}
	response, err := e.events.PublishEvents(t.Context(), batch(documents...))
	require.NoError(t, err)
	results := response.GetResults()
	require.Len(t, results, len(documents))
	requireError(t, results[1], codes.InvalidArgument, "events[1].id")
	require.Contains(t, results[1].GetError().GetMessage(), "events[1].id: ")
	requireError(t, results[2], codes.InvalidArgument, "events[2].data/title")
	requireError(t, results[4], codes.InvalidArgument, "events[4]")
	requireError(t, results[5], codes.PermissionDenied, "events[5].type")
	for i, want := range map[int]struct {
		id        string
		sequence  int64
		duplicate bool
	}{0: {"a", 1, false}, 3: {"a", 1, true}, 6: {"g", 2, false}} {
		got := results[i].GetEvent()
		require.Nil(t, results[i].GetError())
		require.Equal(t, want.id, got.GetId())
		require.Equal(t, "/bookings", got.GetSource())
		require.Equal(t, want.sequence, got.GetSequence())
		require.Equal(t, want.duplicate, got.GetDuplicate())
		require.Equal(t, fmt.Sprintf("organizations/acme/events/%d", want.sequence), got.GetName())
		require.Equal(t, now(), got.GetPublishTime().AsTime())
	}
	require.EqualValues(t, 2, e.stored(t))
	require.Equal(t, map[string]int{
		core.RuleRequired: 1, core.RuleSchema: 1, core.RuleJSON: 1, core.RuleReservedTrigger: 1,
	}, e.refusals.byRule())
}

func TestBatchIsStoredInItsOrder(t *testing.T) {
	t.Parallel()
	e := setup(t)
	response, err := e.events.PublishEvents(t.Context(), batch(numbered(1000)...))
	require.NoError(t, err)
	for i, result := range response.GetResults() {
		require.Nil(t, result.GetError())
		require.EqualValues(t, i+1, result.GetEvent().GetSequence())
	}
	require.EqualValues(t, 1000, e.stored(t))
}

func TestBatchesThatAreRefused(t *testing.T) {
	t.Parallel()
	e := setup(t)
	for name, c := range map[string]struct{ body, contentType, field, rule string }{
		"nothing":              {``, "", "events", core.RuleJSON},
		"null":                 {`null`, "", "events", core.RuleJSON},
		"an object":            {event("1", "meeting.booked", `{}`), "", "events", core.RuleJSON},
		"half":                 {`[` + event("1", "meeting.booked", `{}`), "", "events", core.RuleJSON},
		"no event":             {`[]`, "", "events", core.RuleRequired},
		"too many":             {`[` + strings.TrimSuffix(strings.Repeat("1,", 1001), ",") + `]`, "", "events", core.RuleMaxItems},
		"too large":            {`["` + strings.Repeat("x", 4_000_000) + `"]`, "", "events", core.RuleMaxBytes},
		"another content type": {`[1]`, "application/cloudevents+json", "events.content_type", "value"},
	} {
		r := batch()
		r.Events.Data, r.Events.ContentType = []byte(c.body), c.contentType
		_, err := e.events.PublishEvents(t.Context(), r)
		require.Error(t, err, name)
		requireField(t, err, c.field, c.rule)
	}
	r := batch(event("1", "meeting.booked", `{}`))
	r.Parent = "organizations/nobody"
	_, err := e.events.PublishEvents(t.Context(), r)
	require.True(t, fault.Is(err, fault.NotFound))
	require.Zero(t, e.stored(t))
}

func TestOnlyChecked(t *testing.T) {
	t.Parallel()
	e := setup(t)
	single := request(event("1", "meeting.booked", `{}`))
	single.ValidateOnly = true
	checked, err := e.events.PublishEvent(t.Context(), single)
	require.NoError(t, err)
	require.Equal(t, "1", checked.GetId())
	require.Equal(t, "/bookings", checked.GetSource())
	require.Empty(t, checked.GetName())
	require.Zero(t, checked.GetSequence())
	require.Nil(t, checked.GetPublishTime())
	single.Event.Data = []byte(event("1", "meeting.eaten", `{}`))
	_, err = e.events.PublishEvent(t.Context(), single)
	requireField(t, err, "event.type", core.RuleUnknownTrigger)

	several := batch(event("1", "meeting.booked", `{}`), event("2", "meeting.eaten", `{}`))
	several.ValidateOnly = true
	response, err := e.events.PublishEvents(t.Context(), several)
	require.NoError(t, err)
	require.Equal(t, "1", response.GetResults()[0].GetEvent().GetId())
	require.Empty(t, response.GetResults()[0].GetEvent().GetName())
	requireError(t, response.GetResults()[1], codes.InvalidArgument, "events[1].type")
	require.Zero(t, e.stored(t))
}

func TestQuotaCountsEveryEventOfABatch(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.quota.Store(&configv1.IngestQuota{EventsPerSecond: 1, Burst: 3})
	response, err := e.events.PublishEvents(t.Context(), batch(numbered(5)...))
	require.NoError(t, err)
	for i, result := range response.GetResults() {
		if i < 3 {
			require.NotNil(t, result.GetEvent())
			continue
		}
		requireError(t, result, codes.ResourceExhausted, "parent")
	}
	require.EqualValues(t, 3, e.stored(t))
}

// Nobody waits for the answer any more, so nothing is checked or stored for it.
func TestBatchEndsWithItsCaller(t *testing.T) {
	t.Parallel()
	e := setup(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := e.events.PublishEvents(ctx, batch(numbered(100)...))
	require.ErrorIs(t, err, context.Canceled)
	require.Zero(t, e.stored(t))
	require.Empty(t, e.refusals.byRule())
}

// What is not acknowledged in time may be published again.
func TestBatchThatIsNotAcknowledgedTellsWhenToTryAgain(t *testing.T) {
	t.Parallel()
	e := setup(t)
	require.NoError(t, e.js.DeleteStream(t.Context(), bus.StreamEvents))
	_, err := e.conn.Subscribe("events.>", func(*nats.Msg) {}) // somebody is there, and says nothing
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	response, err := e.events.PublishEvents(ctx, batch(numbered(3)...))
	require.NoError(t, err)
	for _, result := range response.GetResults() {
		require.EqualValues(t, codes.Unavailable, result.GetError().GetCode(), "%v", result)
		retry := &errdetails.RetryInfo{}
		require.True(t, slices.ContainsFunc(result.GetError().GetDetails(), func(d *anypb.Any) bool { return d.UnmarshalTo(retry) == nil }))
		require.Positive(t, retry.GetRetryDelay().AsDuration())
	}
	require.Equal(t, map[string]int{"stream_unavailable": 3}, e.refusals.byRule())
}

// Nothing waits for room: who finds none is told when to come again.
func TestWhoFindsNoRoomIsToldSo(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.events.Waiting = grpcapi.NewWaiting(3 * 16 << 10)
	_, err := e.events.PublishEvents(t.Context(), batch(numbered(4)...))
	requireBusy(t, err)
	response, err := e.events.PublishEvents(t.Context(), batch(numbered(3)...))
	require.NoError(t, err)
	require.Len(t, response.GetResults(), 3)
	_, err = e.events.PublishEvent(t.Context(), request(event("large", "meeting.booked", `{"x":"`+strings.Repeat("x", 50<<10)+`"}`)))
	requireBusy(t, err)

	// While the stream does not answer, those that wait take the room of the others.
	e.server.Shutdown()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var callers sync.WaitGroup
	for i := range 4 {
		callers.Go(func() {
			for ctx.Err() == nil {
				_, err := e.events.PublishEvent(ctx, request(event(fmt.Sprint("waits", i), "meeting.booked", `{}`)))
				if fault.From(err).Reason == "BUSY" {
					cancel()
				}
			}
		})
	}
	callers.Wait()
	require.ErrorIs(t, ctx.Err(), context.Canceled, "one of four finds no room")
	require.Contains(t, e.refusals.byRule(), "busy")
	e.server.Restart(t)
	require.Eventually(t, func() bool {
		_, err := e.events.PublishEvent(t.Context(), request(event("after", "meeting.booked", `{}`)))
		return err == nil
	}, patience, 50*time.Millisecond, "the room is free again")
}

func requireBusy(t *testing.T, err error) {
	t.Helper()
	require.True(t, fault.Is(err, fault.ResourceExhausted), "%v", err)
	require.Equal(t, "BUSY", fault.From(err).Reason)
	require.Positive(t, fault.From(err).RetryAfter)
}

func TestFullStreamTellsWhenToTryAgain(t *testing.T) {
	t.Parallel()
	e := setup(t)
	stream, err := e.js.Stream(t.Context(), bus.StreamEvents)
	require.NoError(t, err)
	config := stream.CachedInfo().Config
	config.MaxMsgs, config.Discard = 1, jetstream.DiscardNew
	_, err = e.js.UpdateStream(t.Context(), config)
	require.NoError(t, err)
	response, err := e.events.PublishEvents(t.Context(), batch(numbered(3)...))
	require.NoError(t, err)
	require.NotNil(t, response.GetResults()[0].GetEvent())
	require.EqualValues(t, codes.ResourceExhausted, response.GetResults()[2].GetError().GetCode())
	_, err = e.events.PublishEvent(t.Context(), request(event("x", "meeting.booked", `{}`)))
	require.Equal(t, "STREAM_FULL", fault.From(err).Reason)
	require.Positive(t, fault.From(err).RetryAfter)
}
