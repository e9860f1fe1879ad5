package storetest

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/services/subscription/internal/core"
)

// fullWebhook returns a webhook with as much as one can have.
func (s *suite) fullWebhook(organization string) core.Webhook {
	w := s.newWebhook(organization)
	w.DisplayName, w.Description = strings.Repeat("𝔐", 100), strings.Repeat("é\n", core.MaxDescriptionLength/2)
	w.TargetURL = "https://xn--bcher-kva.example/" + strings.Repeat("%C3%A9", 330)
	w.Triggers, w.Metadata = nil, map[string]string{writing: writing, "empty": ""}
	for i := range core.MaxTriggers {
		w.Triggers = append(w.Triggers, fmt.Sprintf("custom.%03d%s", i, strings.Repeat("x", core.MaxTriggerLength-10)))
		w.EventTypes = append(w.EventTypes, fmt.Sprintf("type-%d", 100-i)) // their order is kept
		w.Teams = append(w.Teams, fmt.Sprintf("team-%d", 100-i))
		w.Metadata[fmt.Sprintf("key-%d", i)] = strings.Repeat("ü", 250)
	}
	w.Filter = strings.Repeat(`event.type == "é\u0000" || `, 20) + "true"
	w.DialectOptions = core.DialectOptions{SignatureEncoding: "hex", ClientID: 1<<53 - 1}
	w.SecretSource, w.Secrets = core.SecretOwn, s.secrets(core.MaxValidSecrets)
	for i := range 20 {
		w.Headers = append(w.Headers, core.SealedHeader{Name: fmt.Sprintf("X-Header-%d", 20-i), Sealed: bytes.Repeat([]byte{0, 255, byte(i)}, 1400)})
	}
	w.RetryPolicy = &core.RetryPolicy{Preset: core.PresetExponential, GiveUpAge: 30 * 24 * time.Hour}
	w.FailureThreshold = &core.FailureThreshold{Off: true}
	w.MaxConcurrency, w.RateLimit, w.Timeout = core.MaxMaxConcurrency, 0.1, 30*time.Second
	for i := range 10 {
		w.AlertEmails = append(w.AlertEmails, fmt.Sprintf("ü%d@example.com", i))
	}
	w.Status, w.StatusReason, w.Generation = core.StatusDisabled, "gone", 1<<40
	w.StatusTime = w.CreateTime.Add(time.Hour)
	w.UpdateTime = w.StatusTime
	return w
}

func checkWebhooks(t *testing.T, s *suite) {
	ctx := t.Context()
	s.tenants(t, "acme", "beta")
	bare := s.newWebhook("acme")
	bare.SecretSource, bare.Secrets = core.SecretNone, nil
	backoff := s.newWebhook("acme")
	backoff.RetryPolicy = &core.RetryPolicy{MaxRetries: 0, FirstDelay: 100 * time.Millisecond, Factor: 1.1, MaxDelay: time.Hour, Jitter: 0.1}
	backoff.FailureThreshold = &core.FailureThreshold{ConsecutiveFailures: 1, WithoutSuccess: time.Minute}
	east := time.FixedZone("east", 3600)
	for _, want := range []core.Webhook{s.newWebhook("acme"), bare, backoff, s.fullWebhook("acme")} {
		before, written := s.revision(t), want
		written.CreateTime, written.UpdateTime, written.StatusTime = want.CreateTime.In(east), want.UpdateTime.In(east), want.StatusTime.In(east)
		want.Revision = s.insert(t, written).Revision
		require.Equal(t, want.Revision, before+1, "and counted by one")
		require.Equal(t, want.Revision, s.revision(t), "the revision of a webhook is that of the feed")
		got, err := s.Webhook(ctx, "acme", want.ID)
		require.NoError(t, err)
		require.Equal(t, want, got)
		requireStored(t, got.CreateTime, got.UpdateTime, got.StatusTime)
	}
	// Any change of any field is stored.
	w := s.webhook(t, "acme")
	next := s.fullWebhook("acme")
	next.ID, next.CreateTime = w.ID, w.CreateTime
	got, begun, err := s.UpdateWebhook(ctx, "acme", w.ID, true, func(_ context.Context, _ core.WebhookView, current core.Webhook) (core.WebhookStep, error) {
		require.Equal(t, w, current)
		return core.WebhookStep{Webhook: next, Write: true, Action: core.ActionUpdate}, nil
	})
	require.NoError(t, err)
	require.Nil(t, begun)
	next.Revision = s.revision(t)
	require.Equal(t, next, got)
	got, err = s.Webhook(ctx, "acme", w.ID)
	require.NoError(t, err)
	require.Equal(t, next, got)

	found, err := s.WebhooksByID(ctx, "acme", []string{w.ID, "x", uuid.NewString(), w.ID})
	require.NoError(t, err)
	require.Equal(t, []core.Webhook{next}, found)
	require.NoError(t, s.DeleteWebhook(ctx, "acme", w.ID, func(current core.Webhook) error {
		require.Equal(t, next, current)
		return nil
	}))
	requireUnknown(t, s, household{organization: "acme", webhook: w.ID, team: "t", trigger: "custom.t", key: "k", operation: "o"}, calls(), thing)
}

