package delivery_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/seal"
	"github.com/meetwire/meetwire/pkg/webhook"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
)

// sealed returns what the feed tells of a secret of a webhook.
func (i *installation) sealed(t *testing.T, id, plain string) []*configv1.SealedSecret {
	t.Helper()
	box, err := seal.New(i.config.Keyset)
	require.NoError(t, err)
	sealed, err := box.Seal([]byte(plain), id)
	require.NoError(t, err)
	return []*configv1.SealedSecret{{Sealed: sealed}}
}

// another makes a further webhook, which is only tried once.
func (i *installation) another(t *testing.T, url string) *configv1.Webhook {
	t.Helper()
	plain, err := webhook.NewSecret()
	require.NoError(t, err)
	w := proto.CloneOf(i.webhook)
	w.Id, w.TargetUrl, w.RetryPolicy = uuid.NewString(), url, &configv1.RetryPolicy{}
	w.Secrets = i.sealed(t, w.Id, plain)
	return w
}

// delivery is the message of the delivery of an event to the webhook, as ingest publishes it.
func (i *installation) delivery(t *testing.T, eventID, body string) *nats.Msg {
	t.Helper()
	stored, err := i.js.Publish(newContext(t), bus.EventSubject("acme", "meeting.booked"), []byte(body))
	require.NoError(t, err)
	msg := nats.NewMsg(bus.DeliverySubject("meeting-booked", "acme", hook))
	for name, value := range map[string]string{
		bus.HeaderDeliveryID: bus.DeliveryID("acme", "/bookings", eventID, hook), bus.HeaderOrganization: "acme",
		bus.HeaderWebhookID: hook, bus.HeaderTrigger: "meeting.booked", bus.HeaderSource: "/bookings", bus.HeaderEventID: eventID,
		bus.HeaderEventSequence: fmt.Sprint(stored.Sequence), bus.HeaderConfigRevision: "1",
		bus.HeaderAcceptedAt: time.Now().UTC().Format(time.RFC3339Nano),
	} {
		msg.Header.Set(name, value)
	}
	msg.Data = []byte(body)
	return msg
}

// booked is an event.
func booked(id string) string {
	return `{"specversion":"1.0","type":"meeting.booked","source":"/bookings","id":"` + id + `","data":{"id":"` + id + `"}}`
}

// One delivery that ingest publishes many times at once is sent once; and one that is in DELIVERIES twice all the same,
// because its event was published again after the window, does no harm in two hands at once.
func TestServiceIsGivenTheSameDeliveryConcurrently(t *testing.T) {
	t.Parallel()
	i := start(t)
	i.webhook.RetryPolicy = every(time.Second, 5)
	four(t, i)
	once := i.delivery(t, "bk_1", booked("bk_1"))
	published := make(chan error, 50)
	for range cap(published) {
		go func() {
			_, err := bus.Publish(t.Context(), i.js, &nats.Msg{Subject: once.Subject, Header: nats.Header(http.Header(once.Header).Clone()), Data: once.Data},
				once.Header.Get(bus.HeaderDeliveryID))
			published <- err
		}()
	}
	for range cap(published) {
		require.NoError(t, <-published)
	}
	i.requireState(t, i.received(t).header.Get("webhook-id"), deliveryv1.Delivery_STATE_SUCCEEDED, 1)
	i.requireSettled(t)
	require.Empty(t, i.calls)

	both := make(chan struct{})
	var n atomic.Int64
	i.respond(func(w http.ResponseWriter) {
		switch n.Add(1) {
		case 1:
			<-both
			w.WriteHeader(http.StatusInternalServerError)
		case 2:
			close(both)
		}
	})
	twice := i.delivery(t, "bk_2", booked("bk_2"))
	for range 2 {
		_, err := i.js.PublishMsg(newContext(t), twice)
		require.NoError(t, err)
	}
	for range 3 { // the one that has failed is tried again
		require.Equal(t, twice.Header.Get(bus.HeaderDeliveryID), i.received(t).header.Get("webhook-id"))
	}
	i.requireSettled(t)
	require.Zero(t, i.messages(t, bus.StreamDeadLetters))
	id := twice.Header.Get(bus.HeaderDeliveryID)
	require.Eventually(t, func() bool { return len(i.attempts(t, id)) == 3 }, patience, tick)
	found, err := i.delivers.GetDelivery(newContext(t), &deliveryv1.GetDeliveryRequest{Name: "organizations/acme/deliveries/" + id})
	require.NoError(t, err)
	require.Equal(t, deliveryv1.Delivery_STATE_SUCCEEDED, found.GetState())
	require.Empty(t, i.calls)
}

