package storetest

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
)

func checkInstalledTriggers(t *testing.T, s *suite) {
	ctx := t.Context()
	const many = 120
	var triggers []core.Trigger
	for i := range many {
		triggers = append(triggers, s.newTrigger("", fmt.Sprintf("meeting.t%03d", i)))
	}
	// Several instances start at once.
	left := s.watch(t, func() {
		for _, err := range together(4, func(int) error { return s.InstallTriggers(ctx, triggers) }) {
			require.NoError(t, err)
		}
	})
	require.Len(t, left.audit, many)
	s.leaves(t, traces{}, func() { require.NoError(t, s.InstallTriggers(ctx, triggers)) })
	got, err := s.Trigger(ctx, "", "meeting.t000")
	require.NoError(t, err)
	require.True(t, got.BuiltIn)
	requireStored(t, got.CreateTime, got.UpdateTime)

	// What operators decided stays, as does what the program has no longer.
	_, err = s.UpdateTrigger(ctx, "", "meeting.t000", false, func(v core.Trigger, _ func() (core.InUse, error)) (core.Trigger, bool, error) {
		v.Deprecated, v.WarnOnly, v.Version = true, true, v.Version+1
		return v, true, nil
	})
	require.NoError(t, err)
	triggers[0].Schema = `{"type": "object"}`
	s.leaves(t, traces{audit: []string{"update organizations/-/triggers/meeting.t000"}, feed: [][]string{{"trigger /meeting.t000"}}}, func() {
		require.NoError(t, s.InstallTriggers(ctx, triggers[:1]))
	})
	next, err := s.Trigger(ctx, "", "meeting.t000")
	require.NoError(t, err)
	require.True(t, next.Deprecated && next.WarnOnly)
	require.Equal(t, triggers[0].Schema, next.Schema)
	require.Equal(t, got.CreateTime, next.CreateTime)
	require.EqualValues(t, 3, next.Version)
	_, err = s.Trigger(ctx, "", "meeting.t119")
	require.NoError(t, err)
}

func checkInstalledPlans(t *testing.T, s *suite) {
	ctx := t.Context()
	for id, plan := range map[string]string{"none": "", "small": "small", "gone": "gone", "large": "large"} {
		o := s.newOrganization(id)
		o.Plan = plan
		require.NoError(t, s.InsertOrganization(ctx, o, core.Request{}))
	}
	plans := core.NewPlans([]core.Plan{
		{Name: "small", RecordRetention: 24 * time.Hour}, {Name: "large", WebhooksAvailable: true},
	}, "small")
	left := s.watch(t, func() { require.NoError(t, s.InstallPlans(ctx, plans)) })
	require.ElementsMatch(t, []string{"update organizations/none", "update organizations/small"}, left.audit)
	s.leaves(t, traces{}, func() { require.NoError(t, s.InstallPlans(ctx, plans)) })
	for id, want := range map[string]core.Plan{
		"none": plans.Default(), "small": plans.Default(), "gone": {Name: "gone", WebhooksAvailable: true}, "large": {Name: "large", WebhooksAvailable: true},
	} {
		o, err := s.Organization(ctx, id)
		require.NoError(t, err)
		require.Equal(t, want.Name, o.Plan, id)
		require.Equal(t, want.WebhooksAvailable, o.WebhooksAvailable, id)
		require.Equal(t, want.RecordRetention, o.RecordRetention, id)
	}
}

func checkBootstrapKey(t *testing.T, s *suite) {
	ctx := t.Context()
	key := func(id string, secret byte) *core.APIKey {
		k := core.NewBootstrapKey(id, [32]byte{secret}, s.clock.Now())
		return &k
	}
	const name = "organizations/-/apiKeys/"
	for _, step := range []struct {
		key  *core.APIKey
		left traces
	}{
		{nil, traces{}},
		{key("one", 1), traces{audit: []string{"create " + name + "one"}, feed: [][]string{{"key one"}}}},
		{key("one", 1), traces{}},
		{key("one", 2), traces{audit: []string{"delete " + name + "one", "create " + name + "one"}, feed: [][]string{{"key one"}}}},
		{key("two", 2), traces{audit: []string{"delete " + name + "one", "create " + name + "two"}, feed: [][]string{{"-key one", "key two"}}}},
		{nil, traces{audit: []string{"delete " + name + "two"}, feed: [][]string{{"-key two"}}}},
	} {
		s.leaves(t, step.left, func() { require.NoError(t, s.InstallBootstrapKey(ctx, step.key)) })
		if step.key != nil {
			got, err := s.APIKey(ctx, step.key.ID)
			require.NoError(t, err)
			require.Equal(t, step.key.SecretSHA256, got.SecretSHA256)
			require.True(t, got.Bootstrap)
			require.Equal(t, core.RoleOperator, got.Role)
			require.Empty(t, got.Organization)
		}
	}
	s.tenants(t, "acme")
	own := s.newKey("acme")
	require.NoError(t, s.InsertAPIKey(ctx, own, core.Request{}))
	s.leaves(t, traces{}, func() {
		requireKind(t, fault.FailedPrecondition, s.InstallBootstrapKey(ctx, key(own.ID, 3)))
		_, err := s.OrganizationAPIKey(ctx, "acme", own.ID)
		require.NoError(t, err)
	})
	for _, err := range together(4, func(int) error { return s.InstallBootstrapKey(ctx, key("three", 3)) }) {
		require.NoError(t, err)
	}
}
