package subscription_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"github.com/meetwire/meetwire/pkg/webhook"
	subscriptionv1 "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
)

// preview renders a request for acme.
func (i *tenant) preview(t *testing.T, req *subscriptionv1.PreviewWebhookRequest) *subscriptionv1.PreviewWebhookResponse {
	t.Helper()
	req.Parent = "organizations/acme"
	before := i.revision(t)
	answer, err := i.admin.webhooks.PreviewWebhook(t.Context(), req)
	require.NoError(t, err)
	require.Equal(t, before, i.revision(t))
	return answer
}

// headersOf returns the headers of a preview as net/http has them.
func headersOf(p *subscriptionv1.PreviewWebhookResponse) http.Header {
	headers := http.Header{}
	for _, h := range p.GetHeaders() {
		headers.Add(h.GetName(), h.GetValue())
	}
	return headers
}

func TestPreviewOfASavedWebhookIsSignedAsItsDeliveries(t *testing.T) {
	t.Parallel()
	i := setupTenant(t)
	given := booking()
	given.Headers = []*subscriptionv1.Header{{Name: "Authorization", Value: "Bearer t0ken"}}
	w := i.admin.webhook(t, "acme", given)
	saved := &subscriptionv1.Webhook{Name: w.GetName()}
	p := i.preview(t, &subscriptionv1.PreviewWebhookRequest{Webhook: saved})
	require.Equal(t, "POST", p.GetMethod())
	require.Equal(t, "https://example.com/hook", p.GetUrl())
	require.True(t, p.GetMatches())
	require.Empty(t, p.GetMismatch())
	require.Equal(t, "REDACTED", headersOf(p).Get("Authorization"))
	verifier, err := webhook.NewDialectVerifier("standard", []string{w.GetSecret()})
	require.NoError(t, err)
	require.NoError(t, verifier.Verify(headersOf(p), []byte(p.GetBody())))
	var body struct{ Type string }
	require.NoError(t, json.Unmarshal([]byte(p.GetBody()), &body))
	require.Equal(t, "meeting.booked", body.Type)

	rotated, err := i.admin.webhooks.RotateWebhookSecret(t.Context(), &subscriptionv1.RotateWebhookSecretRequest{Name: w.GetName()})
	require.NoError(t, err)
	p = i.preview(t, &subscriptionv1.PreviewWebhookRequest{Webhook: saved, Trigger: "meeting.canceled"})
	require.Len(t, strings.Fields(headersOf(p).Get("webhook-signature")), 2, "with each valid secret")
	require.NoError(t, verifier.Verify(headersOf(p), []byte(p.GetBody())))
	require.NotEqual(t, w.GetSecret(), rotated.GetSecret())
	require.False(t, p.GetMatches())
	require.Equal(t, "trigger", p.GetMismatch())
}

func TestPreviewSignsOnceWithThePreviousSecret(t *testing.T) {
	t.Parallel()
	i := setupTenant(t)
	given := booking()
	given.Dialect, given.Secret = "ace", "the first secret"
	w := i.admin.webhook(t, "acme", given)
	signature := func() string {
		p := i.preview(t, &subscriptionv1.PreviewWebhookRequest{
			Webhook: &subscriptionv1.Webhook{Name: w.GetName()},
			Event:   `{"specversion":"1.0","id":"1","source":"/x","type":"meeting.booked","time":"2026-01-01T00:00:00Z","data":{}}`,
		})
		return headersOf(p).Get("x-ace-signature")
	}
	first := signature()
	require.NotEmpty(t, first)
	for range 2 {
		_, err := i.admin.webhooks.RotateWebhookSecret(t.Context(), &subscriptionv1.RotateWebhookSecretRequest{Name: w.GetName()})
		require.NoError(t, err)
		require.Equal(t, first, signature(), "until its grace period ends")
	}
	_, err := i.admin.webhooks.ActivateWebhookSecret(t.Context(), &subscriptionv1.ActivateWebhookSecretRequest{Name: w.GetName()})
	require.NoError(t, err)
	require.NotEqual(t, first, signature())
}

func TestPreviewOfAWebhookThatIsNotSaved(t *testing.T) {
	t.Parallel()
	i := setupTenant(t)
	p := i.preview(t, &subscriptionv1.PreviewWebhookRequest{Webhook: full()})
	require.Equal(t, "status", p.GetMismatch())
	require.Equal(t, "1", headersOf(p).Get("Ax-Signature-Version"))
	require.Contains(t, p.GetBody(), `"clientId":17`)
	require.Equal(t, "REDACTED", headersOf(p).Get("X-Tenant"))

	unsigned := booking()
	unsigned.Dialect, unsigned.SecretSource = "axcelerate", subscriptionv1.Webhook_SECRET_SOURCE_NONE
	i.sql(t, "UPDATE subscription.organization SET client_id = 99 WHERE id = 'acme'")
	p = i.preview(t, &subscriptionv1.PreviewWebhookRequest{Webhook: unsigned})
	require.Equal(t, "0", headersOf(p).Get("Ax-Signature-Version"))
	require.Contains(t, p.GetBody(), `"clientId":99`)

	shared := booking()
	shared.Dialect, shared.Triggers = "avoma", []string{"meeting.*"}
	i.organizationSecret(t, "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA")
	p = i.preview(t, &subscriptionv1.PreviewWebhookRequest{Webhook: shared})
	verifier, err := webhook.NewDialectVerifier("avoma", []string{"whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"})
	require.NoError(t, err)
	require.NoError(t, verifier.Verify(headersOf(p), []byte(p.GetBody())))

	broken := booking()
	broken.TargetUrl = "http://example.com"
	_, err = i.admin.webhooks.PreviewWebhook(t.Context(), &subscriptionv1.PreviewWebhookRequest{Parent: "organizations/acme", Webhook: broken})
	requireField(t, err, "webhook.target_url", "https")
}