// bad are receivers that do all that can be done wrong. None answers as it should before the returned function is called.
func bad(t *testing.T, i *installation) (webhooks []*configv1.Webhook, lured *atomic.Int64, release func()) {
	t.Helper()
	lured, released := new(atomic.Int64), make(chan struct{})
	lure := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { lured.Add(1) }))
	t.Cleanup(lure.Close)
	refused := listen(t)
	require.NoError(t, refused.Close())
	urls := []string{"http://" + refused.Addr().String()}
	for _, answer := range []http.HandlerFunc{
		func(_ http.ResponseWriter, r *http.Request) { // never answers
			select {
			case <-released:
			case <-r.Context().Done():
			}
		},
		func(w http.ResponseWriter, r *http.Request) { // drips
			for {
				_, _ = w.Write([]byte("."))
				_ = http.NewResponseController(w).Flush()
				select {
				case <-released:
					return
				case <-r.Context().Done():
					return
				case <-time.After(50 * time.Millisecond):
				}
			}
		},
		func(w http.ResponseWriter, r *http.Request) { // never ends
			w.WriteHeader(http.StatusInternalServerError)
			for {
				if _, err := w.Write(make([]byte, 64<<10)); err != nil {
					return
				}
			}
		},
		func(w http.ResponseWriter, r *http.Request) { // sends elsewhere
			http.Redirect(w, r, lure.URL, http.StatusTemporaryRedirect)
		},
		func(w http.ResponseWriter, r *http.Request) { // to where cloud machines find their credentials
			http.Redirect(w, r, "http://169.254.169.254/latest/meta-data/", http.StatusFound)
		},
		func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, // hangs up
	} {
		server := httptest.NewServer(answer)
		t.Cleanup(server.Close)
		urls = append(urls, server.URL)
	}
	for _, url := range urls {
		webhooks = append(webhooks, i.another(t, url))
	}
	var done atomic.Bool
	release = func() {
		if done.CompareAndSwap(false, true) {
			close(released)
		}
	}
	t.Cleanup(release)
	return webhooks, lured, release
}

// Among receivers that hang, drip, overflow, redirect, refuse and hang up, the others get everything before any that
// hangs has let go.
func TestServiceKeepsBadReceiversFromTheOthers(t *testing.T) {
	t.Parallel()
	i := start(t)
	evil, lured, release := bad(t, i)
	const good, each = 5, 40
	resources := i.resources()
	var receivers []*busy
	var all []*configv1.Webhook
	for range good {
		receiver, url := newBusy(t, 0)
		receivers = append(receivers, receiver)
		all = append(all, i.another(t, url))
	}
	all = append(all, evil...)
	for _, w := range all {
		resources = append(resources, &configv1.Resource{Resource: &configv1.Resource_Webhook{Webhook: w}})
	}
	i.feed.open(resources...)
	i.readyWhenOpen(t)
	var futures []jetstream.PubAckFuture
	for n := range each {
		id := fmt.Sprintf("bk_%d", n)
		first := i.delivery(t, id, booked(id))
		for _, w := range all {
			msg := nats.NewMsg(bus.DeliverySubject("meeting-booked", "acme", w.GetId()))
			msg.Header, msg.Data = nats.Header(http.Header(first.Header).Clone()), first.Data
			msg.Header.Set(bus.HeaderWebhookID, w.GetId())
			msg.Header.Set(bus.HeaderDeliveryID, bus.DeliveryID("acme", "/bookings", id, w.GetId()))
			future, err := bus.PublishAsync(i.js, msg, msg.Header.Get(bus.HeaderDeliveryID))
			require.NoError(t, err)
			futures = append(futures, future)
		}
	}
	for _, future := range futures {
		_, err := bus.Await(newContext(t), future)
		require.NoError(t, err)
	}
	for _, receiver := range receivers {
		require.Eventually(t, func() bool { return receiver.count() >= each }, patience, tick)
		require.Equal(t, each, receiver.count())
	}
	redirected := bus.DeliveryID("acme", "/bookings", "bk_0", evil[5].GetId())
	i.requireState(t, redirected, deliveryv1.Delivery_STATE_DEAD_LETTERED, 1)
	require.EqualValues(t, http.StatusFound, i.attempts(t, redirected)[0].GetStatusCode(), "what it said, and no more")
	require.Zero(t, lured.Load(), "no redirect is followed")
	release()
}

