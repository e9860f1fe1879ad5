package core_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
)

const webhookID = "0d9c2f0e-9c55-4c1c-8f5e-0a3a4f0b6f51"

// steps is core.Webhooks over a store of one webhook in memory.
type steps struct {
	webhooks *core.Webhooks
	store    *memoryStore
	sealer   *plainSealer
	now      time.Time
}

func newSteps() *steps {
	s := &steps{
		store: &memoryStore{
			organizations: map[string]core.Organization{
				"acme": {ID: "acme", Plan: "all"}, "lab": {ID: "lab", AllowHTTP: true, Plan: "all"}, "small": {ID: "small", Plan: "few"},
			},
			triggers: []core.TriggerFacts{{ID: "meeting.booked"}, {ID: "meeting.canceled"}, {ID: "meeting.old", Deprecated: true}},
		},
		sealer: &plainSealer{},
		now:    time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC),
	}
	s.webhooks = core.NewWebhooks(core.WebhookRules{
		Store: s.store, Sealer: s.sealer, Dialects: someDialects{}, Filters: someFilters{},
		Plans: core.NewPlans([]core.Plan{
			{Name: "all", WebhooksAvailable: true}, {Name: "few", WebhooksAvailable: true, MaxPerTrigger: 2, MaxWebhooks: 3}, {Name: "none"},
		}, "all"),
		NewID: func() string { return webhookID }, AllowsHost: func(host string) bool { return host != "internal.example" }, ReservedHeader: func(name string) bool { return name == "host" }, Now: func() time.Time { return s.now },
	})
	return s
}

// create makes a webhook of acme.
func (s *steps) create(t *testing.T, change core.WebhookChange) (core.Webhook, string) {
	t.Helper()
	w, secret, err := s.webhooks.Create(t.Context(), "acme", change, core.Request{}, false)
	require.NoError(t, err)
	return w, secret
}

// update changes the webhook.
func (s *steps) update(t *testing.T, change core.WebhookChange) core.Webhook {
	t.Helper()
	w, err := s.webhooks.Update(t.Context(), "acme", webhookID, "", change, false)
	require.NoError(t, err)
	return w
}

// refused tries to change the webhook, and returns why that is refused.
func (s *steps) refused(t *testing.T, change core.WebhookChange) error {
	t.Helper()
	_, err := s.webhooks.Update(t.Context(), "acme", webhookID, "", change, false)
	require.Error(t, err)
	return err
}

// validChange returns what a new webhook needs.
func validChange() core.WebhookChange {
	return core.WebhookChange{
		DisplayName: new("Booking sync"), TargetURL: new("https://example.com/hook"), Triggers: &[]string{"meeting.booked"},
	}
}

func TestCreateFillsInTheDefaults(t *testing.T) {
	t.Parallel()
	s := newSteps()
	w, secret := s.create(t, validChange())
	require.Equal(t, secretOf(32), secret)
	want := core.Webhook{
		ID: webhookID, Organization: "acme", DisplayName: "Booking sync", TargetURL: "https://example.com/hook",
		Triggers: []string{"meeting.booked"}, Dialect: "standard", SecretSource: core.SecretOwn,
		Secrets:        []core.SealedSecret{{Sealed: []byte(webhookID + "|" + secret), CreateTime: s.now}},
		MaxConcurrency: 8, Timeout: 15 * time.Second, Status: core.StatusActive, StatusTime: s.now, Generation: 1,
		Revision: 1, CreateTime: s.now, UpdateTime: s.now,
	}
	require.Equal(t, want, w)
	require.Equal(t, core.ActionCreate, s.store.last.Action)
}

