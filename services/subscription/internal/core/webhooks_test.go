package core_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
	secrets  *plainSecrets
	now      time.Time
}

func newSteps() *steps {
	s := &steps{
		store: &memoryStore{
			organizations: map[string]core.Organization{"acme": {ID: "acme"}, "lab": {ID: "lab", AllowHTTP: true}},
			triggers:      []string{"meeting.booked", "meeting.canceled"},
		},
		secrets: &plainSecrets{},
		now:     time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC),
	}
	s.webhooks = core.NewWebhooks(s.store, s.secrets, func() string { return webhookID }, func() time.Time { return s.now })
	return s
}

// validChange returns what a new webhook needs.
func validChange() core.WebhookChange {
	return core.WebhookChange{
		DisplayName: new("Booking sync"), TargetURL: new("https://example.com/hook"), Triggers: &[]string{"meeting.booked"},
	}
}

type memoryStore struct {
	organizations map[string]core.Organization
	triggers      []string
	webhook       *core.Webhook
	revision      int64
	writes        int
}

func (m *memoryStore) Organization(_ context.Context, id string) (core.Organization, error) {
	o, ok := m.organizations[id]
	if !ok {
		return o, core.NoOrganization(id)
	}
	return o, nil
}

func (m *memoryStore) KnownTriggers(_ context.Context, ids []string) (map[string]bool, error) {
	known := map[string]bool{}
	for _, id := range ids {
		known[id] = slices.Contains(m.triggers, id)
	}
	return known, nil
}

func (m *memoryStore) InsertWebhook(_ context.Context, w core.Webhook) (core.Webhook, error) {
	m.revision++
	m.writes++
	w.Revision = m.revision
	m.webhook = &w
	return w, nil
}

func (m *memoryStore) UpdateWebhook(_ context.Context, organization, id string,
	change func(core.Webhook) (core.Webhook, bool, error),
) (core.Webhook, error) {
	if m.webhook == nil || m.webhook.Organization != organization || m.webhook.ID != id {
		return core.Webhook{}, core.NoWebhook(organization, id)
	}
	next, changed, err := change(*m.webhook)
	if err != nil || !changed {
		return next, err
	}
	return m.InsertWebhook(context.Background(), next)
}

func (m *memoryStore) DeleteWebhook(_ context.Context, organization, id string, check func(core.Webhook) error) error {
	if m.webhook == nil || m.webhook.Organization != organization || m.webhook.ID != id {
		return core.NoWebhook(organization, id)
	}
	if err := check(*m.webhook); err != nil {
		return err
	}
	m.webhook = nil
	return nil
}

// plainSecrets seals so that a test can see what was sealed.
type plainSecrets struct{ err error }

func (p *plainSecrets) New() (string, error) { return secretOf(32), p.err }

func (p *plainSecrets) Seal(secret, id string) ([]byte, error) {
	return []byte(id + "|" + secret), p.err
}

func TestCreateFillsInTheDefaults(t *testing.T) {
	t.Parallel()
	s := newSteps()
	w, secret, err := s.webhooks.Create(t.Context(), "acme", validChange())
	require.NoError(t, err)
	require.Equal(t, secretOf(32), secret)
	require.Equal(t, core.Webhook{
		ID: webhookID, Organization: "acme", DisplayName: "Booking sync", TargetURL: "https://example.com/hook",
		Triggers: []string{"meeting.booked"}, SealedSecrets: [][]byte{[]byte(webhookID + "|" + secret)},
		Timeout: 15 * time.Second, Revision: 1, CreateTime: s.now, UpdateTime: s.now,
	}, w)
}

