package grpcapi_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/audit"
	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/fault"
	ingestv1 "github.com/meetwire/meetwire/proto/gen/meetwire/ingest/v1"
	"github.com/meetwire/meetwire/services/ingest/internal/core"
	"github.com/meetwire/meetwire/services/ingest/internal/grpcapi"
	"github.com/meetwire/meetwire/services/ingest/internal/natsbus"
)

// auditor implements grpcapi.Auditor.
type auditor struct {
	mu      sync.Mutex
	actions []audit.Action
	err     error
}

func (a *auditor) Record(_ context.Context, action audit.Action) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.actions = append(a.actions, action)
	return a.err
}

func (e *env) rejects() (*grpcapi.Rejects, *auditor) {
	a := &auditor{}
	return &grpcapi.Rejects{Store: &natsbus.Rejects{JetStream: e.js}, Publishing: e.events, Audit: a}, a
}

// reject puts something into REJECTS and returns its name.
func (e *env) reject(t *testing.T, organization, rule, body string, header nats.Header) string {
	t.Helper()
	msg := nats.NewMsg(bus.RejectSubject(organization))
	msg.Data = []byte(body)
	for name, values := range header {
		msg.Header[name] = values
	}
	for name, value := range map[string]string{
		bus.HeaderReason: rule, bus.HeaderField: "/data/title", bus.HeaderDetail: "must be a string", bus.HeaderOrganization: organization,
		bus.HeaderSubject: "events." + organization + ".meeting.booked", bus.HeaderEventSequence: "77",
		bus.HeaderAcceptedAt: now().Format(time.RFC3339Nano),
	} {
		msg.Header.Set(name, value)
	}
	ack, err := e.js.PublishMsg(t.Context(), msg)
	require.NoError(t, err)
	return "organizations/" + organization + "/rejects/" + strconv.FormatUint(ack.Sequence, 10)
}

func TestGetReject(t *testing.T) {
	t.Parallel()
	e := setup(t)
	r, _ := e.rejects()
	body := "\xff" + `{"id":`
	name := e.reject(t, "acme", core.RuleUTF8, body, nil)
	got, err := r.GetReject(t.Context(), &ingestv1.GetRejectRequest{Name: name})
	require.NoError(t, err)
	require.Equal(t, name, got.GetName())
	require.Equal(t, "events.acme.meeting.booked", got.GetSubject())
	require.EqualValues(t, 77, got.GetEventSequence())
	require.Equal(t, now(), got.GetAcceptTime().AsTime())
	require.WithinDuration(t, time.Now(), got.GetRejectTime().AsTime(), time.Minute)
	require.Equal(t, core.RuleUTF8, got.GetRule())
	require.Equal(t, "/data/title", got.GetPointer())
	require.Equal(t, "must be a string", got.GetDetail())
	require.EqualValues(t, len(body), got.GetSizeBytes())
	require.Equal(t, []byte(body), got.GetBody())
	require.Empty(t, got.GetHeaders())

	// What is no document shows the attributes that came in headers.
	name = e.reject(t, "acme", core.RuleContentType, "hello", nats.Header{
		"ce-specversion": {"1.0"}, "ce-id": {"1"}, "Content-Type": {"text/plain"}, "other": {"x"},
	})
	got, err = r.GetReject(t.Context(), &ingestv1.GetRejectRequest{Name: name})
	require.NoError(t, err)
	require.Equal(t, map[string]string{"ce-specversion": "1.0", "ce-id": "1", "Content-Type": "text/plain"}, got.GetHeaders())

	others := e.reject(t, "beta", core.RuleSchema, "{}", nil)
	for _, name := range []string{strings.Replace(others, "beta", "acme", 1), "organizations/acme/rejects/99", others} {
		_, err = r.GetReject(t.Context(), &ingestv1.GetRejectRequest{Name: name})
		require.True(t, fault.Is(err, fault.NotFound), "%s: %v", name, err)
	}
	_, err = r.GetReject(t.Context(), &ingestv1.GetRejectRequest{Name: "organizations/*/rejects/1"})
	require.True(t, fault.Is(err, fault.InvalidArgument))
}