func TestCreateTakesTheOrganizationsDefaults(t *testing.T) {
	t.Parallel()
	s := newSteps()
	s.store.organizations["acme"] = core.Organization{ID: "acme", Plan: "all", WebhookDefaults: core.WebhookDefaults{
		Dialect: "text", RetryPolicy: &core.RetryPolicy{Preset: core.PresetNone}, Timeout: 3 * time.Second, MaxConcurrency: 2,
		FailureThreshold: &core.FailureThreshold{ConsecutiveFailures: 7}, RateLimit: 1.5, AlertEmails: []string{"ops@example.com"},
	}}
	w, secret := s.create(t, validChange())
	require.Equal(t, "made", secret)
	require.Equal(t, "text", w.Dialect)
	require.Equal(t, &core.RetryPolicy{Preset: core.PresetNone}, w.RetryPolicy)
	require.Equal(t, &core.FailureThreshold{ConsecutiveFailures: 7}, w.FailureThreshold)
	require.Equal(t, 3*time.Second, w.Timeout)
	require.EqualValues(t, 2, w.MaxConcurrency)
	require.InDelta(t, 1.5, w.RateLimit, 0)
	require.Equal(t, []string{"ops@example.com"}, w.AlertEmails)

	// What an existing webhook no longer wants is gone, unless it must have something: then it is the default.
	w = s.update(t, core.WebhookChange{RateLimit: new(0.0), AlertEmails: &[]string{}, MaxConcurrency: new(int32(0)), Timeout: new(time.Duration(0))})
	require.Zero(t, w.RateLimit)
	require.Empty(t, w.AlertEmails)
	require.EqualValues(t, 2, w.MaxConcurrency)
	require.Equal(t, 3*time.Second, w.Timeout)

	change := validChange()
	change.Dialect, change.RateLimit, change.RetryPolicy = new("standard"), new(2.0), core.Replace(core.RetryPolicy{Preset: core.PresetStandard})
	w, _ = s.create(t, change)
	require.Equal(t, "standard", w.Dialect)
	require.InDelta(t, 2.0, w.RateLimit, 0)
	require.Nil(t, w.RetryPolicy, "that is what the dialect has")
}

func TestCreateNamesEveryFieldAtFault(t *testing.T) {
	t.Parallel()
	s := newSteps()
	_, _, err := s.webhooks.Create(t.Context(), "acme", core.WebhookChange{
		TargetURL: new("http://example.com"), Triggers: &[]string{"meeting.booked", "meeting.unknown", "other.*", "meeting.old"},
		Secret: new("secret"), Timeout: new(31 * time.Second), RetryPolicy: core.Replace(core.RetryPolicy{Jitter: 2}),
		Description: new("a\x00"), Filter: new("bad"), Teams: &[]string{"sales", "sales"}, MaxConcurrency: new(int32(1001)),
		RateLimit: new(0.001), FailureThreshold: core.Replace(core.FailureThreshold{Off: true, ConsecutiveFailures: 1}),
		DialectOptions: core.Replace(core.DialectOptions{ClientID: 7}), Status: new(core.StatusDisabled),
	}, core.Request{}, false)
	for path, says := range map[string]string{
		"webhook.display_name": "200", "webhook.target_url": "http", "webhook.triggers[1]": "meeting.unknown",
		"webhook.triggers[2]": "covers no trigger", "webhook.triggers[3]": "deprecated", "webhook.secret": "whsec_",
		"webhook.timeout": "30s", "webhook.retry_policy.jitter": "0.5", "webhook.description": "control", "webhook.filter": "line 1",
		"webhook.teams[0]": "sales", "webhook.teams[1]": "already", "webhook.max_concurrency": "1000", "webhook.rate_limit": "0.01",
		"webhook.failure_threshold.off": "consecutive_failures", "webhook.dialect_options.client_id": "0", "webhook.status": "STATUS_PAUSED",
	} {
		require.Contains(t, requireField(t, err, path), says)
	}
	require.Zero(t, s.store.writes)
	_, _, err = s.webhooks.Create(t.Context(), "acme", core.WebhookChange{Dialect: new("telex")}, core.Request{}, false)
	require.Contains(t, requireField(t, err, "webhook.dialect"), "standard, text, shared")
}

