package subscription_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/rpc"
	subscriptionv1 "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
)

// test has a webhook of acme tested. Nothing is changed by that.
func (i *tenant) test(t *testing.T, req *subscriptionv1.TestWebhookRequest) (*subscriptionv1.TestWebhookResponse, error) {
	t.Helper()
	req.Parent = "organizations/acme"
	before := i.revision(t)
	answer, err := i.admin.webhooks.TestWebhook(t.Context(), req)
	require.Equal(t, before, i.revision(t))
	return answer, err
}

func TestSavedWebhookIsTested(t *testing.T) {
	t.Parallel()
	i := setupTenant(t)
	given := booking()
	given.Headers = []*subscriptionv1.Header{{Name: "Authorization", Value: "Bearer t0ken"}}
	w := i.admin.webhook(t, "acme", given)
	_, err := i.admin.webhooks.PauseWebhook(t.Context(), &subscriptionv1.PauseWebhookRequest{Name: w.GetName()})
	require.NoError(t, err)
	saved := &subscriptionv1.Webhook{Name: w.GetName()}
	answer, err := i.test(t, &subscriptionv1.TestWebhookRequest{Webhook: saved})
	require.NoError(t, err, "also while it is paused")
	require.Equal(t, w.GetName(), answer.GetAttempt().GetWebhook())
	require.EqualValues(t, 200, answer.GetAttempt().GetStatusCode())

	event := `{"specversion":"1.0","id":"1","source":"/x","type":"custom.whatever","data":{}}`
	_, err = i.test(t, &subscriptionv1.TestWebhookRequest{Webhook: saved, Event: event})
	require.NoError(t, err)
	tests := i.peer.tested()
	require.Len(t, tests, 2)
	require.Equal(t, event, tests[1].GetEvent())
	var sample struct{ Type string }
	require.NoError(t, json.Unmarshal([]byte(tests[0].GetEvent()), &sample))
	require.Equal(t, "meeting.booked", sample.Type)
	told := tests[0].GetWebhook()
	require.Equal(t, idIn(w.GetName()), told.GetId())
	require.Equal(t, "https://example.com/hook", told.GetTargetUrl())
	require.Len(t, told.GetSecrets(), 1)
	require.Len(t, told.GetHeaders(), 1)
	require.NotContains(t, told.String(), w.GetSecret(), "what is secret travels encrypted")
	require.NotContains(t, told.String(), "t0ken")
}

func TestUnsavedWebhookIsTestedAsItWouldBeMade(t *testing.T) {
	t.Parallel()
	i := setupTenant(t)
	unsaved := booking()
	unsaved.Secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
	answer, err := i.test(t, &subscriptionv1.TestWebhookRequest{Webhook: unsaved, Trigger: "meeting.canceled"})
	require.NoError(t, err)
	require.Empty(t, answer.GetAttempt().GetWebhook(), "there is none")
	unsaved.Secret = ""
	_, err = i.test(t, &subscriptionv1.TestWebhookRequest{Webhook: unsaved})
	require.NoError(t, err)
	for _, test := range i.peer.tested() {
		told := test.GetWebhook()
		require.Len(t, told.GetSecrets(), 1, "also one that was made for the test")
		require.NotContains(t, told.String(), "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
		require.Positive(t, told.GetTimeout().AsDuration())
		require.Positive(t, told.GetMaxConcurrency())
	}
	list, err := i.admin.webhooks.ListWebhooks(t.Context(), &subscriptionv1.ListWebhooksRequest{Parent: "organizations/acme"})
	require.NoError(t, err)
	require.Empty(t, list.GetWebhooks())
}

func TestBadWebhooksAreNotTested(t *testing.T) {
	t.Parallel()
	i := setupTenant(t)
	w := i.admin.webhook(t, "acme", booking())
	saved := func() *subscriptionv1.Webhook { return &subscriptionv1.Webhook{Name: w.GetName()} }
	internal := booking()
	internal.TargetUrl = "https://10.0.0.1/"
	plain := booking()
	plain.TargetUrl = "http://example.com/"
	changed := saved()
	changed.TargetUrl = "https://example.org/"
	foreign := &subscriptionv1.Webhook{Name: "organizations/beta/webhooks/" + idIn(w.GetName())}
	for name, req := range map[string]*subscriptionv1.TestWebhookRequest{
		"webhook.target_url": {Webhook: internal}, "webhook.target_url ": {Webhook: plain}, "webhook.name": {Webhook: changed},
		"webhook.name ": {Webhook: foreign}, "trigger": {Webhook: saved(), Trigger: "no.such"}, "event": {Webhook: saved(), Event: "x"},
		"trigger ": {Webhook: saved(), Trigger: "meeting.booked", Event: "{}"},
	} {
		_, err := i.test(t, req)
		require.Equal(t, codes.InvalidArgument, status.Code(err), "%s: %v", name, err)
		require.Equal(t, strings.TrimSpace(name), fault.From(rpc.FaultFromStatus(err)).Fields[0].Path)
	}
	_, err := i.test(t, &subscriptionv1.TestWebhookRequest{Webhook: &subscriptionv1.Webhook{
		Name: "organizations/acme/webhooks/00000000-0000-4000-8000-000000000000",
	}})
	require.Equal(t, codes.NotFound, status.Code(err))
	require.Empty(t, i.peer.tested())

	i.peer.mu.Lock()
	i.peer.refused = rpc.Status(fault.New(fault.ResourceExhausted, "TOO_MANY_TESTS", "busy")).Err()
	i.peer.mu.Unlock()
	_, err = i.test(t, &subscriptionv1.TestWebhookRequest{Webhook: saved()})
	require.Equal(t, codes.ResourceExhausted, status.Code(err), "what delivery says is passed on: %v", err)
	require.Equal(t, "TOO_MANY_TESTS", fault.From(rpc.FaultFromStatus(err)).Reason)
}