// checkWebhookSteps checks what belongs to one change of a webhook.
func checkWebhookSteps(t *testing.T, s *suite) {
	ctx := t.Context()
	s.tenants(t, "acme")
	w := s.webhook(t, "acme")
	step := func(make func(core.Webhook) core.WebhookStep) (core.Webhook, *core.Operation) {
		got, begun, err := s.UpdateWebhook(ctx, "acme", w.ID, false,
			func(_ context.Context, _ core.WebhookView, current core.Webhook) (core.WebhookStep, error) {
				return make(current), nil
			})
		require.NoError(t, err)
		return got, begun
	}
	// Everything at once.
	var operation *core.Operation
	s.leaves(t, traces{
		audit: []string{"resume " + w.Name()}, feed: [][]string{{"webhook " + w.ID}}, events: []string{"webhook.enabled", "secret.rotated"},
	}, func() {
		_, operation = step(func(current core.Webhook) core.WebhookStep {
			o := core.NewResumeOperation("acme", w.ID, current.CreateTime, current.CreateTime.Add(time.Minute))
			return core.WebhookStep{Webhook: current, Write: true, Action: core.ActionResume, Operation: &o, Events: []core.WebhookEvent{
				{Trigger: "webhook.enabled", Data: core.Document{"generation": 2}}, {Trigger: "secret.rotated"},
			}}
		})
	})
	require.Equal(t, s.revision(t), operation.Parameters.Revision)
	stored, err := s.Operation(ctx, "acme", operation.ID)
	require.NoError(t, err)
	require.Equal(t, *operation, stored)
	requireStored(t, stored.CreateTime, stored.UpdateTime, stored.Parameters.StartTime, stored.Parameters.EndTime)

	// Nothing is written: only what is to be noted is.
	s.leaves(t, traces{}, func() {
		got, _ := step(func(current core.Webhook) core.WebhookStep {
			current.DisplayName = "dry run"
			return core.WebhookStep{Webhook: current}
		})
		require.Equal(t, "dry run", got.DisplayName)
	})
	s.leaves(t, traces{audit: []string{"reveal " + w.Name()}}, func() {
		step(func(current core.Webhook) core.WebhookStep {
			return core.WebhookStep{Webhook: current, Action: core.ActionReveal}
		})
	})
	s.leaves(t, traces{}, func() {
		dry := s.newWebhook("acme")
		_, err := s.InsertWebhook(ctx, "acme", dry.ID, core.Request{}, func(context.Context, core.WebhookView) (core.WebhookStep, error) {
			return core.WebhookStep{Webhook: dry, Action: core.ActionCreate}, nil
		})
		require.NoError(t, err)
		requireUnknown(t, s, household{organization: "acme", webhook: dry.ID, operation: "o"}, calls(), thing) //nolint:contextcheck // it is the same one
	})
	got, err := s.Webhook(ctx, "acme", w.ID)
	require.NoError(t, err)
	require.Equal(t, w.DisplayName, got.DisplayName)

	// An operation that cannot be stored takes the change back with it.
	s.leaves(t, traces{}, func() {
		_, _, err := s.UpdateWebhook(ctx, "acme", w.ID, false, func(_ context.Context, _ core.WebhookView, current core.Webhook) (core.WebhookStep, error) {
			again := *operation
			current.DisplayName = "lost"
			return core.WebhookStep{Webhook: current, Write: true, Action: core.ActionUpdate, Operation: &again}, nil
		})
		require.Error(t, err)
	})
}

func checkWebhookView(t *testing.T, s *suite) {
	ctx := t.Context()
	s.tenants(t, "acme", "beta")
	require.NoError(t, s.InsertTrigger(ctx, s.newTrigger("", "meeting.booked"), core.Request{}, false))
	require.NoError(t, s.InsertTrigger(ctx, s.newTrigger("beta", "custom.theirs"), core.Request{}, false))
	old := s.newTrigger("acme", "custom.ours")
	old.Deprecated = true
	require.NoError(t, s.InsertTrigger(ctx, old, core.Request{}, false))
	require.NoError(t, s.InsertTeam(ctx, s.newTeam("acme", "sales"), core.Request{}))
	require.NoError(t, s.InsertTeam(ctx, s.newTeam("beta", "theirs"), core.Request{}))
	first, second := s.webhook(t, "acme"), s.newWebhook("acme")
	second.Triggers = []string{"custom.*", "meeting.booked"}
	s.insert(t, second)
	s.webhook(t, "beta")
	o, err := s.Organization(ctx, "acme")
	require.NoError(t, err)
	look := func(ctx context.Context, view core.WebhookView, except string, others [][]string) {
		require.Equal(t, o, view.Organization())
		triggers, err := view.Triggers(ctx, []string{"meeting.booked", "custom.*", "custom.theirs", "nothing"})
		require.NoError(t, err)
		require.Equal(t, []core.TriggerFacts{{ID: "custom.ours", Deprecated: true}, {ID: "meeting.booked"}}, triggers)
		triggers, err = view.Triggers(ctx, nil)
		require.NoError(t, err)
		require.Len(t, triggers, 2)
		teams, err := view.Teams(ctx, []string{"sales", "theirs", ""})
		require.NoError(t, err)
		require.Equal(t, map[string]bool{"sales": true}, teams)
		found, err := view.TriggersOfOthers(ctx, except)
		require.NoError(t, err)
		require.ElementsMatch(t, others, found)
	}
	for _, alone := range []bool{false, true} {
		_, _, err := s.UpdateWebhook(ctx, "acme", first.ID, alone, func(ctx context.Context, view core.WebhookView, w core.Webhook) (core.WebhookStep, error) {
			look(ctx, view, first.ID, [][]string{second.Triggers})
			return core.WebhookStep{Webhook: w}, nil
		})
		require.NoError(t, err)
	}
	w := s.newWebhook("acme")
	_, err = s.InsertWebhook(ctx, "acme", w.ID, core.Request{}, func(ctx context.Context, view core.WebhookView) (core.WebhookStep, error) {
		look(ctx, view, w.ID, [][]string{first.Triggers, second.Triggers})
		return core.WebhookStep{Webhook: w}, nil
	})
	require.NoError(t, err)
}