func TestCreateRefusesTriggers(t *testing.T) {
	t.Parallel()
	many := make([]string, 101)
	for i := range many {
		many[i] = fmt.Sprintf("meeting.t%d", i)
	}
	for name, test := range map[string]struct {
		triggers []string
		path     string
	}{
		"none":          {nil, "webhook.triggers"},
		"too many":      {many, "webhook.triggers"},
		"duplicate":     {[]string{"meeting.booked", "meeting.canceled", "meeting.booked"}, "webhook.triggers[2]"},
		"syntax":        {[]string{"meeting.booked", "Meeting.Booked"}, "webhook.triggers[1]"},
		"one token":     {[]string{"meeting"}, "webhook.triggers[0]"},
		"NUL":           {[]string{"meeting.boo\x00ked"}, "webhook.triggers[0]"},
		"too long":      {[]string{"meeting." + strings.Repeat("a", 121)}, "webhook.triggers[0]"},
		"unknown":       {[]string{"meeting.exploded"}, "webhook.triggers[0]"},
		"deprecated":    {[]string{"meeting.old"}, "webhook.triggers[0]"},
		"everything":    {[]string{"*"}, "webhook.triggers[0]"},
		"group within":  {[]string{"meeting.b*"}, "webhook.triggers[0]"},
		"empty group":   {[]string{"lesson.*"}, "webhook.triggers[0]"},
		"group in part": {[]string{"meeting.*.ed"}, "webhook.triggers[0]"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			change := validChange()
			change.Triggers = &test.triggers
			_, _, err := newSteps().webhooks.Create(t.Context(), "acme", change, core.Request{}, false)
			requireField(t, err, test.path)
		})
	}
}

func TestTriggersThatAWebhookHasAreNotLookedAtAgain(t *testing.T) {
	t.Parallel()
	s := newSteps()
	s.create(t, validChange())
	s.store.triggers = []core.TriggerFacts{{ID: "meeting.booked", Deprecated: true}, {ID: "meeting.canceled"}}
	w := s.update(t, core.WebhookChange{Triggers: &[]string{"meeting.booked", "meeting.canceled"}})
	require.Equal(t, []string{"meeting.booked", "meeting.canceled"}, w.Triggers)
	s.store.triggers = nil
	s.update(t, core.WebhookChange{Triggers: &[]string{"meeting.canceled"}})
}

func TestPlanLimits(t *testing.T) {
	t.Parallel()
	booked, group := []string{"meeting.booked"}, []string{"meeting.*"}
	for _, test := range []struct {
		name     string
		others   [][]string
		triggers []string
		says     string // empty: there is room
	}{
		{"empty", nil, group, ""},
		{"one left", [][]string{booked}, booked, ""},
		{"as many of another trigger", [][]string{booked, booked}, []string{"meeting.canceled"}, ""},
		{"full", [][]string{booked, booked}, booked, "2 webhooks"},
		{"a group counts towards each", [][]string{booked, group}, booked, "meeting.booked has 2"},
		{"full for one of a group", [][]string{booked, booked}, group, "meeting.booked has 2"},
		{"a webhook counts once", [][]string{{"meeting.*", "meeting.booked"}}, booked, ""},
		{"in all", [][]string{booked, booked, {"meeting.canceled"}}, []string{"meeting.canceled"}, "allows 3 webhooks"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newSteps()
			s.store.others = test.others
			change := validChange()
			change.Triggers = &test.triggers
			_, _, err := s.webhooks.Create(t.Context(), "small", change, core.Request{}, false)
			if test.says == "" {
				require.NoError(t, err)
				return
			}
			require.True(t, fault.Is(err, fault.FailedPrecondition), "%v", err)
			require.Equal(t, "PLAN_LIMIT", fault.From(err).Reason)
			require.Contains(t, err.Error(), test.says)
			require.Contains(t, err.Error(), "few")
		})
	}
}

