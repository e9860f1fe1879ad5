package subscription_test

import (
	"encoding/base64"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	accessv1 "github.com/meetwire/meetwire/proto/gen/meetwire/access/v1"
	subscriptionv1 "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
)

// tenant is an instance with an organization, acme, and callers for it.
type tenant struct {
	*instance
	operator, admin, viewer *caller
}

func setupTenant(t *testing.T) *tenant {
	t.Helper()
	return tenantOf(t, setup(t))
}

// tenantOf makes the organization in an instance.
func tenantOf(t *testing.T, i *instance) *tenant {
	t.Helper()
	operator := i.operator(t)
	operator.organization(t, "acme", false)
	return &tenant{
		instance: i, operator: operator,
		admin:  i.as(t, operator.key(t, "acme", accessv1.Role_ROLE_ADMIN)),
		viewer: i.as(t, operator.key(t, "acme", accessv1.Role_ROLE_VIEWER)),
	}
}

// get reads a webhook as the least that may.
func (i *tenant) get(t *testing.T, name string) *subscriptionv1.Webhook {
	t.Helper()
	w, err := i.viewer.webhooks.GetWebhook(t.Context(), &subscriptionv1.GetWebhookRequest{Name: name})
	require.NoError(t, err)
	return w
}

func TestWebhookIsCreatedWithDefaults(t *testing.T) {
	t.Parallel()
	i := setupTenant(t)
	created := i.admin.webhook(t, "acme", &subscriptionv1.Webhook{
		DisplayName: "Rückruf 会议 ✨", TargetUrl: "https://bücher.example/hook?x=1", Triggers: []string{"meeting.canceled", "meeting.booked"},
	})
	require.Regexp(t, `^organizations/acme/webhooks/[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`, created.GetName())
	require.Equal(t, "Rückruf 会议 ✨", created.GetDisplayName())
	require.Equal(t, "https://xn--bcher-kva.example/hook?x=1", created.GetTargetUrl())
	require.Equal(t, []string{"meeting.canceled", "meeting.booked"}, created.GetTriggers())
	require.Equal(t, subscriptionv1.Webhook_STATUS_ACTIVE, created.GetStatus())
	require.Equal(t, 15*time.Second, created.GetTimeout().AsDuration())
	require.True(t, proto.Equal(&subscriptionv1.RetryPolicy{Preset: subscriptionv1.RetryPolicy_PRESET_STANDARD}, created.GetRetryPolicy()))
	require.True(t, proto.Equal(&subscriptionv1.FailureThreshold{WithoutSuccess: durationpb.New(5 * 24 * time.Hour)}, created.GetFailureThreshold()))
	require.Equal(t, "standard", created.GetDialect())
	require.Equal(t, subscriptionv1.Webhook_SECRET_SOURCE_OWN, created.GetSecretSource())
	require.EqualValues(t, 8, created.GetMaxConcurrency())
	require.EqualValues(t, 1, created.GetGeneration())
	require.Equal(t, created.GetCreateTime().AsTime(), created.GetStatusTime().AsTime())
	require.Len(t, created.GetSecretVersions(), 1)
	require.Equal(t, created.GetCreateTime().AsTime(), created.GetSecretVersions()[0].GetCreateTime().AsTime())
	require.Nil(t, created.GetSecretVersions()[0].GetExpireTime())
	require.NotEmpty(t, created.GetEtag())
	require.Equal(t, created.GetCreateTime().AsTime(), created.GetUpdateTime().AsTime())
	key, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(created.GetSecret(), "whsec_"))
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(key), 24)

	read := i.get(t, created.GetName())
	require.Empty(t, read.GetSecret(), "shown once")
	want := proto.CloneOf(created)
	want.Secret = ""
	require.True(t, proto.Equal(want, read), "%v", read)
	listed, err := i.viewer.webhooks.ListWebhooks(t.Context(), &subscriptionv1.ListWebhooksRequest{Parent: "organizations/acme"})
	require.NoError(t, err)
	require.Len(t, listed.GetWebhooks(), 1)
	require.True(t, proto.Equal(want, listed.GetWebhooks()[0]))
}

