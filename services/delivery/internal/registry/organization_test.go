package registry_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/meetwire/meetwire/pkg/webhook"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

func TestOrganizationShapesItsWebhooks(t *testing.T) {
	t.Parallel()
	e := setup(t)
	old, fresh := newSecret(t), newSecret(t)
	shared, own, client := newWebhook("shared", false), newWebhook("own", false), newWebhook("client", false)
	shared.OrganizationSecret = true
	client.Dialect = "axcelerate"
	acme := &configv1.Organization{Id: "acme", ClientId: 42, AllowHttp: true, Secrets: sealedSecrets(t, e.box, "organizations/acme", old)}
	sealed(t, own, e.box, old)
	e.Reset(append(snapshot(shared, own, client), organization(acme)), 1) // it may come after its webhooks
	signedWith := func(id, secret string) bool {
		t.Helper()
		header, body := e.render(t, id)
		parsed, err := webhook.ParseSecrets(secret)
		require.NoError(t, err)
		verifier, err := webhook.NewVerifier(parsed, webhook.WithClock(func() time.Time { return time.Unix(1_770_000_000, 0) }))
		require.NoError(t, err)
		return verifier.Verify(header, []byte(body)) == nil
	}
	allowed := func(id string) bool {
		w, ok := e.Webhook(id)
		require.True(t, ok)
		return w.AllowHTTP
	}
	require.True(t, signedWith("shared", old))
	require.True(t, allowed("own"))
	_, body := e.render(t, "client")
	require.Contains(t, body, `42`)

	acme = &configv1.Organization{Id: "acme", ClientId: 43, Secrets: sealedSecrets(t, e.box, "organizations/acme", fresh)}
	e.Apply(change(organization(acme), organization(&configv1.Organization{Id: "other", AllowHttp: true})))
	require.True(t, signedWith("shared", fresh))
	require.False(t, signedWith("shared", old))
	require.True(t, signedWith("own", old))
	require.False(t, allowed("own"))
	_, body = e.render(t, "client")
	require.Contains(t, body, `43`)
	mine := newWebhook("client", false)
	mine.Dialect, mine.ClientId = "axcelerate", 7
	e.Apply(change(resource(mine)))
	_, body = e.render(t, "client")
	require.Contains(t, body, `7`)
	require.NotContains(t, body, `43`)
	require.Empty(t, e.announced()[3:], "nothing of that concerns what waits")
}

// A webhook is saved under the rules of that time, those of its dialect hold when it is called.
func TestDialectMayDemandTLS(t *testing.T) {
	t.Parallel()
	e := setup(t)
	insecure := func(w *configv1.Webhook) bool {
		t.Helper()
		got, ok := e.Webhook(w.GetId())
		require.True(t, ok)
		unsaved, ok := e.Unsaved(w)
		require.True(t, ok)
		require.Equal(t, got.Insecure(), unsaved.Insecure())
		return got.Insecure()
	}
	with := func(id, dialect, target string) *configv1.Webhook {
		w := newWebhook(id, false)
		w.Dialect, w.TargetUrl = dialect, target
		return w
	}
	allowing := organization(&configv1.Organization{Id: "acme", AllowHttp: true})
	plain, secure := with("a", "avoma", "http://example.com/hook"), with("b", "avoma", "https://example.com/hook")
	other := with("c", "standard", "http://example.com/hook")
	e.Reset(append(snapshot(plain, secure, other), allowing), 1)
	require.True(t, insecure(plain), "though the organization allows it")
	require.False(t, insecure(secure))
	require.False(t, insecure(other))

	other.Dialect = "avoma"
	e.Apply(change(resource(other)))
	require.True(t, insecure(other), "its dialect was changed")
	plain.Dialect = "ace"
	e.Apply(change(resource(plain), organization(&configv1.Organization{Id: "acme"})))
	require.False(t, insecure(plain), "a dialect that allows it")
	e.Apply(change(allowing))
	require.True(t, insecure(other), "the organization allows it again")
}

func TestRetentionsAndOperationalTriggersAreKnown(t *testing.T) {
	t.Parallel()
	e := setup(t)
	trigger := func(organization, id string, operational bool) *configv1.Resource {
		return &configv1.Resource{Resource: &configv1.Resource_Trigger{Trigger: &configv1.Trigger{Organization: organization, Id: id, Operational: operational}}}
	}
	e.Reset([]*configv1.Resource{
		trigger("", "webhook.disabled", true), trigger("", "meeting.booked", false), trigger("acme", "custom.x", true),
		organization(&configv1.Organization{Id: "acme", RecordRetention: durationpb.New(time.Hour)}), organization(&configv1.Organization{Id: "other"}),
	}, 1)
	require.True(t, e.Operational("webhook.disabled"))
	require.False(t, e.Operational("meeting.booked"))
	require.False(t, e.Operational("custom.x"), "only Meetwire has operational ones")
	require.Equal(t, map[string]time.Duration{"acme": time.Hour}, e.Retentions())

	e.Apply(change(trigger("", "webhook.enabled", true), &configv1.Resource{Resource: &configv1.Resource_DeletedTrigger{
		DeletedTrigger: &configv1.TriggerKey{Id: "webhook.disabled"},
	}}, organization(&configv1.Organization{Id: "acme"})))
	require.True(t, e.Operational("webhook.enabled"))
	require.False(t, e.Operational("webhook.disabled"))
	require.Empty(t, e.Retentions())
}

func TestDeletedOrganizationTakesItsWebhooksWithIt(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.Reset(append(snapshot(newWebhook("a", false), newWebhook("b", true)), organization(&configv1.Organization{Id: "acme"})), 1)
	e.announced()
	require.False(t, e.OrganizationDeleted("acme"))
	e.Apply(change(deleted("a"), &configv1.Resource{Resource: &configv1.Resource_DeletedOrganization{DeletedOrganization: "acme"}}))
	require.ElementsMatch(t, []string{"acme/a", "acme/b"}, e.announced(), "what waits for them must be canceled")
	_, ok := e.Webhook("b")
	require.False(t, ok)
	require.True(t, e.OrganizationDeleted("acme"))

	// It was deleted while the feed was away.
	e.Apply(change(organization(&configv1.Organization{Id: "beta"})))
	e.Reset(nil, 9)
	require.True(t, e.OrganizationDeleted("beta"))
	require.True(t, e.OrganizationDeleted("acme"))
}

func TestDisabledWebhooksAreAnnounced(t *testing.T) {
	t.Parallel()
	e := setup(t)
	with := func(status configv1.WebhookStatus, generation int64) *configv1.Resource {
		w := newWebhook("a", false)
		w.Status, w.Generation = status, generation
		return resource(w)
	}
	const active, disabled = configv1.WebhookStatus_WEBHOOK_STATUS_ACTIVE, configv1.WebhookStatus_WEBHOOK_STATUS_DISABLED
	e.Apply(change(with(active, 1)))
	require.Empty(t, e.announced())
	e.Apply(change(with(disabled, 1)))
	require.Len(t, e.announced(), 1)
	e.Apply(change(with(disabled, 1)))
	require.Empty(t, e.announced())
	e.Apply(change(with(active, 2)))
	e.Apply(change(with(disabled, 2)))
	require.Len(t, e.announced(), 2)
	w, _ := e.Webhook("a")
	require.Equal(t, core.StatusDisabled, w.Status)
}
