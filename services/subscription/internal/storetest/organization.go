package storetest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/fault"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
)

// writing is a text that is easily damaged.
const writing = "Åse 北京 \U0001F469\u200d\U0001F467 \u202eabc\u202c \\ ' \" % _ {} $1 \u00e9 e\u0301"

// largest returns an organization with everything that one can have, times in another zone included.
func (s *suite) largest(id string) core.Organization {
	o := s.newOrganization(id)
	o.DisplayName, o.AllowHTTP, o.RecordRetention = strings.Repeat("𝔐", 100), true, 365*24*time.Hour+time.Nanosecond
	o.WebhookDefaults = core.WebhookDefaults{
		Dialect: "standard", Timeout: 30 * time.Second, MaxConcurrency: core.MaxMaxConcurrency, RateLimit: 0.1,
		RetryPolicy:      &core.RetryPolicy{MaxRetries: 30, FirstDelay: 100 * time.Millisecond, Factor: 1.1, MaxDelay: time.Hour, Jitter: 0.3, GiveUpAge: time.Hour},
		FailureThreshold: &core.FailureThreshold{ConsecutiveFailures: 10_000, WithoutSuccess: time.Minute},
		AlertEmails:      []string{"ops@example.com", "ü@example.com"},
	}
	o.IngestQuota = &core.IngestQuota{EventsPerSecond: 0.01, Burst: core.MaxBurst}
	o.ClientID, o.Secrets, o.Version = 1<<53-1, s.secrets(core.MaxValidSecrets), 1<<40
	return o
}

func checkOrganizations(t *testing.T, s *suite) {
	ctx := t.Context()
	for _, want := range []core.Organization{s.newOrganization("plain"), s.largest(strings.Repeat("a", 63))} {
		written := want
		east := time.FixedZone("east", 3600)
		written.CreateTime, written.UpdateTime = want.CreateTime.In(east), want.UpdateTime.In(east)
		require.NoError(t, s.InsertOrganization(ctx, written, core.Request{}))
		got, err := s.Organization(ctx, want.ID)
		require.NoError(t, err)
		require.Equal(t, want, got)
		requireStored(t, got.CreateTime, got.UpdateTime)
		s.leaves(t, traces{}, func() {
			requireKind(t, fault.AlreadyExists, s.InsertOrganization(ctx, s.newOrganization(want.ID), core.Request{}))
		})
	}
	// A change is stored as it comes back; what is not changed leaves no trace.
	next := s.largest("plain")
	next.DisplayName, next.Plan = writing, "other"
	got, err := s.UpdateOrganization(ctx, "plain", func(current core.Organization) (core.Organization, bool, error) {
		next.CreateTime = current.CreateTime
		return next, true, nil
	})
	require.NoError(t, err)
	require.Equal(t, next, got)
	got, err = s.Organization(ctx, "plain")
	require.NoError(t, err)
	require.Equal(t, next, got)
	s.leaves(t, traces{}, func() {
		got, err = s.UpdateOrganization(ctx, "plain", func(current core.Organization) (core.Organization, bool, error) {
			require.Equal(t, next, current)
			return current, false, nil
		})
		require.NoError(t, err)
		require.Equal(t, next, got)
	})
	// What the others need not know is not told.
	s.leaves(t, traces{audit: []string{"update organizations/plain"}}, func() {
		_, err := s.UpdateOrganization(ctx, "plain", func(o core.Organization) (core.Organization, bool, error) {
			o.DisplayName = "renamed"
			return o, true, nil
		})
		require.NoError(t, err)
	})
	requireKind(t, fault.InvalidArgument, s.InsertOrganization(ctx, core.Organization{ID: "nul", DisplayName: "a\x00b", CreateTime: s.stored(), UpdateTime: s.stored()}, core.Request{}))
}