func TestWebhookIsCreatedWithEverythingGiven(t *testing.T) {
	t.Parallel()
	i := setupTenant(t)
	i.operator.organization(t, "lab", true)
	secret := "whsec_" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat("s", 24)))
	created := i.operator.webhook(t, "lab", &subscriptionv1.Webhook{
		Name: "ignored", Etag: "ignored",
		DisplayName: "all", TargetUrl: "http://example.com:8080/", Triggers: []string{"meeting.booked"}, Secret: secret,
		Status: subscriptionv1.Webhook_STATUS_PAUSED, Timeout: durationpb.New(1500 * time.Millisecond),
		RetryPolicy: &subscriptionv1.RetryPolicy{MaxRetries: 3, FirstDelay: durationpb.New(100*time.Millisecond + 7), Jitter: 0.25},
	})
	require.Equal(t, secret, created.GetSecret())
	require.Equal(t, subscriptionv1.Webhook_STATUS_PAUSED, created.GetStatus())
	require.Equal(t, 1500*time.Millisecond, created.GetTimeout().AsDuration())
	require.True(t, proto.Equal(&subscriptionv1.RetryPolicy{
		MaxRetries: 3, FirstDelay: durationpb.New(100*time.Millisecond + 7), Factor: 2, MaxDelay: durationpb.New(24 * time.Hour), Jitter: 0.25,
	}, created.GetRetryPolicy()), "%v", created.GetRetryPolicy())
	read, err := i.operator.webhooks.GetWebhook(t.Context(), &subscriptionv1.GetWebhookRequest{Name: created.GetName()})
	require.NoError(t, err)
	require.True(t, proto.Equal(created.GetRetryPolicy(), read.GetRetryPolicy()))
}

