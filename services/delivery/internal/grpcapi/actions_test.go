package grpcapi_test

import (
	"context"
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

const deliveryResource = "organizations/acme/deliveries/" + deliveryID

// fakeLine has at most one timer, and remembers what was done with it.
type fakeLine struct {
	timer *natsbus.Timer
	late  bool // it has fired by the time that something is done
	next  uint64
	err   error

	done []string
	from uint64
	size int
}

func (l *fakeLine) ListTimers(_ context.Context, organization, webhook string, from, _ uint64, size int) (natsbus.TimerPart, error) {
	l.done, l.from, l.size = append(l.done, "list "+organization+" "+webhook), from, size
	return natsbus.TimerPart{Timers: []*natsbus.Timer{l.timer}, Read: 1, Next: l.next}, l.err
}

func (l *fakeLine) FindTimer(context.Context, string, string) (*natsbus.Timer, error) {
	return l.timer, l.err
}

func (l *fakeLine) Hasten(context.Context, *natsbus.Timer) (bool, error) {
	l.done = append(l.done, "hasten")
	return !l.late, nil
}

func (l *fakeLine) Cancel(context.Context, *natsbus.Timer, string) (bool, error) {
	l.done = append(l.done, "cancel")
	return !l.late, nil
}

func (l *fakeLine) LastTimer(context.Context) (uint64, error) { return 55, l.err }

// fakeResender finds nothing but what it is given, and remembers what was sent.
type fakeResender struct {
	found *natsbus.Found
	gone  error // of the event

	sent     []*core.Task
	requests []string
}

func (r *fakeResender) Find(context.Context, string, string) (*natsbus.Found, error) {
	return r.found, nil
}

func (r *fakeResender) Complete(context.Context, *natsbus.Found) error { return r.gone }

func (r *fakeResender) Resend(_ context.Context, found *natsbus.Found, requestID string) error {
	r.sent, r.requests = append(r.sent, found.Task), append(r.requests, requestID)
	return nil
}

// actions is the API over fakes.
type actions struct {
	*grpcapi.Actions
	line   *fakeLine
	resend *fakeResender
	store  *fakeStore
	work   *fakeWork
}

func newActions() *actions {
	work, fake := newWork()
	a := &actions{line: &fakeLine{}, resend: &fakeResender{}, store: &fakeStore{}, work: fake}
	a.store.deliveries = []*deliveryv1.Delivery{{
		Name: deliveryResource, Webhook: "organizations/acme/webhooks/" + webhookID, Trigger: "custom.thing", EventSource: "/s",
		EventId: "e", EventSequence: 9, AttemptCount: 4, State: deliveryv1.Delivery_STATE_SUCCEEDED,
		AcceptTime: timestamppb.New(time.Date(2026, 3, 14, 0, 0, 0, 0, time.UTC)),
	}}
	a.Actions = &grpcapi.Actions{Work: work, Line: a.line, Resend: a.resend, Known: a.store, NewID: func() string { return "id" }}
	return a
}

func timer() *natsbus.Timer {
	return &natsbus.Timer{Sequence: 12, Due: time.Date(2026, 3, 16, 0, 0, 0, 0, time.UTC), Parked: true, Task: letter(1).Task}
}

// changes are the calls that change a delivery.
func (a *actions) changes(t *testing.T) map[string]func(name string) error {
	t.Helper()
	return map[string]func(name string) error{
		"retry": func(name string) error {
			_, err := a.RetryDelivery(t.Context(), &deliveryv1.RetryDeliveryRequest{Name: name})
			return err
		},
		"cancel": func(name string) error {
			_, err := a.CancelDelivery(t.Context(), &deliveryv1.CancelDeliveryRequest{Name: name})
			return err
		},
		"resend": func(name string) error {
			_, err := a.ResendDelivery(t.Context(), &deliveryv1.ResendDeliveryRequest{Name: name, RequestId: webhookID})
			return err
		},
	}
}

func TestTimersAsTheAPIShowsThem(t *testing.T) {
	t.Parallel()
	a := newActions()
	a.line.timer, a.line.next = timer(), 13
	request := &deliveryv1.ListTimersRequest{Parent: "organizations/acme/webhooks/" + webhookID, PageSize: 1}
	page, err := a.ListTimers(t.Context(), request)
	require.NoError(t, err)
	require.Len(t, page.GetTimers(), 1)
	require.True(t, proto.Equal(&deliveryv1.Timer{
		Delivery: deliveryResource, Trigger: "meeting.booked", EventSource: "/booking", EventId: "bk_ü", EventSequence: 7, AttemptCount: 10,
		DueTime: timestamppb.New(time.Date(2026, 3, 16, 0, 0, 0, 0, time.UTC)), Parked: true,
	}, page.GetTimers()[0]), "%v", page)
	request.PageToken, a.line.next = page.GetNextPageToken(), 0
	page, err = a.ListTimers(t.Context(), request)
	require.NoError(t, err)
	require.Empty(t, page.GetNextPageToken())
	require.EqualValues(t, 13, a.line.from)

	request.Parent = "organizations/acme/webhooks/" + deliveryID
	_, err = a.ListTimers(t.Context(), request)
	require.True(t, fault.Is(err, fault.NotFound), "%v", err)
	_, err = a.ListTimers(t.Context(), &deliveryv1.ListTimersRequest{Parent: "organizations/globex/webhooks/" + webhookID})
	require.True(t, fault.Is(err, fault.NotFound), "it is another organization's: %v", err)
	for _, name := range badNames("webhooks") {
		_, err = a.ListTimers(t.Context(), &deliveryv1.ListTimersRequest{Parent: name})
		requireInvalid(t, err, "parent", name)
	}
}

func TestChangesAreRecordedAndMade(t *testing.T) {
	t.Parallel()
	for what, done := range map[string][]string{"retry": {"hasten"}, "cancel": {"cancel"}, "resend": nil} {
		a := newActions()
		a.line.timer = timer()
		require.NoError(t, a.changes(t)[what](deliveryResource), what)
		require.Equal(t, done, a.line.done, what)
		require.Len(t, a.work.actions, 1, what)
		require.Equal(t, []string{what, deliveryResource, "acme"},
			[]string{a.work.actions[0].Action, a.work.actions[0].Resource, a.work.actions[0].Organization})

		a.work.refused = fault.New(fault.Unavailable, "AWAY", "away")
		require.ErrorIs(t, a.changes(t)[what](deliveryResource), a.work.refused, what)
		require.Equal(t, done, a.line.done, "%s: what cannot be recorded is not done", what)
		for _, name := range badNames("deliveries") {
			requireInvalid(t, a.changes(t)[what](name), "name", name)
		}
	}
}

func TestWhatDoesNotWait(t *testing.T) {
	t.Parallel()
	for _, what := range []string{"retry", "cancel"} {
		a := newActions()
		err := a.changes(t)[what](deliveryResource)
		require.True(t, fault.Is(err, fault.FailedPrecondition), "%s: %v", what, err)
		require.Equal(t, "NOT_WAITING", fault.From(err).Reason)
		require.Empty(t, a.work.actions)
		a.line.timer, a.line.late = timer(), true
		err = a.changes(t)[what](deliveryResource)
		require.Equal(t, "NOT_WAITING", fault.From(err).Reason, "%s: it has just fired", what)
	}
	for what, call := range func() map[string]func(string) error {
		a := newActions()
		a.store.err = fault.New(fault.NotFound, "DELIVERY_NOT_FOUND", "no such delivery")
		return a.changes(t)
	}() {
		require.True(t, fault.Is(call(deliveryResource), fault.NotFound), what)
	}
}

func TestWebhookMustBeActive(t *testing.T) {
	t.Parallel()
	for _, what := range []string{"retry", "resend"} {
		a := newActions()
		a.line.timer = timer()
		for _, status := range []core.Status{core.StatusPaused, core.StatusDisabled} {
			a.Configuration = fakeConfiguration{webhookID: status}
			err := a.changes(t)[what](deliveryResource)
			require.True(t, fault.Is(err, fault.FailedPrecondition), "%s: %v", what, err)
			require.Equal(t, "WEBHOOK_NOT_ACTIVE", fault.From(err).Reason)
		}
		require.Empty(t, a.line.done)
		require.Empty(t, a.resend.sent)
	}
}

func TestResendOfWhatHasEnded(t *testing.T) {
	t.Parallel()
	a := newActions()
	require.NoError(t, a.changes(t)["resend"](deliveryResource))
	require.Equal(t, []*core.Task{{
		Delivery: deliveryID, Organization: "acme", Webhook: webhookID, Lane: "custom", Trigger: "custom.thing", EventSource: "/s", EventID: "e",
		EventSequence: 9, Attempts: 4, AcceptedAt: time.Date(2026, 3, 14, 0, 0, 0, 0, time.UTC),
	}}, a.resend.sent)
	require.NoError(t, a.changes(t)["resend"](deliveryResource))
	require.Equal(t, a.work.actions[0].ID, a.work.actions[1].ID, "one request is one action")
	require.NotEmpty(t, a.work.actions[0].ID)
	require.Equal(t, []string{webhookID, webhookID}, a.resend.requests)

	a.resend.gone = fault.New(fault.FailedPrecondition, "EVENT_GONE", "gone")
	require.ErrorIs(t, a.changes(t)["resend"](deliveryResource), a.resend.gone)
	require.Len(t, a.resend.sent, 2)
}

func TestRetryOfManyBegins(t *testing.T) {
	t.Parallel()
	a := newActions()
	mine := "organizations/acme/webhooks/" + webhookID
	begun, err := a.RetryDeliveries(t.Context(), &deliveryv1.RetryDeliveriesRequest{Parent: "organizations/acme", Webhook: mine, DryRun: true})
	require.NoError(t, err)
	require.Equal(t, []any{"retry_deliveries", mine, true, 1000.0}, []any{begun.GetType(), begun.GetTarget(), begun.GetDryRun(), begun.GetRate()})
	require.JSONEq(t, `{"webhook":"`+webhookID+`","until":55,"revision":9}`, string(a.work.begun[0].Parameters))
	for _, webhook := range []string{"", mine} {
		_, err = a.RetryDeliveries(t.Context(), &deliveryv1.RetryDeliveriesRequest{Parent: "organizations/-", Webhook: webhook, Rate: 7})
		require.NoError(t, err)
	}
	require.Empty(t, a.work.begun[1].Organization)

	_, err = a.RetryDeliveries(t.Context(), &deliveryv1.RetryDeliveriesRequest{Parent: "organizations/acme", Webhook: "organizations/globex/webhooks/" + webhookID})
	requireInvalid(t, err, "webhook", "of another organization")
	_, err = a.RetryDeliveries(t.Context(), &deliveryv1.RetryDeliveriesRequest{Parent: "organizations/acme", Webhook: "organizations/acme/webhooks/" + deliveryID})
	require.True(t, fault.Is(err, fault.NotFound), "%v", err)
	_, err = a.RetryDeliveries(t.Context(), &deliveryv1.RetryDeliveriesRequest{Parent: "organizations/globex"})
	require.True(t, fault.Is(err, fault.NotFound), "%v", err)
	for _, parent := range badParents() {
		_, err = a.RetryDeliveries(t.Context(), &deliveryv1.RetryDeliveriesRequest{Parent: parent})
		requireInvalid(t, err, "parent", parent)
	}
	require.Len(t, a.work.begun, 3)
}
