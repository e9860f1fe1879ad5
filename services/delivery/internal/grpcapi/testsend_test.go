package grpcapi_test

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/seal"
	"github.com/meetwire/meetwire/pkg/webhook"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	"github.com/meetwire/meetwire/services/delivery/internal/dialect"
	"github.com/meetwire/meetwire/services/delivery/internal/grpcapi"
	"github.com/meetwire/meetwire/services/delivery/internal/registry"
	"github.com/meetwire/meetwire/services/delivery/internal/sender"
)

const sampleEvent = `{"specversion":"1.0","id":"e1","source":"/s","type":"meeting.booked","time":"2026-01-01T00:00:00Z","data":{"n":1}}`

// trial is a receiver, and what sends tests to it.
type trial struct {
	*grpcapi.Internal

	box      *seal.Box
	receiver *httptest.Server
	hold     chan struct{} // when set: answers wait until it is closed

	mu   sync.Mutex
	got  []*http.Request
	body []string
}

func newTrial(t *testing.T, allowed ...netip.Prefix) *trial {
	t.Helper()
	keyset, err := seal.GenerateKeyset()
	require.NoError(t, err)
	tr := &trial{}
	tr.box, err = seal.New(keyset)
	require.NoError(t, err)
	tr.receiver = httptest.NewServer(tr)
	t.Cleanup(tr.receiver.Close)
	hooks := registry.New(&dialect.Maker{Box: tr.box, UserAgent: "Meetwire/test", Logger: slog.New(slog.DiscardHandler)}, func(string, string) {})
	hooks.Reset([]*configv1.Resource{
		{Resource: &configv1.Resource_Organization{Organization: &configv1.Organization{Id: "acme", AllowHttp: true}}},
		{Resource: &configv1.Resource_Organization{Organization: &configv1.Organization{Id: "beta", AllowHttp: true}}},
		{Resource: &configv1.Resource_Organization{Organization: &configv1.Organization{Id: "gamma", AllowHttp: true}}},
		{Resource: &configv1.Resource_Organization{Organization: &configv1.Organization{Id: "delta", AllowHttp: true}}},
		{Resource: &configv1.Resource_Organization{Organization: &configv1.Organization{Id: "strict"}}},
	}, 1)
	send := sender.New(sender.Config{Allowed: allowed, PerHost: 10, Now: time.Now, NewID: uuid.NewString})
	t.Cleanup(send.Close)
	tr.Internal = &grpcapi.Internal{Tests: grpcapi.NewTests(hooks, send, time.Now, uuid.NewString)}
	return tr
}

// loopback is where receivers of tests are.
func loopback() netip.Prefix { return netip.MustParsePrefix("127.0.0.0/8") }

func (tr *trial) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, "cannot read the body", http.StatusBadRequest)
		return
	}
	tr.mu.Lock()
	tr.got, tr.body = append(tr.got, r), append(tr.body, string(body))
	tr.mu.Unlock()
	if tr.hold != nil {
		<-tr.hold
	}
	w.WriteHeader(http.StatusTeapot)
	_, _ = io.WriteString(w, "short and stout")
}

func (tr *trial) count() int {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return len(tr.got)
}

// webhook is one with a secret and a header, as subscription tells of it.
func (tr *trial) webhook(t *testing.T, secret string) *configv1.Webhook {
	t.Helper()
	w := &configv1.Webhook{
		Id: webhookID, Organization: "acme", TargetUrl: tr.receiver.URL + "/hook", Dialect: "standard", Generation: 1,
		Timeout: durationpb.New(10 * time.Second), MaxConcurrency: 1, Status: configv1.WebhookStatus_WEBHOOK_STATUS_PAUSED,
	}
	sealed, err := tr.box.Seal([]byte(secret), w.GetId())
	require.NoError(t, err)
	w.Secrets = []*configv1.SealedSecret{{Sealed: sealed}}
	value, err := tr.box.Seal([]byte("Bearer t0ken"), w.GetId()+"/headers/authorization")
	require.NoError(t, err)
	w.Headers = []*configv1.SealedHeader{{Name: "Authorization", SealedValue: value}}
	return w
}