func TestWebhookRefusesWhatIsInvalid(t *testing.T) {
	t.Parallel()
	i := setupTenant(t)
	existing := i.admin.webhook(t, "acme", booking())
	before := i.revision(t)
	many := make([]string, 101)
	for n := range many {
		many[n] = fmt.Sprintf("meeting.t%d", n)
	}
	for _, test := range []struct {
		name   string
		break_ func(*subscriptionv1.Webhook)
		path   string
		says   string
		create bool // only wrong on creation
	}{
		{"no name", func(w *subscriptionv1.Webhook) { w.DisplayName = "" }, "webhook.display_name", "200", true},
		{"blank name", func(w *subscriptionv1.Webhook) { w.DisplayName = " " }, "webhook.display_name", "200", false},
		{"long name", func(w *subscriptionv1.Webhook) { w.DisplayName = strings.Repeat("é", 201) }, "webhook.display_name", "200", false},
		{"NUL in name", func(w *subscriptionv1.Webhook) { w.DisplayName = "a\x00b" }, "webhook.display_name", "control", false},
		{"no URL", func(w *subscriptionv1.Webhook) { w.TargetUrl = "" }, "webhook.target_url", "2048", true},
		{"http", func(w *subscriptionv1.Webhook) { w.TargetUrl = "http://example.com" }, "webhook.target_url", "https", false},
		{"credentials", func(w *subscriptionv1.Webhook) { w.TargetUrl = "https://u:p@example.com" }, "webhook.target_url", "credentials", false},
		{"fragment", func(w *subscriptionv1.Webhook) { w.TargetUrl = "https://example.com/#f" }, "webhook.target_url", "fragment", false},
		{"relative", func(w *subscriptionv1.Webhook) { w.TargetUrl = "/hook" }, "webhook.target_url", "absolute", false},
		{"NUL in URL", func(w *subscriptionv1.Webhook) { w.TargetUrl = "https://example.com/\x00" }, "webhook.target_url", "control", false},
		{"long URL", func(w *subscriptionv1.Webhook) { w.TargetUrl = "https://example.com/" + strings.Repeat("a", 2048) }, "webhook.target_url", "2048", false},
		{"internal name", func(w *subscriptionv1.Webhook) { w.TargetUrl = "https://metadata.google.internal/" }, "webhook.target_url", "internal", false},
		{"internal address", func(w *subscriptionv1.Webhook) { w.TargetUrl = "https://10.1.2.3/" }, "webhook.target_url", "internal", false},
		{"loopback", func(w *subscriptionv1.Webhook) { w.TargetUrl = "https://[::1]:8443/" }, "webhook.target_url", "internal", false},
		{"no triggers", func(w *subscriptionv1.Webhook) { w.Triggers = nil }, "webhook.triggers", "100", true},
		{"many triggers", func(w *subscriptionv1.Webhook) { w.Triggers = many }, "webhook.triggers", "100", false},
		{"same trigger", func(w *subscriptionv1.Webhook) { w.Triggers = []string{"meeting.booked", "meeting.booked"} }, "webhook.triggers", "", false},
		{"bad trigger", func(w *subscriptionv1.Webhook) { w.Triggers = []string{"meeting.booked", "x"} }, "webhook.triggers[1]", "", false},
		{"unknown trigger", func(w *subscriptionv1.Webhook) { w.Triggers = []string{"meeting.booked", "custom.mine"} }, "webhook.triggers[1]", "custom.mine", false},
		{"short secret", func(w *subscriptionv1.Webhook) { w.Secret = "whsec_c2hvcnQ=" }, "webhook.secret", "24 to 64", false},
		{"no secret", func(w *subscriptionv1.Webhook) { w.Secret = "hunter2-hunter2-hunter2" }, "webhook.secret", "whsec_", false},
		{"long secret", func(w *subscriptionv1.Webhook) { w.Secret = "whsec_" + strings.Repeat("A", 128) }, "webhook.secret", "24 to 64", false},
		{"status", func(w *subscriptionv1.Webhook) { w.Status = 7 }, "webhook.status", "", false},
		{"short timeout", func(w *subscriptionv1.Webhook) { w.Timeout = durationpb.New(time.Second - 1) }, "webhook.timeout", "1s", false},
		{"long timeout", func(w *subscriptionv1.Webhook) { w.Timeout = durationpb.New(30*time.Second + 1) }, "webhook.timeout", "30s", false},
		{"factor", func(w *subscriptionv1.Webhook) { w.RetryPolicy = &subscriptionv1.RetryPolicy{Factor: 0.5} }, "webhook.retry_policy.factor", "10", false},
		{"retries", func(w *subscriptionv1.Webhook) { w.RetryPolicy = &subscriptionv1.RetryPolicy{MaxRetries: 31} }, "webhook.retry_policy.max_retries", "30", false},
		{"delays", func(w *subscriptionv1.Webhook) {
			w.RetryPolicy = &subscriptionv1.RetryPolicy{FirstDelay: durationpb.New(time.Hour), MaxDelay: durationpb.New(time.Minute)}
		}, "webhook.retry_policy.max_delay", "first_delay", false},
		{"preset and backoff", func(w *subscriptionv1.Webhook) {
			w.RetryPolicy = &subscriptionv1.RetryPolicy{Preset: subscriptionv1.RetryPolicy_PRESET_NONE, MaxRetries: 1}
		}, "webhook.retry_policy.preset", "give_up_age", false},
		{"preset", func(w *subscriptionv1.Webhook) { w.RetryPolicy = &subscriptionv1.RetryPolicy{Preset: 9} }, "webhook.retry_policy.preset", "", false},
		{"give-up age", func(w *subscriptionv1.Webhook) {
			w.RetryPolicy = &subscriptionv1.RetryPolicy{GiveUpAge: durationpb.New(time.Minute - 1)}
		}, "webhook.retry_policy.give_up_age", "", false},
		{"description", func(w *subscriptionv1.Webhook) { w.Description = strings.Repeat("é", 2001) }, "webhook.description", "2000", false},
		{"NUL in description", func(w *subscriptionv1.Webhook) { w.Description = "a\x00" }, "webhook.description", "control", false},
		{"everything", func(w *subscriptionv1.Webhook) { w.Triggers = []string{"*"} }, "webhook.triggers[0]", "", false},
		{"unknown group", func(w *subscriptionv1.Webhook) { w.Triggers = []string{"lesson.*"} }, "webhook.triggers[0]", "covers no trigger", false},
		{"event type", func(w *subscriptionv1.Webhook) { w.EventTypes = []string{"intro", "a b"} }, "webhook.event_types[1]", "slug", false},
		{"many event types", func(w *subscriptionv1.Webhook) { w.EventTypes = make([]string, 101) }, "webhook.event_types", "100", false},
		{"team", func(w *subscriptionv1.Webhook) { w.Teams = []string{"sales"} }, "webhook.teams[0]", "organizations/{organization}/teams/{team}", false},
		{"unknown team", func(w *subscriptionv1.Webhook) { w.Teams = []string{"organizations/acme/teams/nobody"} }, "webhook.teams[0]", "not a team", false},
		{"team of others", func(w *subscriptionv1.Webhook) { w.Teams = []string{"organizations/other/teams/sales"} }, "webhook.teams[0]", "organizations/acme", false},
		{"filter", func(w *subscriptionv1.Webhook) { w.Filter = "event.data.duration >" }, "webhook.filter", "line 1", false},
		{"filter that is no condition", func(w *subscriptionv1.Webhook) { w.Filter = "1 + 1" }, "webhook.filter", "", false},
		{"long filter", func(w *subscriptionv1.Webhook) { w.Filter = strings.Repeat("true || ", 200) + "true" }, "webhook.filter", "1024", false},
		{"NUL in filter", func(w *subscriptionv1.Webhook) { w.Filter = "event.id == 'a\x00'" }, "webhook.filter", "control", false},
		{"nested macros", func(w *subscriptionv1.Webhook) { w.Filter = "[1].map(a, [a].map(b, b)) == []" }, "webhook.filter", "", false},
		{"dialect", func(w *subscriptionv1.Webhook) { w.Dialect = "telex" }, "webhook.dialect", "standard, cloudevents", false},
		{"encoding", func(w *subscriptionv1.Webhook) {
			w.DialectOptions = &subscriptionv1.DialectOptions{SignatureEncoding: "hex"}
		}, "webhook.dialect_options.signature_encoding", "standard", false},
		{"client id", func(w *subscriptionv1.Webhook) {
			w.DialectOptions = &subscriptionv1.DialectOptions{ClientId: 1}
		}, "webhook.dialect_options.client_id", "standard", false},
		{"unsigned", func(w *subscriptionv1.Webhook) { w.SecretSource = subscriptionv1.Webhook_SECRET_SOURCE_NONE }, "webhook.secret_source", "needs a secret", false},
		{"secret of nobody", func(w *subscriptionv1.Webhook) {
			w.Dialect, w.SecretSource, w.Secret = "ace", subscriptionv1.Webhook_SECRET_SOURCE_NONE, "hunter2-hunter2"
		}, "webhook.secret", "SECRET_SOURCE_OWN", false},
		{"header name", func(w *subscriptionv1.Webhook) { w.Headers = []*subscriptionv1.Header{{Name: "a b", Value: "hunter2"}} }, "webhook.headers[0].name", "", false},
		{"reserved header", func(w *subscriptionv1.Webhook) {
			w.Headers = []*subscriptionv1.Header{{Name: "Webhook-Id", Value: "hunter2"}}
		}, "webhook.headers[0].name", "cannot be set", false},
		{"hop-by-hop header", func(w *subscriptionv1.Webhook) {
			w.Headers = []*subscriptionv1.Header{{Name: "Connection", Value: "hunter2"}}
		}, "webhook.headers[0].name", "cannot be set", false},
		{"header value", func(w *subscriptionv1.Webhook) {
			w.Headers = []*subscriptionv1.Header{{Name: "X-A", Value: "hunter2\r\nX-B: 1"}}
		}, "webhook.headers[0].value", "ASCII", false},
		{"header without value", func(w *subscriptionv1.Webhook) { w.Headers = []*subscriptionv1.Header{{Name: "X-A"}} }, "webhook.headers[0].value", "required", false},
		{"large headers", func(w *subscriptionv1.Webhook) {
			w.Headers = []*subscriptionv1.Header{{Name: "X-A", Value: strings.Repeat("a", 2048)}, {Name: "X-B", Value: strings.Repeat("b", 2048)}}
		}, "webhook.headers", "4096", false},
		{"many headers", func(w *subscriptionv1.Webhook) { w.Headers = make([]*subscriptionv1.Header, 21) }, "webhook.headers", "20", false},
		{"threshold", func(w *subscriptionv1.Webhook) {
			w.FailureThreshold = &subscriptionv1.FailureThreshold{ConsecutiveFailures: 10_001}
		}, "webhook.failure_threshold.consecutive_failures", "10000", false},
		{"threshold and off", func(w *subscriptionv1.Webhook) {
			w.FailureThreshold = &subscriptionv1.FailureThreshold{ConsecutiveFailures: 1, Off: true}
		}, "webhook.failure_threshold.off", "together", false},
		{"short time without success", func(w *subscriptionv1.Webhook) {
			w.FailureThreshold = &subscriptionv1.FailureThreshold{WithoutSuccess: durationpb.New(time.Minute - 1)}
		}, "webhook.failure_threshold.without_success", "", false},
		{"concurrency", func(w *subscriptionv1.Webhook) { w.MaxConcurrency = 1001 }, "webhook.max_concurrency", "1000", false},
		{"rate limit", func(w *subscriptionv1.Webhook) { w.RateLimit = 0.009 }, "webhook.rate_limit", "0.01", false},
		{"e-mail", func(w *subscriptionv1.Webhook) { w.AlertEmails = []string{"ops@example.com", "Ops <ops@example.com>"} }, "webhook.alert_emails[1]", "e-mail", false},
		{"many e-mails", func(w *subscriptionv1.Webhook) { w.AlertEmails = make([]string, 11) }, "webhook.alert_emails", "10", false},
		{"metadata key", func(w *subscriptionv1.Webhook) { w.Metadata = map[string]string{"a b": "c"} }, "webhook.metadata", "keys", false},
		{"metadata value", func(w *subscriptionv1.Webhook) { w.Metadata = map[string]string{"a": strings.Repeat("é", 501)} }, "webhook.metadata.a", "500", false},
		{"disabled by people", func(w *subscriptionv1.Webhook) { w.Status = subscriptionv1.Webhook_STATUS_DISABLED }, "webhook.status", "only Meetwire", false},
	} {
		w := booking()
		test.break_(w)
		_, err := i.admin.webhooks.CreateWebhook(t.Context(), &subscriptionv1.CreateWebhookRequest{Parent: "organizations/acme", Webhook: w})
		requireField(t, err, test.path, test.says)
		require.NotContains(t, err.Error(), "hunter2")
		if test.create {
			continue
		}
		w.Name = existing.GetName()
		_, err = i.admin.webhooks.UpdateWebhook(t.Context(), &subscriptionv1.UpdateWebhookRequest{Webhook: w})
		requireField(t, err, test.path, test.says)
	}
	_, err := i.admin.webhooks.CreateWebhook(t.Context(), &subscriptionv1.CreateWebhookRequest{Parent: "organizations/acme"})
	requireField(t, err, "webhook", "")
	_, err = i.operator.webhooks.CreateWebhook(t.Context(), &subscriptionv1.CreateWebhookRequest{Parent: "organizations/nobody", Webhook: booking()})
	requireCode(t, err, codes.NotFound)
	require.Equal(t, before, i.revision(t), "what was refused changed nothing")
}