func TestCreateNamesEveryFieldAtFault(t *testing.T) {
	t.Parallel()
	s := newSteps()
	_, _, err := s.webhooks.Create(t.Context(), "acme", core.WebhookChange{
		TargetURL: new("http://example.com"), Triggers: &[]string{"meeting.booked", "meeting.unknown"},
		Secret: new("whsec_x"), Timeout: new(31 * time.Second), RetryPolicy: core.ReplacePolicy(core.RetryPolicy{Jitter: 2}),
	})
	for path, says := range map[string]string{
		"webhook.display_name":        "200",
		"webhook.target_url":          "http",
		"webhook.triggers[1]":         "meeting.unknown",
		"webhook.secret":              "base64",
		"webhook.timeout":             "30s",
		"webhook.retry_policy.jitter": "0.5",
	} {
		require.Contains(t, requireField(t, err, path), says)
	}
	require.Len(t, fault.From(err).Fields, 6)
	require.Zero(t, s.store.writes)
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
		"none":      {nil, "webhook.triggers"},
		"too many":  {many, "webhook.triggers"},
		"duplicate": {[]string{"meeting.booked", "meeting.canceled", "meeting.booked"}, "webhook.triggers[2]"},
		"syntax":    {[]string{"meeting.booked", "Meeting.Booked"}, "webhook.triggers[1]"},
		"one token": {[]string{"meeting"}, "webhook.triggers[0]"},
		"NUL":       {[]string{"meeting.boo\x00ked"}, "webhook.triggers[0]"},
		"too long":  {[]string{"meeting." + strings.Repeat("a", 121)}, "webhook.triggers[0]"},
		"unknown":   {[]string{"meeting.exploded"}, "webhook.triggers[0]"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			change := validChange()
			change.Triggers = &test.triggers
			_, _, err := newSteps().webhooks.Create(t.Context(), "acme", change)
			requireField(t, err, test.path)
		})
	}
}

func TestSecretLimits(t *testing.T) {
	t.Parallel()
	for _, n := range []int{24, 32, 64} {
		s := newSteps()
		change := validChange()
		change.Secret = new(secretOf(n))
		_, secret, err := s.webhooks.Create(t.Context(), "acme", change)
		require.NoError(t, err)
		require.Equal(t, secretOf(n), secret)
	}
	for name, secret := range map[string]string{
		"empty": "", "no prefix": secretOf(32)[6:], "short": secretOf(23), "long": secretOf(65),
		"not base64": "whsec_!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!!", "line break": secretOf(32)[:20] + "\n" + secretOf(32)[20:],
		"no padding": strings.TrimRight(secretOf(32), "="), "NUL": secretOf(32) + "\x00",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSteps()
			change := validChange()
			change.Secret = &secret
			_, _, err := s.webhooks.Create(t.Context(), "acme", change)
			message := requireField(t, err, "webhook.secret")
			if len(secret) > 10 {
				require.NotContains(t, message, secret[6:], "no part of a secret comes back")
			}
			require.Contains(t, message, "base64")
		})
	}
}

func TestCreateInAnOrganizationThatAllowsHTTP(t *testing.T) {
	t.Parallel()
	s := newSteps()
	change := validChange()
	change.TargetURL = new("http://example.com/")
	_, _, err := s.webhooks.Create(t.Context(), "lab", change)
	require.NoError(t, err)
	_, _, err = s.webhooks.Create(t.Context(), "nowhere", change)
	require.True(t, fault.Is(err, fault.NotFound))
}

func TestCreateStoresNothingWithoutASealedSecret(t *testing.T) {
	t.Parallel()
	s := newSteps()
	s.secrets.err = errors.New("broken")
	_, _, err := s.webhooks.Create(t.Context(), "acme", validChange())
	require.ErrorIs(t, err, s.secrets.err)
	require.Zero(t, s.store.writes)
}

