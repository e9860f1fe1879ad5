package subscription_test

import (
	"path"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/meetwire/meetwire/pkg/seal"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	subscriptionv1 "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
)

func TestFeedTellsEverythingOfAWebhook(t *testing.T) {
	t.Parallel()
	i := setupTenant(t)
	s := i.watch(t, i.revision(t))
	given := full()
	given.Teams = []string{i.team(t, "sales")}
	given.Triggers = []string{"meeting.*", "contact.updated"}
	created := i.admin.webhook(t, "acme", given)
	w := s.change(t).GetResources()[0].GetWebhook()
	require.Equal(t, path.Base(created.GetName()), w.GetId())
	require.Equal(t, configv1.WebhookStatus_WEBHOOK_STATUS_PAUSED, w.GetStatus())
	require.Equal(t, created.GetStatusTime().AsTime(), w.GetPauseTime().AsTime())
	require.EqualValues(t, 1, w.GetGeneration())
	require.Equal(t, given.GetTriggers(), w.GetTriggers())
	require.Equal(t, []string{"intro-call", "demo"}, w.GetEventTypes())
	require.Equal(t, []string{"sales"}, w.GetTeams())
	require.Equal(t, "event.data.duration > 30", w.GetFilter())
	require.Equal(t, "axcelerate", w.GetDialect())
	require.Equal(t, "base64", w.GetSignatureEncoding())
	require.EqualValues(t, 17, w.GetClientId())
	require.False(t, w.GetOrganizationSecret())
	require.EqualValues(t, 12, w.GetFailureThreshold().GetConsecutiveFailures())
	require.Equal(t, time.Hour, w.GetFailureThreshold().GetWithoutSuccess().AsDuration())
	require.False(t, w.GetGoneDisables(), "not in this dialect")
	require.EqualValues(t, 3, w.GetMaxConcurrency())
	require.InDelta(t, 0.5, w.GetRateLimit(), 0)
	require.Equal(t, time.Hour, w.GetRetryPolicy().GetGiveUpAge().AsDuration())
	require.EqualValues(t, 5, w.GetRetryPolicy().GetMaxRetries())
	require.Empty(t, w.GetRetryPolicy().GetDelays())

	box, err := seal.New(i.keyset)
	require.NoError(t, err)
	require.Len(t, w.GetHeaders(), 2)
	require.Equal(t, "Authorization", w.GetHeaders()[1].GetName())
	value, err := box.Open(w.GetHeaders()[1].GetSealedValue(), w.GetId()+"/headers/authorization")
	require.NoError(t, err)
	require.Equal(t, "Bearer t0ken", string(value))
	secret, err := box.Open(w.GetSecrets()[0].GetSealed(), w.GetId())
	require.NoError(t, err)
	require.Equal(t, created.GetSecret(), string(secret))

	rotated, err := i.admin.webhooks.RotateWebhookSecret(t.Context(), &subscriptionv1.RotateWebhookSecretRequest{Name: created.GetName()})
	require.NoError(t, err)
	w = s.change(t).GetResources()[0].GetWebhook()
	require.Len(t, w.GetSecrets(), 2)
	require.Nil(t, w.GetSecrets()[0].GetExpireTime())
	require.Equal(t, rotated.GetSecretVersions()[1].GetExpireTime().AsTime(), w.GetSecrets()[1].GetExpireTime().AsTime())
}

func TestFeedTellsWhatDialectsAndPresetsMean(t *testing.T) {
	t.Parallel()
	i := setupTenant(t)
	s := i.watch(t, i.revision(t))
	tell := func(change func(*subscriptionv1.Webhook)) *configv1.Webhook {
		w := booking()
		change(w)
		i.admin.webhook(t, "acme", w)
		return s.change(t).GetResources()[0].GetWebhook()
	}
	w := tell(func(*subscriptionv1.Webhook) {})
	require.Nil(t, w.GetRetryPolicy(), "the schedule of the dialect")
	require.Equal(t, 5*24*time.Hour, w.GetFailureThreshold().GetWithoutSuccess().AsDuration())
	require.True(t, w.GetGoneDisables())
	require.Nil(t, w.GetPauseTime())
	w = tell(func(w *subscriptionv1.Webhook) { w.FailureThreshold = &subscriptionv1.FailureThreshold{Off: true} })
	require.Nil(t, w.GetFailureThreshold())
	require.False(t, w.GetGoneDisables())
	w = tell(func(w *subscriptionv1.Webhook) {
		w.FailureThreshold = &subscriptionv1.FailureThreshold{ConsecutiveFailures: 3}
	})
	require.EqualValues(t, 3, w.GetFailureThreshold().GetConsecutiveFailures())
	require.Nil(t, w.GetFailureThreshold().GetWithoutSuccess())
	w = tell(func(w *subscriptionv1.Webhook) { w.Dialect = "ace" })
	require.EqualValues(t, 2, w.GetFailureThreshold().GetConsecutiveFailures())
	require.False(t, w.GetGoneDisables())
	w = tell(func(w *subscriptionv1.Webhook) { w.Dialect = "axcelerate" })
	require.Nil(t, w.GetFailureThreshold())

	preset := func(p subscriptionv1.RetryPolicy_Preset, dialect string) *configv1.RetryPolicy {
		return tell(func(w *subscriptionv1.Webhook) {
			w.Dialect, w.RetryPolicy = dialect, &subscriptionv1.RetryPolicy{Preset: p, GiveUpAge: durationpb.New(time.Hour)}
		}).GetRetryPolicy()
	}
	standard := preset(subscriptionv1.RetryPolicy_PRESET_STANDARD, "axcelerate")
	require.EqualValues(t, 9, standard.GetMaxRetries())
	require.Len(t, standard.GetDelays(), 9)
	require.Equal(t, 5*time.Second, standard.GetDelays()[0].AsDuration())
	require.InDelta(t, 0.2, standard.GetJitter(), 0)
	require.Equal(t, time.Hour, standard.GetGiveUpAge().AsDuration())
	exponential := preset(subscriptionv1.RetryPolicy_PRESET_EXPONENTIAL, "standard")
	require.EqualValues(t, 20, exponential.GetMaxRetries())
	require.Equal(t, time.Second<<19, exponential.GetDelays()[19].AsDuration())
	none := preset(subscriptionv1.RetryPolicy_PRESET_NONE, "standard")
	require.Zero(t, none.GetMaxRetries())
	require.Empty(t, none.GetDelays())
}
