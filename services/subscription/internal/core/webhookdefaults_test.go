package core_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
)

func TestDefaultsOfWebhooksAreChecked(t *testing.T) {
	t.Parallel()
	const path = "organization.webhook_defaults"
	got, fields := core.WebhookDefaults{}.Check(path, someDialects{})
	require.Empty(t, fields)
	require.Equal(t, core.WebhookDefaults{}, got)

	got, fields = core.WebhookDefaults{
		Dialect: "text", RetryPolicy: &core.RetryPolicy{MaxRetries: 3}, FailureThreshold: &core.FailureThreshold{},
		Timeout: core.MinTimeout, MaxConcurrency: 1000, RateLimit: 0.01, AlertEmails: []string{"ops@example.com"},
	}.Check(path, someDialects{})
	require.Empty(t, fields)
	require.Equal(t, &core.RetryPolicy{MaxRetries: 3, FirstDelay: time.Second, Factor: 2, MaxDelay: 24 * time.Hour}, got.RetryPolicy)
	require.Nil(t, got.FailureThreshold, "what says nothing is the dialect's")

	_, fields = core.WebhookDefaults{
		Dialect: "telex", RetryPolicy: &core.RetryPolicy{Preset: core.PresetNone, Jitter: 0.1}, Timeout: time.Minute, MaxConcurrency: 1001,
		FailureThreshold: &core.FailureThreshold{ConsecutiveFailures: -1}, RateLimit: 10_001, AlertEmails: []string{"nobody"},
	}.Check(path, someDialects{})
	err := fault.Invalid(fields...)
	for _, field := range []string{
		"dialect", "retry_policy.preset", "timeout", "max_concurrency", "failure_threshold.consecutive_failures", "rate_limit", "alert_emails[0]",
	} {
		requireField(t, err, path+"."+field)
	}
	require.Len(t, fields, 7)
}