func TestPlanLimitsWhatAnUpdateAdds(t *testing.T) {
	t.Parallel()
	s := newSteps()
	_, _, err := s.webhooks.Create(t.Context(), "small", validChange(), core.Request{}, false)
	require.NoError(t, err)
	update := func(triggers ...string) error {
		_, err := s.webhooks.Update(t.Context(), "small", webhookID, "", core.WebhookChange{Triggers: &triggers}, false)
		return err
	}
	// There are more than the plan has room for by now, as after a change of the plan.
	s.store.others = [][]string{{"meeting.booked"}, {"meeting.booked"}, {"meeting.canceled"}, {"meeting.canceled"}}
	require.NoError(t, update("meeting.booked"), "nothing is added")
	require.ErrorContains(t, update("meeting.booked", "meeting.canceled"), "meeting.canceled has 2")
	require.ErrorContains(t, update("meeting.*"), "meeting.canceled has 2")
	small := s.store.organizations["small"]
	small.Plan = "none"
	s.store.organizations["small"] = small
	require.ErrorContains(t, update("meeting.canceled"), "no webhooks")
	require.NoError(t, update("meeting.booked"))
	_, _, err = s.webhooks.Create(t.Context(), "small", validChange(), core.Request{}, false)
	require.ErrorContains(t, err, "the plan none has no webhooks")
}

func TestDialectDecidesAboutHTTP(t *testing.T) {
	t.Parallel()
	s := newSteps()
	change := validChange()
	change.TargetURL, change.Dialect = new("http://example.com/"), new("text")
	s.create(t, change)
	err := s.refused(t, core.WebhookChange{Dialect: new("standard"), Secret: new(secretOf(24))})
	require.Contains(t, requireField(t, err, "webhook.target_url"), "http")
	s.update(t, core.WebhookChange{DisplayName: new("else")})

	change.Dialect = nil
	_, _, err = s.webhooks.Create(t.Context(), "lab", change, core.Request{}, false)
	require.NoError(t, err)
	change.Dialect = new("shared")
	_, _, err = s.webhooks.Create(t.Context(), "lab", change, core.Request{}, false)
	require.Contains(t, requireField(t, err, "webhook.target_url"), "the dialect does not allow http", "the organization does")
	change.Dialect = nil
	_, _, err = s.webhooks.Create(t.Context(), "nowhere", change, core.Request{}, false)
	require.True(t, fault.Is(err, fault.NotFound))
}

func TestCreateStoresNothingWithoutASealedSecret(t *testing.T) {
	t.Parallel()
	s := newSteps()
	s.sealer.err = errors.New("broken")
	_, _, err := s.webhooks.Create(t.Context(), "acme", validChange(), core.Request{}, false)
	require.ErrorIs(t, err, s.sealer.err)
	require.Zero(t, s.store.writes)
}

func TestDryRunsStoreNothing(t *testing.T) {
	t.Parallel()
	s := newSteps()
	w, secret, err := s.webhooks.Create(t.Context(), "acme", validChange(), core.Request{}, true)
	require.NoError(t, err)
	require.Empty(t, secret)
	require.Equal(t, "Booking sync", w.DisplayName)
	require.Zero(t, s.store.writes)
	s.create(t, validChange())
	w, err = s.webhooks.Update(t.Context(), "acme", webhookID, "", core.WebhookChange{DisplayName: new("new")}, true)
	require.NoError(t, err)
	require.Equal(t, "new", w.DisplayName)
	require.Equal(t, "Booking sync", s.store.webhook.DisplayName)
	require.Empty(t, s.store.last.Action)
}