func TestTestIsSentAndAnsweredWithItsAttempt(t *testing.T) {
	t.Parallel()
	tr := newTrial(t, loopback())
	secret, err := webhook.NewSecret()
	require.NoError(t, err)
	response, err := tr.SendTest(t.Context(), &deliveryv1.SendTestRequest{Webhook: tr.webhook(t, secret), Event: sampleEvent})
	require.NoError(t, err)
	attempt := response.GetAttempt()
	require.EqualValues(t, http.StatusTeapot, attempt.GetStatusCode())
	require.Equal(t, "status", attempt.GetErrorClass())
	require.Equal(t, "short and stout", attempt.GetResponseText())
	require.EqualValues(t, 1, attempt.GetNumber())
	require.Positive(t, attempt.GetDuration().AsDuration())
	require.Positive(t, attempt.GetConnectDuration().AsDuration())
	require.Positive(t, attempt.GetFirstByteDuration().AsDuration())
	require.NotEmpty(t, attempt.GetRemoteAddress())
	require.Equal(t, []string{"meeting.booked", "e1", "organizations/acme/webhooks/" + webhookID},
		[]string{attempt.GetTrigger(), attempt.GetEventId(), attempt.GetWebhook()})

	require.Equal(t, 1, tr.count(), "once, though it has failed")
	got := tr.got[0]
	require.Equal(t, tr.body[0], attempt.GetRequestText())
	require.True(t, strings.HasPrefix(got.Header.Get("webhook-id"), "test_"), got.Header.Get("webhook-id"))
	require.Equal(t, "Bearer t0ken", got.Header.Get("Authorization"))
	verifier, err := webhook.NewDialectVerifier("standard", []string{secret})
	require.NoError(t, err)
	require.NoError(t, verifier.Verify(got.Header, []byte(tr.body[0])))
	for _, header := range attempt.GetRequestHeaders() {
		require.NotContains(t, header.GetValue(), "t0ken")
	}
}

func TestTestKeepsToTheRulesForURLs(t *testing.T) {
	t.Parallel()
	tr := newTrial(t) // without any address beside public ones
	attempt := func(change func(*configv1.Webhook)) *deliveryv1.Attempt {
		w := tr.webhook(t, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
		change(w)
		response, err := tr.SendTest(t.Context(), &deliveryv1.SendTestRequest{Webhook: w, Event: sampleEvent})
		require.NoError(t, err)
		require.NotEmpty(t, response.GetAttempt().GetErrorMessage())
		return response.GetAttempt()
	}
	require.Equal(t, "address", attempt(func(*configv1.Webhook) {}).GetErrorClass())
	require.Equal(t, "address", attempt(func(w *configv1.Webhook) { w.TargetUrl = "https://169.254.169.254/latest" }).GetErrorClass())
	require.Equal(t, "insecure", attempt(func(w *configv1.Webhook) { w.Organization = "strict" }).GetErrorClass())
	require.Zero(t, tr.count())
}

func TestTestsAreFew(t *testing.T) {
	t.Parallel()
	tr := newTrial(t, loopback())
	tr.hold = make(chan struct{})
	release := sync.OnceFunc(func() { close(tr.hold) })
	t.Cleanup(release) // before the receiver is closed, which waits for its requests
	request := func(organization string) *deliveryv1.SendTestRequest {
		w := tr.webhook(t, "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
		w.Organization = organization
		return &deliveryv1.SendTestRequest{Webhook: w, Event: sampleEvent}
	}
	var all sync.WaitGroup
	under := 0
	begin := func(organization string, n int) {
		for range n {
			one := request(organization)
			all.Go(func() {
				if _, err := tr.SendTest(t.Context(), one); err != nil {
					t.Error(err)
				}
			})
		}
		under += n
		require.Eventually(t, func() bool { return tr.count() == under }, 8*time.Second, 5*time.Millisecond)
	}
	refused := func(organization string) {
		_, err := tr.SendTest(t.Context(), request(organization))
		require.True(t, fault.Is(err, fault.ResourceExhausted), "%v", err)
	}
	begin("acme", 4)
	refused("acme")
	begin("beta", 4)
	begin("gamma", 2)
	refused("delta")
	release()
	all.Wait()
	for _, organization := range []string{"acme", "delta"} {
		_, err := tr.SendTest(t.Context(), request(organization))
		require.NoError(t, err)
	}
}

func TestBadTestsAreRefused(t *testing.T) {
	t.Parallel()
	tr := newTrial(t, loopback())
	secret := "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	send := func(w *configv1.Webhook, event string) error {
		_, err := tr.SendTest(t.Context(), &deliveryv1.SendTestRequest{Webhook: w, Event: event})
		require.Error(t, err)
		return err
	}
	for _, event := range []string{
		"", "{}", "[]", "null", `{"id":1,"source":"/s","type":"a.b"}`, `{"id":"1","source":"/s"}`, "\x00",
		`{"id":"1","source":"/s","type":"a.b","data":"` + strings.Repeat("x", 256<<10) + `"}`,
	} {
		requireInvalid(t, send(tr.webhook(t, secret), event), "event", event)
	}
	w := tr.webhook(t, secret)
	w.Id = "x"
	requireInvalid(t, send(w, sampleEvent), "webhook.id", w.GetId())
	w = tr.webhook(t, secret)
	w.Organization = "*"
	requireInvalid(t, send(w, sampleEvent), "organization", w.GetOrganization())
	w.Organization = "nobody"
	require.True(t, fault.Is(send(w, sampleEvent), fault.Unavailable))
	w = tr.webhook(t, secret)
	w.Secrets[0].Sealed = []byte("of another keyset")
	require.True(t, fault.Is(send(w, sampleEvent), fault.Unavailable))
	require.Zero(t, tr.count())
}