func checkOrganizationLists(t *testing.T, s *suite) {
	var want []string
	for _, id := range []string{"b", "a", "a-1", "a1", "0", "-", "z", "zz", "a--", "m"} {
		o := s.newOrganization(id)
		if id == "m" || id == "a1" || id == "zz" {
			o.Plan = "other"
		}
		require.NoError(t, s.InsertOrganization(t.Context(), o, core.Request{}))
		want = append(want, id)
	}
	slices.Sort(want) // by bytes, whatever the language of the database
	added := 0
	got := walk(t, 3, func(after *core.Organization) ([]core.Organization, error) {
		slug := ""
		if after != nil {
			slug = after.ID
		}
		return s.Organizations(t.Context(), "", slug, 3)
	}, func() {
		added++
		s.tenants(t, fmt.Sprintf("--%d", added)) // before the place
	})
	var ids []string
	for _, o := range got {
		ids = append(ids, o.ID)
	}
	require.Equal(t, want, ids)
	for plan, want := range map[string][]string{"other": {"a1", "m", "zz"}, "unknown": nil} {
		var ids []string
		for _, o := range walk(t, 1, func(after *core.Organization) ([]core.Organization, error) {
			slug := ""
			if after != nil {
				slug = after.ID
			}
			return s.Organizations(t.Context(), plan, slug, 1)
		}, nil) {
			ids = append(ids, o.ID)
		}
		require.Equal(t, want, ids, plan)
	}
}