func TestUpdateChangesOnlyWhatIsGiven(t *testing.T) {
	t.Parallel()
	s := newSteps()
	before, _ := s.create(t, validChange())
	s.now = s.now.Add(time.Hour)
	paused, active := new(core.StatusPaused), new(core.StatusActive)

	after, err := s.webhooks.Update(t.Context(), "acme", webhookID, before.ETag(), core.WebhookChange{Status: paused}, false)
	require.NoError(t, err)
	want := before
	want.Status, want.StatusTime, want.UpdateTime, want.Revision = core.StatusPaused, s.now, s.now, 2
	require.Equal(t, want, after)
	require.NotEqual(t, before.ETag(), after.ETag())

	_, err = s.webhooks.Update(t.Context(), "acme", webhookID, before.ETag(), core.WebhookChange{Status: active}, false)
	require.True(t, fault.Is(err, fault.Aborted), "%v", err)
	require.Equal(t, after, s.update(t, core.WebhookChange{Status: paused, DisplayName: &after.DisplayName}), "a change that changes nothing is none")
	require.Equal(t, 2, s.store.writes)

	secret := secretOf(40)
	after = s.update(t, core.WebhookChange{Secret: &secret})
	require.Equal(t, webhookID+"|"+secret, string(after.Secrets[0].Sealed))
	require.Equal(t, core.TriggerSecretRotated, s.store.last.Events[0].Trigger)
	writes := s.store.writes
	s.update(t, core.WebhookChange{Secret: &secret})
	require.Equal(t, writes, s.store.writes, "it has that secret already")

	requireField(t, s.refused(t, core.WebhookChange{Triggers: &[]string{"meeting.unknown"}}), "webhook.triggers[0]")
	requireField(t, s.refused(t, core.WebhookChange{Secret: new("")}), "webhook.secret")
	_, err = s.webhooks.Update(t.Context(), "lab", webhookID, "", core.WebhookChange{Status: paused}, false)
	require.True(t, fault.Is(err, fault.NotFound))
}

func TestEditOfARetryPolicy(t *testing.T) {
	t.Parallel()
	s := newSteps()
	s.create(t, validChange())
	update := func(edit core.Edit[core.RetryPolicy]) *core.RetryPolicy {
		return s.update(t, core.WebhookChange{RetryPolicy: edit}).RetryPolicy
	}
	require.Equal(t, &core.RetryPolicy{Preset: core.PresetStandard, GiveUpAge: time.Hour},
		update(core.EditParts(func(p *core.RetryPolicy) { p.GiveUpAge = time.Hour })))
	require.Equal(t, &core.RetryPolicy{MaxRetries: 7, FirstDelay: time.Second, Factor: 2, MaxDelay: 24 * time.Hour, GiveUpAge: time.Hour},
		update(core.EditBackoff(func(p *core.RetryPolicy) { p.MaxRetries = 7 })))
	require.Equal(t, &core.RetryPolicy{MaxRetries: 7, FirstDelay: time.Minute, Factor: 2, MaxDelay: 24 * time.Hour, GiveUpAge: time.Hour},
		update(core.EditBackoff(func(p *core.RetryPolicy) { p.FirstDelay = time.Minute })))
	require.Equal(t, &core.RetryPolicy{FirstDelay: time.Second, Factor: 3, MaxDelay: 24 * time.Hour},
		update(core.Replace(core.RetryPolicy{Factor: 3})))
	err := s.refused(t, core.WebhookChange{RetryPolicy: core.EditBackoff(func(p *core.RetryPolicy) { p.MaxDelay = core.MinDelay })})
	requireField(t, err, "webhook.retry_policy.max_delay")
	err = s.refused(t, core.WebhookChange{RetryPolicy: core.EditParts(func(p *core.RetryPolicy) { p.Preset = core.PresetNone })})
	requireField(t, err, "webhook.retry_policy.preset")
	require.Equal(t, &core.RetryPolicy{Preset: core.PresetNone}, update(core.EditPreset(core.PresetNone)))
	require.Nil(t, update(core.EditPreset(core.PresetStandard)))
	require.Nil(t, update(core.UseDefault[core.RetryPolicy]()))
}

func TestDeleteChecksTheETag(t *testing.T) {
	t.Parallel()
	s := newSteps()
	w, _ := s.create(t, validChange())
	require.True(t, fault.Is(s.webhooks.Delete(t.Context(), "acme", webhookID, "other"), fault.Aborted))
	require.NoError(t, s.webhooks.Delete(t.Context(), "acme", webhookID, w.ETag()))
	require.True(t, fault.Is(s.webhooks.Delete(t.Context(), "acme", webhookID, w.ETag()), fault.NotFound))
}
