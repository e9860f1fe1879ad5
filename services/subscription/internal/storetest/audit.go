package storetest

import (
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
)

func checkAudit(t *testing.T, s *suite) {
	actor := core.Actor{
		Name: "apiKeys/k", Role: core.RoleOperator, Address: "192.0.2.1", ForwardedFor: "2001:db8::1, 192.0.2.2", UserAgent: writing,
	}
	ctx := core.WithActor(t.Context(), actor)
	began := s.stored()
	require.NoError(t, s.InsertOrganization(ctx, s.largest("acme"), core.Request{}))
	s.tenants(t, "beta")
	_, err := s.UpdateOrganization(ctx, "acme", func(o core.Organization) (core.Organization, bool, error) {
		o.DisplayName = writing
		return o, true, nil
	})
	require.NoError(t, err)
	entries := s.audit(t)
	require.Len(t, entries, 3)
	created, system, updated := entries[0], entries[1], entries[2]
	require.Equal(t, actor, created.Actor)
	require.Equal(t, core.Actor{Name: core.SystemActor}, system.Actor)
	require.Equal(t, "acme", created.Organization)
	require.Equal(t, "organizations/acme", created.Resource)
	require.Nil(t, created.Before)
	require.Equal(t, writing, updated.After["displayName"])
	require.Equal(t, created.After["displayName"], updated.Before["displayName"])
	for _, entry := range entries {
		require.NoError(t, uuid.Validate(entry.ID))
		requireStored(t, entry.Time)
		require.True(t, entry.Time.After(began))
	}
	for name, c := range map[string]struct {
		query core.AuditQuery
		want  []core.AuditEntry
	}{
		"organization": {core.AuditQuery{Organization: "acme"}, []core.AuditEntry{updated, created}},
		"actor":        {core.AuditQuery{Actor: core.SystemActor}, []core.AuditEntry{system}},
		"action":       {core.AuditQuery{Action: string(core.ActionUpdate)}, []core.AuditEntry{updated}},
		"resource":     {core.AuditQuery{Resource: "organizations/beta"}, []core.AuditEntry{system}},
		"from":         {core.AuditQuery{From: system.Time}, []core.AuditEntry{updated, system}},
		"all together": {core.AuditQuery{
			Organization: "acme", Actor: actor.Name, Action: "create", Resource: created.Resource, From: created.Time,
		}, []core.AuditEntry{created}},
		"nothing of that": {core.AuditQuery{Organization: "acme", Actor: core.SystemActor}, []core.AuditEntry{}},
	} {
		got, err := s.AuditEntries(ctx, c.query, farFuture(), uuid.Max, 10)
		require.NoError(t, err, name)
		require.Equal(t, c.want, got, name)
	}
}

func checkAuditLists(t *testing.T, s *suite) {
	s.tenants(t, "a", "b", "c", "d", "e", "f", "g")
	want := s.audit(t)
	slices.Reverse(want)
	s.clock.advance(time.Minute)
	got := walk(t, 2, func(after *core.AuditEntry) ([]core.AuditEntry, error) {
		before, id := farFuture(), uuid.Max
		if after != nil {
			before, id = after.Time, uuid.MustParse(after.ID)
		}
		return s.AuditEntries(t.Context(), core.AuditQuery{}, before, id, 2)
	}, func() { s.tenants(t, "x"+uuid.NewString()) })
	require.Equal(t, want, got)
}

func checkRecordedActions(t *testing.T, s *suite) {
	ctx := t.Context()
	s.tenants(t, "acme", "gone")
	done := core.AuditEntry{
		ID: uuid.NewString(), Organization: "acme", Time: s.stored(), Action: core.ActionErase, Resource: "organizations/acme/events/1",
		Actor: core.Actor{Name: "apiKeys/k", Role: core.RoleAdmin, Address: "192.0.2.1", ForwardedFor: writing, UserAgent: writing},
		After: core.Document{"subject": writing, "count": 3.0},
	}
	before := s.audit(t)
	for _, err := range together(6, func(int) error { return s.RecordAction(ctx, done) }) {
		require.NoError(t, err)
	}
	changed := done
	changed.Resource = "organizations/acme/events/2"
	require.NoError(t, s.RecordAction(ctx, changed), "it was written already")
	require.Equal(t, append(slices.Clone(before), done), s.audit(t))

	installation := core.AuditEntry{
		ID: uuid.NewString(), Time: s.stored(), Action: core.ActionPurge, Resource: "organizations/-", Actor: core.Actor{Name: core.SystemActor},
	}
	require.NoError(t, s.RecordAction(ctx, installation))
	require.Equal(t, append(before, done, installation), s.audit(t))

	_, err := s.DeleteOrganization(ctx, "gone", func(core.Organization) error { return nil })
	require.NoError(t, err)
	before = s.audit(t)
	for _, organization := range []string{"gone", "never"} {
		done.ID, done.Organization = uuid.NewString(), organization
		requireKind(t, fault.NotFound, s.RecordAction(ctx, done), organization)
	}
	require.Equal(t, before, s.audit(t))
}