func checkDeletedOrganization(t *testing.T, s *suite) {
	ctx := t.Context()
	gone, kept := s.furnish(t, "acme"), s.furnish(t, "beta")
	before := s.revision(t)
	operation, err := s.DeleteOrganization(ctx, "acme", func(o core.Organization) error {
		require.Equal(t, "acme", o.ID)
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, core.OperationDeleteOrganization, operation.Type)
	require.Equal(t, core.OperationRunning, operation.State)
	require.Equal(t, "organizations/acme", operation.Target)
	requireStored(t, operation.CreateTime, operation.UpdateTime)
	require.LessOrEqual(t, operation.Parameters.Revision, s.revision(t))
	require.Greater(t, operation.Parameters.Revision, before)
	stored, err := s.Operation(ctx, "acme", operation.ID)
	require.NoError(t, err)
	require.Equal(t, operation, stored)

	// Everything of it is gone for the others, its end the last.
	var told []string
	for _, change := range s.changes(t, before) {
		for _, r := range change.GetResources() {
			name, _ := describe(r)
			told = append(told, name)
		}
	}
	require.ElementsMatch(t, []string{"-organization acme", "-webhook " + gone.webhook, "-key " + gone.key, "-trigger acme/" + gone.trigger}, told)
	require.Equal(t, "-organization acme", told[len(told)-1])
	entries := s.audit(t)
	last := entries[len(entries)-1]
	require.Equal(t, core.ActionDelete, last.Action)
	require.Equal(t, "organizations/acme", last.Resource)
	require.Empty(t, last.Organization, "the entries of the organization go, this one stays")

	var without []call
	for _, call := range calls() {
		if call.name != "Operation" && call.name != "CancelOperation" && call.name != "ResumeOperation" {
			without = append(without, call)
		}
	}
	requireUnknown(t, s, gone, without, tenant, thing)
	s.leaves(t, traces{}, func() {
		requireKind(t, fault.AlreadyExists, s.InsertOrganization(ctx, s.newOrganization("acme"), core.Request{}))
		changed, err := s.ReportHealth(ctx, core.HealthReport{Organization: "acme", Webhook: gone.webhook, Generation: 1, Level: core.HealthDisable}, true)
		require.NoError(t, err)
		require.False(t, changed)
	})
	requireNothingListed(t, s, "acme")
	_, err = s.APIKey(ctx, gone.key)
	requireKind(t, fault.NotFound, err)
	require.NoError(t, s.Snapshot(ctx, func(page *configv1.SnapshotPage) error {
		for _, r := range page.GetResources() {
			_, key := describe(r)
			require.NotContains(t, key, "acme")
			require.NotContains(t, key, gone.webhook)
			require.NotContains(t, key, gone.key)
		}
		return nil
	}))
	_, err = s.Webhook(ctx, "beta", kept.webhook)
	require.NoError(t, err)
}

// requireNothingListed requires that no list has anything of an organization.
func requireNothingListed(t *testing.T, s *suite, organization string) {
	t.Helper()
	ctx := t.Context()
	webhooks, err := s.Webhooks(ctx, core.WebhookQuery{Organization: organization, Limit: 10})
	require.NoError(t, err)
	require.Empty(t, webhooks)
	teams, err := s.Teams(ctx, organization, "", 10)
	require.NoError(t, err)
	require.Empty(t, teams)
	triggers, err := s.Triggers(ctx, organization, core.TriggerFilter{}, "", "", 10)
	require.NoError(t, err)
	require.Empty(t, triggers)
	keys, err := s.APIKeys(ctx, organization, time.Time{}, "", 10)
	require.NoError(t, err)
	require.Empty(t, keys)
	organizations, err := s.Organizations(ctx, "", "", everything)
	require.NoError(t, err)
	require.False(t, slices.ContainsFunc(organizations, func(o core.Organization) bool { return o.ID == organization }))
}

// checkRemains checks how the operation that deletes an organization removes what is left of it.
func checkRemains(t *testing.T, s *suite) {
	ctx := t.Context()
	gone := s.furnish(t, "acme")
	s.furnish(t, "beta")
	require.NoError(t, s.DeleteWebhook(ctx, "acme", gone.webhook, func(core.Webhook) error { return nil }))
	begun, err := s.DeleteOrganization(ctx, "acme", func(core.Organization) error { return nil })
	require.NoError(t, err)
	var work core.Work
	for work.ID != begun.ID {
		work = s.take(t)
	}
	require.NoError(t, s.RemoveAnnouncements(ctx, work, []byte(`{"step": 1}`)))
	require.Empty(t, s.drain(t), "the event about its webhook")
	_, err = s.Operation(ctx, "acme", gone.operation)
	requireKind(t, fault.NotFound, err)
	var total int64
	for removed := int64(1); removed > 0; total += removed {
		removed, err = s.RemoveOrganizationRows(ctx, work, 2)
		require.NoError(t, err)
	}
	require.Positive(t, total)
	entries, err := s.AuditEntries(ctx, core.AuditQuery{Organization: "acme"}, farFuture(), uuid.Max, everything)
	require.NoError(t, err)
	require.Empty(t, entries)
	require.NoError(t, s.EndOperation(ctx, work, nil))
	ended, err := s.Operation(ctx, "acme", begun.ID)
	require.NoError(t, err)
	require.Equal(t, core.OperationSucceeded, ended.State)
	require.GreaterOrEqual(t, ended.AffectedCount, total)
	requireKind(t, fault.AlreadyExists, s.InsertOrganization(ctx, s.newOrganization("acme"), core.Request{}))

	// Nothing of one that exists is ever removed.
	entries, err = s.AuditEntries(ctx, core.AuditQuery{Organization: "beta"}, farFuture(), uuid.Max, everything)
	require.NoError(t, err)
	_, err = s.BeginReencryption(ctx)
	require.NoError(t, err)
	work = s.take(t)
	work.Parameters.Organization = "beta"
	_, err = s.RemoveOrganizationRows(ctx, work, 10)
	requireKind(t, fault.FailedPrecondition, err)
	requireKind(t, fault.FailedPrecondition, s.RemoveAnnouncements(ctx, work, []byte("{}")))
	after, err := s.AuditEntries(ctx, core.AuditQuery{Organization: "beta"}, farFuture(), uuid.Max, everything)
	require.NoError(t, err)
	require.Equal(t, entries, after)
}
