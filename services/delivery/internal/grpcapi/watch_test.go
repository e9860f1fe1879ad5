package grpcapi_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/metadata"

	"github.com/meetwire/meetwire/pkg/fault"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	"github.com/meetwire/meetwire/services/delivery/internal/grpcapi"
)

// fakeLive gives out some records, and then waits until the context ends.
type fakeLive struct {
	records               []*deliveryv1.Record
	missed                uint64 // before each
	organization, webhook string
}

func (l *fakeLive) Watch(
	ctx context.Context, organization, webhook string, begun func() error, do func(*deliveryv1.Record, uint64) error,
) error {
	l.organization, l.webhook = organization, webhook
	if err := begun(); err != nil {
		return err
	}
	for _, record := range l.records {
		if err := do(record, l.missed); err != nil {
			return err
		}
	}
	<-ctx.Done()
	return ctx.Err()
}

// answers is a stream that collects what is sent, and ends after so many.
type answers struct {
	ctx     context.Context
	cancel  context.CancelFunc
	until   int
	begun   bool
	header  chan struct{} // closed when it has begun; nil: nobody waits
	answers []*deliveryv1.WatchAttemptsResponse
}

func (a *answers) Send(m *deliveryv1.WatchAttemptsResponse) error {
	a.answers = append(a.answers, m)
	if len(a.answers) == a.until {
		a.cancel()
	}
	return nil
}

func (a *answers) SendHeader(metadata.MD) error {
	a.begun = true
	if a.header != nil {
		close(a.header)
	}
	return nil
}

func (a *answers) SetHeader(metadata.MD) error { return nil }
func (a *answers) SetTrailer(metadata.MD)      {}
func (a *answers) Context() context.Context    { return a.ctx }
func (a *answers) SendMsg(any) error           { return nil }
func (a *answers) RecvMsg(any) error           { return nil }

// watch collects so many answers to a request.
func watch(t *testing.T, live *fakeLive, request *deliveryv1.WatchAttemptsRequest, until int) []*deliveryv1.WatchAttemptsResponse {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	stream := &answers{ctx: ctx, cancel: cancel, until: until}
	err := grpcapi.NewWatching(t.Context(), live).WatchAttempts(request, stream)
	require.ErrorIs(t, err, context.Canceled)
	require.True(t, stream.begun)
	return stream.answers
}

func live() *fakeLive {
	l := &fakeLive{missed: 2}
	for i, class := range []string{"", "timeout", "status"} {
		l.records = append(l.records, &deliveryv1.Record{
			Id: fmt.Sprint(i), Organization: "acme", Delivery: deliveryID, Webhook: webhookID, Trigger: "meeting.booked", EventId: "bk_1",
			State:   deliveryv1.Delivery_STATE_PENDING,
			Attempt: &deliveryv1.Attempt{ErrorClass: class, StatusCode: int32(200 * i), RequestBody: []byte("sent"), ResponseBody: []byte("got")},
		}, &deliveryv1.Record{Id: "no attempt", Organization: "acme", Delivery: deliveryID, Webhook: webhookID})
	}
	return l
}

func TestWatchedAttemptsAreShownAsElsewhere(t *testing.T) {
	t.Parallel()
	l := live()
	got := watch(t, l, &deliveryv1.WatchAttemptsRequest{Parent: "organizations/acme", Brief: true}, 3)
	require.Equal(t, []string{"acme", "*"}, []string{l.organization, l.webhook})
	first := got[0].GetAttempt()
	require.Equal(t, "organizations/acme/deliveries/"+deliveryID+"/attempts/0", first.GetName())
	require.Equal(t, "organizations/acme/webhooks/"+webhookID, first.GetWebhook())
	require.Equal(t, "meeting.booked", first.GetTrigger())
	require.Equal(t, "bk_1", first.GetEventId())
	require.Empty(t, first.GetRequestBody())
	require.Empty(t, first.GetRequestText()+first.GetResponseText())
	require.Equal(t, deliveryv1.Delivery_STATE_PENDING, got[0].GetState())
	require.EqualValues(t, 2, got[0].GetMissedCount())
	require.EqualValues(t, 4, got[1].GetMissedCount(), "also what was missed before a record that is not shown")
	whole := watch(t, live(), &deliveryv1.WatchAttemptsRequest{Parent: "organizations/acme"}, 3)
	require.Equal(t, "sent", whole[0].GetAttempt().GetRequestText())
	require.Equal(t, "got", whole[0].GetAttempt().GetResponseText())
}