func TestListRejects(t *testing.T) {
	t.Parallel()
	e := setup(t)
	r, _ := e.rejects()
	var names []string
	for i := range 230 {
		rule := core.RuleSchema
		if i%50 == 0 {
			rule = core.RuleJSON
		}
		names = append(names, e.reject(t, "acme", rule, fmt.Sprint(i), nil))
		if i%10 == 0 {
			e.reject(t, "beta", rule, "{}", nil)
		}
	}
	list := func(filter string, size int32) (listed []string, pages int) {
		request := &ingestv1.ListRejectsRequest{Parent: "organizations/acme", Filter: filter, PageSize: size}
		for {
			response, err := r.ListRejects(t.Context(), request)
			require.NoError(t, err)
			pages++
			for _, reject := range response.GetRejects() {
				require.Empty(t, reject.GetBody())
				listed = append(listed, reject.GetName())
			}
			if request.PageToken = response.GetNextPageToken(); request.GetPageToken() == "" {
				return listed, pages
			}
		}
	}
	listed, pages := list("", 100)
	require.Equal(t, names, listed)
	require.Equal(t, 3, pages)
	listed, _ = list(`rule = "json" AND subject = "events.acme.meeting.booked"`, 2)
	require.Equal(t, []string{names[0], names[50], names[100], names[150], names[200]}, listed)
	listed, _ = list(`subject = "events.acme.other.thing"`, 0)
	require.Empty(t, listed)

	middle, err := r.GetReject(t.Context(), &ingestv1.GetRejectRequest{Name: names[115]})
	require.NoError(t, err)
	at := middle.GetRejectTime().AsTime().Format(time.RFC3339Nano)
	listed, _ = list(fmt.Sprintf("reject_time >= %q", at), 1000)
	require.Equal(t, names[115:], listed)
	listed, _ = list(fmt.Sprintf("reject_time < %q", at), 30)
	require.Equal(t, names[:115], listed)

	_, err = r.ListRejects(t.Context(), &ingestv1.ListRejectsRequest{Parent: "organizations/acme", Filter: `body = "x"`})
	requireField(t, err, "filter", "filter")
	_, err = r.ListRejects(t.Context(), &ingestv1.ListRejectsRequest{Parent: "organizations/nobody"})
	require.True(t, fault.Is(err, fault.NotFound))
	_, err = r.ListRejects(t.Context(), &ingestv1.ListRejectsRequest{Parent: "organizations/acme", PageToken: "x"})
	requireField(t, err, "page_token", "page_token")
}

func TestResubmitReject(t *testing.T) {
	t.Parallel()
	e := setup(t)
	r, log := e.rejects()
	resubmit := func(name, corrected string, only bool) (*ingestv1.ResubmitRejectResponse, error) {
		return r.ResubmitReject(t.Context(), &ingestv1.ResubmitRejectRequest{Name: name, Event: corrected, ValidateOnly: only})
	}
	wrong := event("bk_1", "meeting.booked", `{"title":1}`)
	name := e.reject(t, "acme", core.RuleSchema, wrong, nil)

	_, err := resubmit(name, "", false)
	requireField(t, err, "event.data/title", core.RuleSchema)
	for corrected, rule := range map[string]string{
		`{`: core.RuleJSON, event("1", "meeting.eaten", `{}`): core.RuleUnknownTrigger,
		event("1", "webhook.disabled", `{}`): core.RuleReservedTrigger,
		`{"specversion":"1.0","id":"1","source":"//meetwire/x","type":"meeting.booked","data":{}}`: core.RuleReservedSource,
	} {
		_, err = resubmit(name, corrected, false)
		require.Equal(t, rule, fault.From(err).Fields[0].Rule)
	}
	mended := event("bk_1", "meeting.booked", `{"title":"1"}`)
	response, err := resubmit(name, mended, true)
	require.NoError(t, err)
	require.Empty(t, response.GetEvent())
	require.Empty(t, log.actions)
	require.Zero(t, e.stored(t))

	log.err = errors.New("away")
	_, err = resubmit(name, mended, false)
	require.ErrorIs(t, err, log.err, "what cannot be recorded is not done")
	require.Zero(t, e.stored(t))
	log.err, log.actions = nil, nil

	response, err = resubmit(name, mended, false)
	require.NoError(t, err)
	require.Equal(t, "organizations/acme/events/1", response.GetEvent())
	require.Len(t, log.actions, 1)
	require.Equal(t, audit.Action{
		Organization: "acme", Action: audit.Resubmit, Resource: name,
		Details: map[string]any{"rule": core.RuleSchema, "corrected": true, "trigger": "meeting.booked", "source": "/bookings", "id": "bk_1"},
	}, log.actions[0])
	kept, err := (&natsbus.Events{JetStream: e.js}).Event(t.Context(), 1)
	require.NoError(t, err)
	require.Equal(t, mended, string(kept.Body))
	require.Equal(t, "REJECTS:1", nats.Header(kept.Header).Get(nats.MsgIdHdr))
	_, err = resubmit(name, mended, false)
	require.True(t, fault.Is(err, fault.NotFound), "it is no reject any more")
	require.EqualValues(t, 1, e.stored(t))

	// As it is: the trigger has been mended since. One in binary mode becomes a document.
	name = e.reject(t, "acme", core.RuleUnknownTrigger, `{}`, nats.Header{
		"ce-specversion": {"1.0"}, "ce-id": {"2"}, "ce-source": {"/s"}, "ce-type": {"meeting.booked"},
	})
	response, err = resubmit(name, "", false)
	require.NoError(t, err)
	require.Equal(t, "organizations/acme/events/2", response.GetEvent())
	kept, err = (&natsbus.Events{JetStream: e.js}).Event(t.Context(), 2)
	require.NoError(t, err)
	require.JSONEq(t, `{"specversion":"1.0","id":"2","source":"/s","type":"meeting.booked","data":{}}`, string(kept.Body))
}