// Between two attempts everything about a webhook is changed.
func TestServiceUsesWhatTheWebhookIsAtEachAttempt(t *testing.T) {
	t.Parallel()
	i := start(t)
	i.webhook.RetryPolicy = every(time.Second, 1)
	answer := make(chan struct{})
	i.respond(func(w http.ResponseWriter) {
		<-answer
		w.WriteHeader(http.StatusInternalServerError)
	})
	i.ready(t)
	id := i.publish(t, "bk_1")
	first := i.received(t)
	require.Empty(t, first.header.Get("X-Token"))
	require.NotContains(t, first.header.Get("Content-Type"), "cloudevents")

	arrived := make(chan call, 10)
	plain, err := webhook.NewSecret()
	require.NoError(t, err)
	verifier, err := webhook.NewDialectVerifier("cloudevents", []string{plain})
	require.NoError(t, err)
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var body strings.Builder
		_, err := io.Copy(&body, r.Body)
		if err == nil {
			err = verifier.Verify(r.Header, []byte(body.String()))
		}
		arrived <- call{header: r.Header, err: err, data: body.String()}
	}))
	t.Cleanup(other.Close)
	box, err := seal.New(i.config.Keyset)
	require.NoError(t, err)
	token, err := box.Seal([]byte("a-token"), hook+"/headers/x-token")
	require.NoError(t, err)
	i.feed.change(i.with(func(w *configv1.Webhook) {
		w.TargetUrl, w.Dialect, w.Secrets = other.URL, "cloudevents", i.sealed(t, hook, plain)
		w.Headers = []*configv1.SealedHeader{{Name: "X-Token", SealedValue: token}}
	}))
	i.requireInForce(t)
	close(answer)
	select {
	case got := <-arrived:
		require.NoError(t, got.err, "it is signed with the new secret")
		require.Equal(t, "a-token", got.header.Get("X-Token"))
		require.Contains(t, got.header.Get("Content-Type"), "cloudevents")
		require.Contains(t, got.data, `"specversion"`)
		require.Equal(t, id, got.header.Get("webhook-id"))
	case <-time.After(patience):
		require.Fail(t, "nothing came")
	}
	i.requireState(t, id, deliveryv1.Delivery_STATE_SUCCEEDED, 2)
	require.Empty(t, i.calls, "the old address is not called")
	require.Empty(t, arrived)
}

// A webhook is deleted while it is being called: what follows from the failure is nothing.
func TestServiceDoesNotCallAWebhookThatWasDeletedMeanwhile(t *testing.T) {
	t.Parallel()
	i := start(t)
	i.webhook.RetryPolicy = every(200*time.Millisecond, 20)
	answer := make(chan struct{})
	i.respond(func(w http.ResponseWriter) {
		<-answer
		w.WriteHeader(http.StatusInternalServerError)
	})
	i.ready(t)
	id := i.publish(t, "bk_1")
	i.received(t)
	i.feed.change(&configv1.Resource{Resource: &configv1.Resource_DeletedWebhook{DeletedWebhook: hook}})
	i.requireInForce(t)
	close(answer)
	require.Equal(t, "webhook_deleted", i.requireState(t, id, deliveryv1.Delivery_STATE_DROPPED, 1).GetReason())
	i.requireSettled(t)
	require.Zero(t, i.messages(t, bus.StreamDeadLetters))
	require.Empty(t, i.calls)
}

// durations makes the delays of a policy.
func durations(all ...time.Duration) (protos []*durationpb.Duration) {
	for _, d := range all {
		protos = append(protos, durationpb.New(d))
	}
	return protos
}
