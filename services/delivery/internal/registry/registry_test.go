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
	e.Registry = registry.New(e.box, slog.New(slog.NewJSONHandler(e.log, nil)), func(organization, id string) {
		e.resumed = append(e.resumed, organization+"/"+id)
	})
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
	return &configv1.Webhook{
		Id: id, Organization: "acme", TargetUrl: "https://example.com/" + id, Paused: paused, Timeout: durationpb.New(15 * time.Second),
	}
}

// sealed adds secrets to a webhook, sealed with a box.
func sealed(t *testing.T, w *configv1.Webhook, box *seal.Box, secrets ...string) *configv1.Webhook {
	t.Helper()
	for _, secret := range secrets {
		text, err := box.Seal([]byte(secret), w.GetId())
		require.NoError(t, err)
		w.SealedSecrets = append(w.SealedSecrets, text)
	}
	return w
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
	}
	e.Reset(snapshot(sealed(t, w, e.box, newSecret(t)), sealed(t, newWebhook("b", false), e.box, newSecret(t))), 1)

	got, ok := e.Webhook("a")
	require.True(t, ok)
	require.NotNil(t, got.Signer)
	got.Signer = nil
	require.Equal(t, &core.Webhook{
		ID: "a", Organization: "acme", TargetURL: "https://example.com/a", Paused: true, Timeout: 15 * time.Second,
		Policy: core.Policy{MaxRetries: 3, FirstDelay: time.Second, Factor: 1.5, MaxDelay: time.Minute, Jitter: 0.1},
	}, got)
	got, ok = e.Webhook("b")
	require.True(t, ok)
	require.Equal(t, core.StandardPolicy(), got.Policy)
	_, ok = e.Webhook("c")
	require.False(t, ok)
	require.Empty(t, e.log.String())
}

// TestSignatureIsOfEverySecret also shows that the secrets are opened as they were sealed.
func TestSignatureIsOfEverySecret(t *testing.T) {
	t.Parallel()
	e := setup(t)
	secrets := []string{newSecret(t), newSecret(t)}
	e.Apply(change(resource(sealed(t, newWebhook("a", false), e.box, secrets...))))
	got, ok := e.Webhook("a")
	require.True(t, ok)
	at, body := time.Unix(1_770_000_000, 0), []byte(`{"a":1}`)
	header := http.Header{}
	header.Set("webhook-id", "d1")
	header.Set("webhook-timestamp", strconv.FormatInt(at.Unix(), 10))
	header.Set("webhook-signature", got.Signer.Sign("d1", at, body))
	for _, text := range secrets {
		secret, err := webhook.ParseSecret(text)
		require.NoError(t, err)
		verifier, err := webhook.NewVerifier([]webhook.Secret{secret}, webhook.WithClock(func() time.Time { return at }))
		require.NoError(t, err)
		require.NoError(t, verifier.Verify(header, body))
	}
}

func TestWebhookWithoutUsableSecretsIsKeptWithoutSigner(t *testing.T) {
	t.Parallel()
	good := newSecret(t)
	for name, make := range map[string]func(e *env) *configv1.Webhook{
		"another keyset": func(*env) *configv1.Webhook { return sealed(t, newWebhook("a", false), newBox(t), good) },
		"one of two with another keyset": func(e *env) *configv1.Webhook {
			return sealed(t, sealed(t, newWebhook("a", false), e.box, good), newBox(t), good)
		},
		"another webhook's": func(e *env) *configv1.Webhook {
			w := sealed(t, newWebhook("b", false), e.box, good)
			w.Id = "a"
			return w
		},
		"damaged": func(e *env) *configv1.Webhook {
			w := sealed(t, newWebhook("a", false), e.box, good)
			w.SealedSecrets[0] = w.GetSealedSecrets()[0][1:]
			return w
		},
		"not a secret": func(e *env) *configv1.Webhook { return sealed(t, newWebhook("a", false), e.box, "hunter2") },
		"none":         func(*env) *configv1.Webhook { return newWebhook("a", false) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := setup(t)
			e.Reset(snapshot(make(e), sealed(t, newWebhook("other", false), e.box, good)), 1)
			got, ok := e.Webhook("a")
			require.True(t, ok)
			require.Nil(t, got.Signer)
			require.NotEmpty(t, got.TargetURL)
			require.Contains(t, e.log.String(), `"webhook":"a"`)
			require.NotContains(t, e.log.String(), "hunter2")
			require.NotContains(t, e.log.String(), good)
			other, ok := e.Webhook("other")
			require.True(t, ok)
			require.NotNil(t, other.Signer, "others are not affected")

			// Once the secrets are good the webhook is, too.
			e.Apply(change(resource(sealed(t, newWebhook("a", false), e.box, good))))
			got, _ = e.Webhook("a")
			require.NotNil(t, got.Signer)
		})
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
	require.Empty(t, e.announced())
	_, ok := e.Webhook("a")
	require.False(t, ok)
}

func TestWebhookIsInForceWhenItsResumptionIsTold(t *testing.T) {
	t.Parallel()
	var r *registry.Registry
	told := 0
	r = registry.New(newBox(t), slog.New(slog.DiscardHandler), func(_, id string) {
		w, ok := r.Webhook(id) // would hang if it were called under the lock
		require.True(t, ok)
		require.False(t, w.Paused)
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
	require.ElementsMatch(t, []string{"acme/paused", "acme/new"}, e.announced())
	_, ok := e.Webhook("gone")
	require.False(t, ok)
	stays, ok := e.Webhook("stays")
	require.True(t, ok)
	require.True(t, stays.Paused)

	e.Reset(nil, 3)
	require.Empty(t, e.announced())
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