func TestRejectThatIsResubmittedTwiceAtOnceIsOneEvent(t *testing.T) {
	t.Parallel()
	e := setup(t)
	r, _ := e.rejects()
	for i := range 10 {
		name := e.reject(t, "acme", core.RuleUnknownTrigger, event(fmt.Sprint(i), "meeting.booked", `{}`), nil)
		var clicks sync.WaitGroup
		for range 4 {
			clicks.Go(func() {
				response, err := r.ResubmitReject(t.Context(), &ingestv1.ResubmitRejectRequest{Name: name})
				if err != nil && !fault.Is(err, fault.NotFound) {
					t.Error(err)
				}
				if err == nil && response.GetEvent() != fmt.Sprintf("organizations/acme/events/%d", i+1) {
					t.Error(response.GetEvent())
				}
			})
		}
		clicks.Wait()
		require.EqualValues(t, i+1, e.stored(t))
		_, err := r.GetReject(t.Context(), &ingestv1.GetRejectRequest{Name: name})
		require.True(t, fault.Is(err, fault.NotFound))
	}
}

func TestRejectThatIsCorrectedTwiceAtOnceIsTheEventOfOneOfThem(t *testing.T) {
	t.Parallel()
	e := setup(t)
	r, _ := e.rejects()
	name := e.reject(t, "acme", core.RuleSchema, event("bk_1", "meeting.booked", `{"title":1}`), nil)
	reject, err := r.Store.Reject(t.Context(), "acme", 1)
	require.NoError(t, err)
	first := event("bk_1", "meeting.booked", `{"title":"first"}`)
	response, err := r.ResubmitReject(t.Context(), &ingestv1.ResubmitRejectRequest{Name: name, Event: first})
	require.NoError(t, err)

	// Somebody who has read the reject before it was gone.
	resubmit := func(document string) (uint64, error) {
		accepted, err := core.Parse([]byte(document))
		require.NoError(t, err)
		return r.Store.Resubmit(t.Context(), &reject, accepted)
	}
	_, err = resubmit(event("bk_1", "meeting.booked", `{"title":"second"}`))
	require.True(t, fault.Is(err, fault.Aborted), "%v", err)
	require.Equal(t, "RESUBMITTED_OTHERWISE", fault.From(err).Reason)
	sequence, err := resubmit(first)
	require.NoError(t, err, "the same once more")
	require.Equal(t, response.GetEvent(), fmt.Sprintf("organizations/acme/events/%d", sequence))
	require.EqualValues(t, 1, e.stored(t))
	stream, err := e.js.Stream(t.Context(), bus.StreamEvents)
	require.NoError(t, err)
	require.NoError(t, stream.SecureDeleteMsg(t.Context(), sequence))
	_, err = resubmit(first)
	require.True(t, fault.Is(err, fault.NotFound), "it was erased meanwhile: %v", err)
	require.Zero(t, e.stored(t))
}