func TestUpdateChangesOnlyWhatIsGiven(t *testing.T) {
	t.Parallel()
	s := newSteps()
	before, _, err := s.webhooks.Create(t.Context(), "acme", validChange())
	require.NoError(t, err)
	s.now = s.now.Add(time.Hour)

	after, err := s.webhooks.Update(t.Context(), "acme", webhookID, before.ETag(), core.WebhookChange{Paused: new(true)})
	require.NoError(t, err)
	want := before
	want.Paused, want.UpdateTime, want.Revision = true, s.now, 2
	require.Equal(t, want, after)
	require.NotEqual(t, before.ETag(), after.ETag())

	_, err = s.webhooks.Update(t.Context(), "acme", webhookID, before.ETag(), core.WebhookChange{Paused: new(false)})
	require.True(t, fault.Is(err, fault.Aborted), "%v", err)

	same, err := s.webhooks.Update(t.Context(), "acme", webhookID, "", core.WebhookChange{Paused: new(true), DisplayName: &after.DisplayName})
	require.NoError(t, err)
	require.Equal(t, after, same, "a change that changes nothing is none")
	require.Equal(t, 2, s.store.writes)

	secret := secretOf(40)
	after, err = s.webhooks.Update(t.Context(), "acme", webhookID, "", core.WebhookChange{Secret: &secret})
	require.NoError(t, err)
	require.Equal(t, [][]byte{[]byte(webhookID + "|" + secret)}, after.SealedSecrets)

	_, err = s.webhooks.Update(t.Context(), "acme", webhookID, "", core.WebhookChange{Triggers: &[]string{"meeting.unknown"}})
	requireField(t, err, "webhook.triggers[0]")
	_, err = s.webhooks.Update(t.Context(), "acme", webhookID, "", core.WebhookChange{Secret: new("")})
	requireField(t, err, "webhook.secret")
	_, err = s.webhooks.Update(t.Context(), "lab", webhookID, "", core.WebhookChange{Paused: new(true)})
	require.True(t, fault.Is(err, fault.NotFound))
}

func TestEditOfARetryPolicy(t *testing.T) {
	t.Parallel()
	s := newSteps()
	_, _, err := s.webhooks.Create(t.Context(), "acme", validChange())
	require.NoError(t, err)
	update := func(edit core.PolicyEdit) *core.RetryPolicy {
		w, err := s.webhooks.Update(t.Context(), "acme", webhookID, "", core.WebhookChange{RetryPolicy: edit})
		require.NoError(t, err)
		return w.RetryPolicy
	}
	require.Equal(t, &core.RetryPolicy{MaxRetries: 7, FirstDelay: time.Second, Factor: 2, MaxDelay: 24 * time.Hour},
		update(core.EditPolicy(func(p *core.RetryPolicy) { p.MaxRetries = 7 })))
	require.Equal(t, &core.RetryPolicy{MaxRetries: 7, FirstDelay: time.Minute, Factor: 2, MaxDelay: 24 * time.Hour},
		update(core.EditPolicy(func(p *core.RetryPolicy) { p.FirstDelay = time.Minute })))
	require.Equal(t, &core.RetryPolicy{FirstDelay: time.Second, Factor: 3, MaxDelay: 24 * time.Hour},
		update(core.ReplacePolicy(core.RetryPolicy{Factor: 3})))
	_, err = s.webhooks.Update(t.Context(), "acme", webhookID, "", core.WebhookChange{
		RetryPolicy: core.EditPolicy(func(p *core.RetryPolicy) { p.MaxDelay = core.MinDelay }),
	})
	requireField(t, err, "webhook.retry_policy.max_delay")
	require.Nil(t, update(core.DefaultSchedule))
}

func TestDeleteChecksTheETag(t *testing.T) {
	t.Parallel()
	s := newSteps()
	w, _, err := s.webhooks.Create(t.Context(), "acme", validChange())
	require.NoError(t, err)
	require.True(t, fault.Is(s.webhooks.Delete(t.Context(), "acme", webhookID, "other"), fault.Aborted))
	require.NoError(t, s.webhooks.Delete(t.Context(), "acme", webhookID, w.ETag()))
	require.True(t, fault.Is(s.webhooks.Delete(t.Context(), "acme", webhookID, w.ETag()), fault.NotFound))
}
