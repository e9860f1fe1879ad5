package subscription_test

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/meetwire/meetwire/pkg/seal"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	subscriptionv1 "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
)

const signingSecretName = "organizations/acme/signingSecret"

// opened returns the secrets of an organization in the feed, decrypted.
func (i *installation) opened(t *testing.T, o *configv1.Organization) []string {
	t.Helper()
	box, err := seal.New(i.keyset)
	require.NoError(t, err)
	var texts []string
	for _, s := range o.GetSecrets() {
		text, err := box.Open(s.GetSealed(), "organizations/"+o.GetId())
		require.NoError(t, err)
		texts = append(texts, string(text))
	}
	return texts
}

// audited returns how often something was done to the signing secret.
func (i *installation) audited(t *testing.T, action string) int {
	t.Helper()
	var count int
	require.NoError(t, i.pool.QueryRow(t.Context(),
		"SELECT count(*) FROM subscription.audit_log WHERE action = $1 AND resource = $2", action, signingSecretName).Scan(&count))
	return count
}

func (c *caller) regenerate(t *testing.T, grace time.Duration) *subscriptionv1.SigningSecret {
	t.Helper()
	s, err := c.signing.RegenerateSigningSecret(t.Context(), &subscriptionv1.RegenerateSigningSecretRequest{
		Name: signingSecretName, GracePeriod: durationpb.New(grace),
	})
	require.NoError(t, err)
	return s
}

func TestSigningSecretIsGeneratedOnce(t *testing.T) {
	t.Parallel()
	i := setupTenant(t)
	follower := i.follow(t)
	_, err := i.viewer.signing.GetSigningSecret(t.Context(), &subscriptionv1.GetSigningSecretRequest{Name: signingSecretName})
	requireCode(t, err, codes.NotFound)
	_, err = i.admin.signing.RevealSigningSecret(t.Context(), &subscriptionv1.RevealSigningSecretRequest{Name: signingSecretName})
	requireCode(t, err, codes.NotFound)
	require.Zero(t, i.audited(t, "reveal"), "there was nothing to see")
	_, err = i.admin.signing.RegenerateSigningSecret(t.Context(), &subscriptionv1.RegenerateSigningSecretRequest{Name: signingSecretName})
	requireCode(t, err, codes.NotFound)
	_, err = i.admin.signing.ActivateSigningSecret(t.Context(), &subscriptionv1.ActivateSigningSecretRequest{Name: signingSecretName})
	requireCode(t, err, codes.NotFound)

	before, err := i.viewer.organizations.GetOrganization(t.Context(), &subscriptionv1.GetOrganizationRequest{Name: "organizations/acme"})
	require.NoError(t, err)
	first, err := i.admin.signing.GenerateSigningSecret(t.Context(), &subscriptionv1.GenerateSigningSecretRequest{Name: signingSecretName})
	require.NoError(t, err)
	require.Regexp(t, `^whsec_[A-Za-z0-9+/]{43}=$`, first.GetSecret())
	require.Len(t, first.GetVersions(), 1)
	require.Nil(t, first.GetVersions()[0].GetExpireTime())
	require.Equal(t, []string{first.GetSecret()}, i.opened(t, follower.told(t, i.installation, "acme")))
	after, err := i.viewer.organizations.GetOrganization(t.Context(), &subscriptionv1.GetOrganizationRequest{Name: "organizations/acme"})
	require.NoError(t, err)
	require.Equal(t, before.GetEtag(), after.GetEtag(), "the secret is a resource of its own")

	got, err := i.viewer.signing.GetSigningSecret(t.Context(), &subscriptionv1.GetSigningSecretRequest{Name: signingSecretName})
	require.NoError(t, err)
	require.Empty(t, got.GetSecret())
	require.Len(t, got.GetVersions(), 1)
	_, err = i.viewer.signing.RevealSigningSecret(t.Context(), &subscriptionv1.RevealSigningSecretRequest{Name: signingSecretName})
	requireCode(t, err, codes.PermissionDenied)
	revealed, err := i.admin.signing.RevealSigningSecret(t.Context(), &subscriptionv1.RevealSigningSecretRequest{Name: signingSecretName})
	require.NoError(t, err)
	require.Equal(t, first.GetSecret(), revealed.GetSecret())
	require.Equal(t, 1, i.audited(t, "reveal"))

	_, err = i.admin.signing.GenerateSigningSecret(t.Context(), &subscriptionv1.GenerateSigningSecretRequest{Name: signingSecretName})
	s := requireCode(t, err, codes.FailedPrecondition)
	require.Contains(t, s.Message(), "replace")
	second, err := i.admin.signing.GenerateSigningSecret(t.Context(), &subscriptionv1.GenerateSigningSecretRequest{Name: signingSecretName, Replace: true})
	require.NoError(t, err)
	require.NotEqual(t, first.GetSecret(), second.GetSecret())
	require.Equal(t, []string{second.GetSecret()}, i.opened(t, follower.told(t, i.installation, "acme")), "alone, at once")
}