func TestWebhooksAreListedOldestFirst(t *testing.T) {
	t.Parallel()
	i := setupTenant(t)
	i.operator.organization(t, "other", false)
	i.operator.webhook(t, "other", booking())
	var want []string
	for range 7 {
		want = append(want, i.admin.webhook(t, "acme", booking()).GetName())
	}
	list := func(c *caller, req *subscriptionv1.ListWebhooksRequest) (names []string, next string) {
		answer, err := c.webhooks.ListWebhooks(t.Context(), req)
		require.NoError(t, err)
		for _, w := range answer.GetWebhooks() {
			names = append(names, w.GetName())
		}
		return names, answer.GetNextPageToken()
	}
	req := &subscriptionv1.ListWebhooksRequest{Parent: "organizations/acme", PageSize: 3}
	first, token := list(i.viewer, req)
	require.Equal(t, want[:3], first)

	// What is deleted between two pages, even the last of the first one, and what is new does not disturb.
	_, err := i.admin.webhooks.DeleteWebhook(t.Context(), &subscriptionv1.DeleteWebhookRequest{Name: want[2]})
	require.NoError(t, err)
	want = append(want, i.admin.webhook(t, "acme", booking()).GetName())
	req.PageToken = token
	second, token := list(i.viewer, req)
	require.Equal(t, want[3:6], second)
	req.PageToken, req.PageSize = token, 1000
	third, token := list(i.viewer, req)
	require.Equal(t, want[6:], third)
	require.Empty(t, token)

	_, err = i.operator.webhooks.ListWebhooks(t.Context(), &subscriptionv1.ListWebhooksRequest{Parent: "organizations/other", PageToken: req.GetPageToken()})
	requireField(t, err, "page_token", "")
	_, err = i.operator.webhooks.ListWebhooks(t.Context(), &subscriptionv1.ListWebhooksRequest{Parent: "organizations/nobody"})
	requireCode(t, err, codes.NotFound)
}