func TestWatchedAttemptsAreFiltered(t *testing.T) {
	t.Parallel()
	for filter, want := range map[string][]string{
		`error_class = timeout`: {"timeout"}, `succeeded = true`: {""}, `succeeded = false`: {"timeout", "status"}, `status_code = "400"`: {"status"},
		`trigger = meeting.booked AND event_id = bk_1`: {"", "timeout", "status"},
	} {
		got := watch(t, live(), &deliveryv1.WatchAttemptsRequest{Parent: "organizations/acme", Filter: filter}, len(want))
		classes := make([]string, len(got))
		for i, answer := range got {
			classes[i] = answer.GetAttempt().GetErrorClass()
		}
		require.Equal(t, want, classes, filter)
	}
	l := live()
	watch(t, l, &deliveryv1.WatchAttemptsRequest{Parent: "organizations/acme", Filter: `webhook = "organizations/acme/webhooks/` + webhookID + `"`}, 3)
	require.Equal(t, webhookID, l.webhook)
	watch(t, l, &deliveryv1.WatchAttemptsRequest{Parent: "organizations/-"}, 3)
	require.Equal(t, "*", l.organization)
}

func TestBadWatchersAreRefused(t *testing.T) {
	t.Parallel()
	watching := grpcapi.NewWatching(t.Context(), nil) // must not be asked
	for filter, parent := range map[string]string{
		`state = x`: "organizations/acme", `succeeded = maybe`: "organizations/acme", `status_code = "x"`: "organizations/acme",
		`webhook = "organizations/globex/webhooks/` + webhookID + `"`: "organizations/acme",
		`webhook = "organizations/acme/webhooks/` + webhookID + `"`:   "organizations/-",
	} {
		err := watching.WatchAttempts(&deliveryv1.WatchAttemptsRequest{Parent: parent, Filter: filter}, &answers{ctx: t.Context()})
		requireInvalid(t, err, "filter", filter)
	}
	err := watching.WatchAttempts(&deliveryv1.WatchAttemptsRequest{Parent: "organizations/>"}, &answers{ctx: t.Context()})
	requireInvalid(t, err, "parent", "a subject")
}

// No organization takes the place of all others.
func TestWatchersAreFew(t *testing.T) {
	t.Parallel()
	watching := grpcapi.NewWatching(t.Context(), &fakeLive{})
	var open []func() error // ends one
	begin := func(parent string) error {
		ctx, cancel := context.WithCancel(t.Context())
		stream := &answers{ctx: ctx, cancel: cancel, header: make(chan struct{})}
		done := make(chan error, 1)
		go func() { done <- watching.WatchAttempts(&deliveryv1.WatchAttemptsRequest{Parent: parent}, stream) }()
		end := func() error { cancel(); return <-done }
		select {
		case <-stream.header:
			open = append(open, end)
			return nil
		case err := <-done:
			cancel()
			return err
		}
	}
	t.Cleanup(func() {
		for _, end := range open {
			_ = end()
		}
	})
	for n := range 5 {
		parent := fmt.Sprintf("organizations/acme%d", n)
		for range 20 {
			require.NoError(t, begin(parent))
		}
		err := begin(parent)
		require.True(t, fault.Is(err, fault.ResourceExhausted), "%v", err)
	}
	require.True(t, fault.Is(begin("organizations/other"), fault.ResourceExhausted), "a hundred altogether")
	require.ErrorIs(t, open[0](), context.Canceled)
	open = open[1:]
	require.NoError(t, begin("organizations/other"))
}

func TestStopOfTheServiceEndsWatching(t *testing.T) {
	t.Parallel()
	serving, stop := context.WithCancel(t.Context())
	stop()
	err := grpcapi.NewWatching(serving, live()).WatchAttempts(
		&deliveryv1.WatchAttemptsRequest{Parent: "organizations/acme"}, &answers{ctx: t.Context(), cancel: func() {}})
	require.True(t, fault.Is(err, fault.Unavailable), "%v", err)
}