func TestSigningSecretIsRegeneratedWithGrace(t *testing.T) {
	t.Parallel()
	i := setupTenant(t)
	follower := i.follow(t)
	first, err := i.admin.signing.GenerateSigningSecret(t.Context(), &subscriptionv1.GenerateSigningSecretRequest{Name: signingSecretName})
	require.NoError(t, err)
	_, err = i.admin.signing.RegenerateSigningSecret(t.Context(), &subscriptionv1.RegenerateSigningSecretRequest{
		Name: signingSecretName, GracePeriod: durationpb.New(8 * 24 * time.Hour),
	})
	requireField(t, err, "grace_period", "604800s")

	second := i.admin.regenerate(t, 2*time.Hour)
	require.Len(t, second.GetVersions(), 2)
	require.Nil(t, second.GetVersions()[0].GetExpireTime())
	require.WithinDuration(t, time.Now().Add(2*time.Hour), second.GetVersions()[1].GetExpireTime().AsTime(), time.Minute)
	told := follower.told(t, i.installation, "acme")
	require.Equal(t, []string{second.GetSecret(), first.GetSecret()}, i.opened(t, told))
	require.Equal(t, second.GetVersions()[1].GetExpireTime().AsTime(), told.GetSecrets()[1].GetExpireTime().AsTime())

	byDefault, err := i.admin.signing.RegenerateSigningSecret(t.Context(), &subscriptionv1.RegenerateSigningSecretRequest{Name: signingSecretName})
	require.NoError(t, err)
	require.WithinDuration(t, time.Now().Add(24*time.Hour), byDefault.GetVersions()[1].GetExpireTime().AsTime(), time.Minute)
	require.Equal(t, second.GetVersions()[1].GetExpireTime().AsTime(), byDefault.GetVersions()[2].GetExpireTime().AsTime(), "an earlier end stays")

	active, err := i.admin.signing.ActivateSigningSecret(t.Context(), &subscriptionv1.ActivateSigningSecretRequest{Name: signingSecretName})
	require.NoError(t, err)
	require.Len(t, active.GetVersions(), 1)
	require.Empty(t, active.GetSecret())
	require.Equal(t, []string{byDefault.GetSecret()}, i.opened(t, follower.told(t, i.installation, "acme")))
	before := i.revision(t)
	again, err := i.admin.signing.ActivateSigningSecret(t.Context(), &subscriptionv1.ActivateSigningSecretRequest{Name: signingSecretName})
	require.NoError(t, err)
	require.True(t, proto.Equal(active, again))
	require.Equal(t, before, i.revision(t), "it is alone already")
	require.Equal(t, 1, i.audited(t, "activate"))

	for range 12 {
		second = i.admin.regenerate(t, time.Hour)
	}
	require.Len(t, second.GetVersions(), 10)
	require.Len(t, i.admin.regenerate(t, 0).GetVersions(), 1)
	require.Equal(t, i.stored(t), mirrorOf(i.watch(t, 0).snapshot(t)))
}

func TestRotationOfTheSigningSecretIsAnnounced(t *testing.T) {
	t.Parallel()
	i := setupTenant(t)
	_, err := i.admin.signing.GenerateSigningSecret(t.Context(), &subscriptionv1.GenerateSigningSecretRequest{Name: signingSecretName})
	require.NoError(t, err)
	i.admin.regenerate(t, time.Hour)
	events := i.announcements(t, 1)
	require.Equal(t, "secret.rotated", events[0].Type)
	require.InDelta(t, 3600, events[0].Data["grace_period_seconds"], 0)
	require.Len(t, events[0].Data, 2, "no secret, and no webhook")
	trigger, err := i.admin.triggers.GetTrigger(t.Context(), &subscriptionv1.GetTriggerRequest{Name: "organizations/acme/triggers/secret.rotated"})
	require.NoError(t, err)
	require.True(t, trigger.GetOperational())
}

func TestSigningSecretIsNowhereInTheClear(t *testing.T) {
	t.Parallel()
	i := setupTenant(t)
	first, err := i.admin.signing.GenerateSigningSecret(t.Context(), &subscriptionv1.GenerateSigningSecretRequest{Name: signingSecretName})
	require.NoError(t, err)
	second := i.admin.regenerate(t, time.Hour)
	var dump string
	require.NoError(t, i.pool.QueryRow(t.Context(), `SELECT
		(SELECT string_agg(o::text, '') FROM subscription.organization AS o) ||
		(SELECT string_agg(a::text, '') FROM subscription.audit_log AS a) ||
		(SELECT string_agg(encode(change, 'escape'), '') FROM subscription.feed) ||
		(SELECT coalesce(string_agg(x::text, ''), '') FROM subscription.outbox AS x)`).Scan(&dump))
	for _, secret := range []string{first.GetSecret(), second.GetSecret()} {
		require.NotContains(t, dump, strings.TrimPrefix(secret, "whsec_"))
	}
	require.Contains(t, dump, "REDACTED")
}