func TestWebhookOfOthersIsOutOfReach(t *testing.T) {
	t.Parallel()
	i := setupTenant(t)
	i.operator.organization(t, "other", false)
	others := i.operator.webhook(t, "other", booking())
	id := strings.TrimPrefix(others.GetName(), "organizations/other/webhooks/")
	denied := []string{others.GetName(), "organizations/other/webhooks/" + uuid.NewString(), "organizations/nobody/webhooks/" + id}
	missing := []string{"organizations/acme/webhooks/" + id, "organizations/acme/webhooks/" + uuid.NewString(), "organizations/acme/webhooks/" + strings.Repeat("-", 36)}
	for code, names := range map[codes.Code][]string{codes.PermissionDenied: denied, codes.NotFound: missing} {
		for _, name := range names {
			_, err := i.admin.webhooks.GetWebhook(t.Context(), &subscriptionv1.GetWebhookRequest{Name: name})
			requireCode(t, err, code)
			_, err = i.admin.webhooks.DeleteWebhook(t.Context(), &subscriptionv1.DeleteWebhookRequest{Name: name})
			requireCode(t, err, code)
			_, err = i.admin.webhooks.UpdateWebhook(t.Context(), &subscriptionv1.UpdateWebhookRequest{
				Webhook: &subscriptionv1.Webhook{Name: name, DisplayName: "mine"},
			})
			requireCode(t, err, code)
		}
	}
	_, err := i.viewer.webhooks.DeleteWebhook(t.Context(), &subscriptionv1.DeleteWebhookRequest{Name: missing[0]})
	requireCode(t, err, codes.PermissionDenied)
	_, err = i.viewer.webhooks.CreateWebhook(t.Context(), &subscriptionv1.CreateWebhookRequest{Parent: "organizations/acme", Webhook: booking()})
	requireCode(t, err, codes.PermissionDenied)
	_, err = i.admin.webhooks.GetWebhook(t.Context(), &subscriptionv1.GetWebhookRequest{Name: "organizations/acme/webhooks/x"})
	requireField(t, err, "name", "")

	kept, err := i.operator.webhooks.GetWebhook(t.Context(), &subscriptionv1.GetWebhookRequest{Name: others.GetName()})
	require.NoError(t, err)
	require.Equal(t, others.GetEtag(), kept.GetEtag())
}

