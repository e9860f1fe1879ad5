package registry_test

import (
	"bytes"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/meetwire/meetwire/pkg/seal"
	"github.com/meetwire/meetwire/pkg/webhook"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
	"github.com/meetwire/meetwire/services/delivery/internal/dialect"
	"github.com/meetwire/meetwire/services/delivery/internal/registry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// env is a registry, what it was told to announce, and what it logged.
type env struct {
	*registry.Registry

	box     *seal.Box
	log     *bytes.Buffer
	resumed []string
}

func setup(t *testing.T) *env {
	t.Helper()
	e := &env{box: newBox(t), log: new(bytes.Buffer)}
	maker := &dialect.Maker{Box: e.box, UserAgent: "Meetwire/test", Logger: slog.New(slog.NewJSONHandler(e.log, nil))}
	e.Registry = registry.New(maker, func(organization, id string) { e.resumed = append(e.resumed, organization+"/"+id) })
	return e
}

func newBox(t *testing.T) *seal.Box {
	t.Helper()
	keyset, err := seal.GenerateKeyset()
	require.NoError(t, err)
	box, err := seal.New(keyset)
	require.NoError(t, err)
	return box
}

// announced returns whom the registry has announced since the last call.
func (e *env) announced() []string {
	names := e.resumed
	e.resumed = nil
	return names
}

func newWebhook(id string, paused bool) *configv1.Webhook {
	status := configv1.WebhookStatus_WEBHOOK_STATUS_ACTIVE
	if paused {
		status = configv1.WebhookStatus_WEBHOOK_STATUS_PAUSED
	}
	return &configv1.Webhook{
		Id: id, Organization: "acme", TargetUrl: "https://example.com/" + id, Status: status, Generation: 1, Timeout: durationpb.New(15 * time.Second),
		MaxConcurrency: 8,
	}
}

// sealed adds secrets to a webhook, sealed with a box.
func sealed(t *testing.T, w *configv1.Webhook, box *seal.Box, secrets ...string) *configv1.Webhook {
	t.Helper()
	w.Secrets = append(w.Secrets, sealedSecrets(t, box, w.GetId(), secrets...)...)
	return w
}

func sealedSecrets(t *testing.T, box *seal.Box, owner string, secrets ...string) []*configv1.SealedSecret {
	t.Helper()
	var all []*configv1.SealedSecret
	for _, secret := range secrets {
		text, err := box.Seal([]byte(secret), owner)
		require.NoError(t, err)
		all = append(all, &configv1.SealedSecret{Sealed: text})
	}
	return all
}

// task is a delivery of an event.
func task() *core.Task {
	return &core.Task{Delivery: "d1", Trigger: "meeting.booked", Event: []byte(`{"type": "meeting.booked", "data": {"a":1}}`)}
}

// render returns what a webhook would send.
func (e *env) render(t *testing.T, id string) (http.Header, string) {
	t.Helper()
	w, ok := e.Webhook(id)
	require.True(t, ok)
	request, err := w.Form.Render(task(), time.Unix(1_770_000_000, 0))
	require.NoError(t, err)
	header := http.Header{}
	for _, h := range request.Headers {
		header.Set(h.Name, h.Value)
	}
	return header, string(request.Body)
}

func organization(o *configv1.Organization) *configv1.Resource {
	return &configv1.Resource{Resource: &configv1.Resource_Organization{Organization: o}}
}

func newSecret(t *testing.T) string {
	t.Helper()
	secret, err := webhook.NewSecret()
	require.NoError(t, err)
	return secret
}

func resource(w *configv1.Webhook) *configv1.Resource {
	return &configv1.Resource{Resource: &configv1.Resource_Webhook{Webhook: w}}
}

func deleted(id string) *configv1.Resource {
	return &configv1.Resource{Resource: &configv1.Resource_DeletedWebhook{DeletedWebhook: id}}
}

func snapshot(webhooks ...*configv1.Webhook) []*configv1.Resource {
	resources := []*configv1.Resource{{Resource: &configv1.Resource_Trigger{Trigger: &configv1.Trigger{Id: "meeting.booked"}}}}
	for _, w := range webhooks {
		resources = append(resources, resource(w))
	}
	return resources
}

func change(resources ...*configv1.Resource) *configv1.Change {
	return &configv1.Change{Resources: resources}
}

func TestWebhookIsKeptAsConfigured(t *testing.T) {
	t.Parallel()
	e := setup(t)
	w := newWebhook("a", true)
	w.RetryPolicy = &configv1.RetryPolicy{
		MaxRetries: 3, FirstDelay: durationpb.New(time.Second), Factor: 1.5, MaxDelay: durationpb.New(time.Minute), Jitter: 0.1,
		GiveUpAge: durationpb.New(time.Hour),
	}
	w.Generation, w.MaxConcurrency, w.RateLimit, w.GoneDisables = 4, 3, 2.5, true
	w.FailureThreshold = &configv1.FailureThreshold{ConsecutiveFailures: 7, WithoutSuccess: durationpb.New(24 * time.Hour)}
	e.Reset(snapshot(sealed(t, w, e.box, newSecret(t)), sealed(t, newWebhook("b", false), e.box, newSecret(t))), 1)

	got, ok := e.Webhook("a")
	require.True(t, ok)
	require.NotNil(t, got.Form)
	got = &core.Webhook{ID: got.ID, Organization: got.Organization, TargetURL: got.TargetURL, Status: got.Status, Generation: got.Generation,
		Timeout: got.Timeout, Policy: got.Policy, Limits: got.Limits, Threshold: got.Threshold, AllowHTTP: got.AllowHTTP}
	require.Equal(t, &core.Webhook{
		ID: "a", Organization: "acme", TargetURL: "https://example.com/a", Status: core.StatusPaused, Generation: 4, Timeout: 15 * time.Second,
		Policy:    core.Policy{MaxRetries: 3, FirstDelay: time.Second, Factor: 1.5, MaxDelay: time.Minute, Jitter: 0.1, GiveUpAge: time.Hour},
		Limits:    core.Limits{Concurrency: 3, Rate: 2.5},
		Threshold: core.Threshold{Consecutive: 7, WithoutSuccess: 24 * time.Hour, Gone: true},
	}, got)
	_, ok = e.Webhook("c")
	require.False(t, ok)
	require.Empty(t, e.log.String())
}

func TestDefaultsAreThoseOfTheDialect(t *testing.T) {
	t.Parallel()
	e := setup(t)
	standard, none, axcelerate, ace, explicit := newWebhook("standard", false), newWebhook("none", false), newWebhook("axcelerate", false), newWebhook("ace", false), newWebhook("explicit", false)
	standard.Dialect, axcelerate.Dialect, ace.Dialect = "standard", "axcelerate", "ace"
	explicit.RetryPolicy = &configv1.RetryPolicy{
		MaxRetries: 2, Delays: []*durationpb.Duration{durationpb.New(time.Second), durationpb.New(time.Hour)}, Jitter: 0.5,
	}
	e.Reset(snapshot(standard, none, axcelerate, ace, explicit), 1)
	get := func(id string) *core.Webhook {
		w, ok := e.Webhook(id)
		require.True(t, ok)
		return w
	}
	require.Equal(t, 5*time.Second, get("standard").Policy.Delays[0])
	require.Len(t, get("standard").Policy.Delays, 9)
	require.Equal(t, get("standard").Policy, get("none").Policy)
	doubling := get("axcelerate").Policy
	require.Zero(t, doubling.Jitter)
	require.Len(t, doubling.Delays, 20)
	for i, delay := range doubling.Delays {
		require.Equal(t, time.Second<<i, delay)
	}
	require.True(t, get("ace").AllowHTTP)
	require.False(t, get("standard").AllowHTTP)
	require.Equal(t, core.Policy{Delays: []time.Duration{time.Second, time.Hour}, MaxRetries: 2, Jitter: 0.5}, get("explicit").Policy)
}

// BenchmarkReset loads a hundred thousand webhooks.
func BenchmarkReset(b *testing.B) {
	keyset, err := seal.GenerateKeyset()
	require.NoError(b, err)
	box, err := seal.New(keyset)
	require.NoError(b, err)
	sealed, err := box.Seal([]byte("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"), "w")
	require.NoError(b, err)
	const count = 100_000
	resources := make([]*configv1.Resource, count)
	for i := range resources {
		w := newWebhook(strconv.Itoa(i), false)
		w.Organization = strconv.Itoa(i / 100)
		w.Secrets = []*configv1.SealedSecret{{Sealed: sealed}}
		resources[i] = resource(w)
	}
	r := registry.New(&dialect.Maker{Box: box, Logger: slog.New(slog.DiscardHandler)}, func(string, string) {})
	b.ReportAllocs()
	for b.Loop() {
		r.Reset(resources, 1)
	}
}

func TestResumedIsToldExactlyWhenAPauseEnds(t *testing.T) {
	t.Parallel()
	e := setup(t)
	apply := func(paused bool) []string {
		e.Apply(change(resource(newWebhook("a", paused))))
		return e.announced()
	}
	require.Empty(t, apply(false), "a new one has nothing that waits")
	require.Empty(t, apply(false))
	require.Empty(t, apply(true))
	require.Empty(t, apply(true))
	require.Equal(t, []string{"acme/a"}, apply(false))
	require.Empty(t, apply(false))

	e.Apply(change(resource(newWebhook("a", true)), resource(newWebhook("b", true))))
	e.Apply(change(resource(newWebhook("a", false)), resource(newWebhook("b", false))))
	require.Equal(t, []string{"acme/a", "acme/b"}, e.announced())

	require.Empty(t, apply(true))
	e.Apply(change(deleted("a"), deleted("unknown")))
	require.Equal(t, []string{"acme/a"}, e.announced(), "what waits for it must be canceled")
	_, ok := e.Webhook("a")
	require.False(t, ok)
}

func TestWebhookIsInForceWhenItsResumptionIsTold(t *testing.T) {
	t.Parallel()
	var r *registry.Registry
	told := 0
	r = registry.New(new(dialect.Maker), func(_, id string) {
		w, ok := r.Webhook(id) // would hang if it were called under the lock
		require.True(t, ok)
		require.Equal(t, core.StatusActive, w.Status)
		told++
	})
	r.Reset(snapshot(newWebhook("a", true)), 1)
	r.Apply(change(resource(newWebhook("a", false))))
	r.Reset(snapshot(newWebhook("a", false), newWebhook("b", false)), 2)
	require.Equal(t, 2, told)
}

func TestResetReplacesEverything(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.Reset(snapshot(newWebhook("gone", false), newWebhook("paused", true), newWebhook("active", false), newWebhook("stays", true)), 1)
	require.ElementsMatch(t, []string{"acme/gone", "acme/active"}, e.announced(), "after a start nobody knows what was paused before")

	e.Reset(snapshot(newWebhook("paused", false), newWebhook("active", false), newWebhook("stays", true), newWebhook("new", false)), 2)
	require.ElementsMatch(t, []string{"acme/paused", "acme/new", "acme/gone"}, e.announced(), "what waits for the one that is gone must be canceled")
	_, ok := e.Webhook("gone")
	require.False(t, ok)
	stays, ok := e.Webhook("stays")
	require.True(t, ok)
	require.Equal(t, core.StatusPaused, stays.Status)

	e.Reset(nil, 3)
	require.Len(t, e.announced(), 4)
	_, ok = e.Webhook("paused")
	require.False(t, ok)
}

func TestReadersDuringChanges(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.Reset(snapshot(newWebhook("a", false)), 1)
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for range 1000 {
				if w, ok := e.Webhook("a"); !ok || w.ID != "a" {
					t.Error("the webhook must be there all the time")
					return
				}
			}
		})
	}
	for i := range 200 {
		e.Apply(change(resource(newWebhook("a", i%2 == 0))))
		e.Reset(snapshot(newWebhook("a", i%3 == 0)), int64(i))
	}
	readers.Wait()
}