func TestPreviewTellsWhyAnEventIsNotSent(t *testing.T) {
	t.Parallel()
	i := setupTenant(t)
	sales, support := i.team(t, "sales"), i.team(t, "support")
	const event = `{"specversion":"1.0","id":"1","source":"/x","type":"meeting.booked","mwteams":"field, sales","mweventtype":"intro","data":{"duration":45}}`
	for _, test := range []struct {
		change   func(*subscriptionv1.Webhook)
		mismatch string
	}{
		{func(*subscriptionv1.Webhook) {}, ""},
		{func(w *subscriptionv1.Webhook) { w.Triggers = []string{"meeting.*"} }, ""},
		{func(w *subscriptionv1.Webhook) { w.Status = subscriptionv1.Webhook_STATUS_PAUSED }, "status"},
		{func(w *subscriptionv1.Webhook) { w.Triggers = []string{"contact.*"} }, "trigger"},
		{func(w *subscriptionv1.Webhook) { w.Teams = []string{support, sales} }, ""},
		{func(w *subscriptionv1.Webhook) { w.Teams = []string{support} }, "teams"},
		{func(w *subscriptionv1.Webhook) { w.EventTypes = []string{"demo", "intro"} }, ""},
		{func(w *subscriptionv1.Webhook) { w.EventTypes = []string{"demo"} }, "event_types"},
		{func(w *subscriptionv1.Webhook) { w.Filter = "event.data.duration > 30" }, ""},
		{func(w *subscriptionv1.Webhook) { w.Filter = "event.data.duration > 60" }, "filter"},
		{func(w *subscriptionv1.Webhook) { w.Filter = "event.data.nothing > 60" }, "filter"},
		{func(w *subscriptionv1.Webhook) { w.Teams, w.Filter = []string{support}, "false" }, "teams"},
	} {
		w := booking()
		test.change(w)
		p := i.preview(t, &subscriptionv1.PreviewWebhookRequest{Webhook: w, Event: event})
		require.Equal(t, test.mismatch, p.GetMismatch(), "%v", w)
		require.Equal(t, test.mismatch == "", p.GetMatches())
		require.NotEmpty(t, p.GetBody())
	}
}

func TestPreviewRefusesWhatItCannotRender(t *testing.T) {
	t.Parallel()
	i := setupTenant(t)
	i.operator.organization(t, "other", false)
	saved := i.admin.webhook(t, "acme", booking())
	foreign := i.operator.webhook(t, "other", booking())
	for _, test := range []struct {
		req  *subscriptionv1.PreviewWebhookRequest
		path string
	}{
		{&subscriptionv1.PreviewWebhookRequest{Webhook: booking(), Trigger: "meeting.exploded"}, "trigger"},
		{&subscriptionv1.PreviewWebhookRequest{Webhook: booking(), Trigger: "meeting.b\x00"}, "trigger"},
		{&subscriptionv1.PreviewWebhookRequest{Webhook: booking(), Trigger: "meeting.booked", Event: "{}"}, "trigger"},
		{&subscriptionv1.PreviewWebhookRequest{Webhook: booking(), Event: "no JSON"}, "event"},
		{&subscriptionv1.PreviewWebhookRequest{Webhook: booking(), Event: "[]"}, "event"},
		{&subscriptionv1.PreviewWebhookRequest{Webhook: booking(), Event: `{"type": 1}`}, "event"},
		{&subscriptionv1.PreviewWebhookRequest{Webhook: booking(), Event: `{"specversion":"1.0","id":"1","source":"/x"}`}, "event.type"},
		{&subscriptionv1.PreviewWebhookRequest{Webhook: booking(), Event: `"` + strings.Repeat("x", 256<<10) + `"`}, "event"},
		{&subscriptionv1.PreviewWebhookRequest{Webhook: saved}, "webhook.name"},
		{&subscriptionv1.PreviewWebhookRequest{Webhook: &subscriptionv1.Webhook{Name: foreign.GetName()}}, "webhook.name"},
		{&subscriptionv1.PreviewWebhookRequest{}, "webhook"},
	} {
		test.req.Parent = "organizations/acme"
		_, err := i.admin.webhooks.PreviewWebhook(t.Context(), test.req)
		requireField(t, err, test.path, "")
	}
	_, err := i.admin.webhooks.PreviewWebhook(t.Context(), &subscriptionv1.PreviewWebhookRequest{
		Parent: "organizations/acme", Webhook: &subscriptionv1.Webhook{Name: strings.Replace(foreign.GetName(), "other", "acme", 1)},
	})
	requireCode(t, err, codes.NotFound)
	_, err = i.viewer.webhooks.PreviewWebhook(t.Context(), &subscriptionv1.PreviewWebhookRequest{Parent: "organizations/acme", Webhook: booking()})
	requireCode(t, err, codes.PermissionDenied)
}