func TestWebhookIsDeletedForGood(t *testing.T) {
	t.Parallel()
	i := setupTenant(t)
	w := i.admin.webhook(t, "acme", booking())
	_, err := i.admin.webhooks.DeleteWebhook(t.Context(), &subscriptionv1.DeleteWebhookRequest{Name: w.GetName(), Etag: "stale"})
	requireCode(t, err, codes.Aborted)
	_, err = i.admin.webhooks.DeleteWebhook(t.Context(), &subscriptionv1.DeleteWebhookRequest{Name: w.GetName(), Etag: w.GetEtag()})
	require.NoError(t, err)

	_, err = i.viewer.webhooks.GetWebhook(t.Context(), &subscriptionv1.GetWebhookRequest{Name: w.GetName()})
	requireCode(t, err, codes.NotFound)
	_, err = i.admin.webhooks.DeleteWebhook(t.Context(), &subscriptionv1.DeleteWebhookRequest{Name: w.GetName()})
	requireCode(t, err, codes.NotFound)
	_, err = i.admin.webhooks.UpdateWebhook(t.Context(), &subscriptionv1.UpdateWebhookRequest{Webhook: &subscriptionv1.Webhook{Name: w.GetName(), DisplayName: "late"}})
	requireCode(t, err, codes.NotFound)
}

func TestOneOfManyUpdatesWithTheSameETagWins(t *testing.T) {
	t.Parallel()
	i := setupTenant(t)
	w := i.admin.webhook(t, "acme", booking())
	before := i.revision(t)
	errs := make([]error, 10)
	var callers sync.WaitGroup
	for n := range errs {
		callers.Go(func() {
			_, errs[n] = i.admin.webhooks.UpdateWebhook(t.Context(), &subscriptionv1.UpdateWebhookRequest{
				Webhook: &subscriptionv1.Webhook{Name: w.GetName(), Etag: w.GetEtag(), DisplayName: fmt.Sprintf("update %d", n)},
			})
		})
	}
	callers.Wait()
	winner := ""
	for n, err := range errs {
		if err == nil {
			require.Empty(t, winner, "two won")
			winner = fmt.Sprintf("update %d", n)
			continue
		}
		requireCode(t, err, codes.Aborted)
	}
	require.Equal(t, winner, i.get(t, w.GetName()).GetDisplayName())
	require.Equal(t, before+1, i.revision(t))
}
