package storetest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
)

func checkSigningSecrets(t *testing.T, s *suite) {
	ctx := t.Context()
	s.tenants(t, "acme")
	before, err := s.Organization(ctx, "acme")
	require.NoError(t, err)
	secrets := s.secrets(core.MaxValidSecrets)
	signing := core.SigningSecretName("acme")
	s.leaves(t, traces{audit: []string{"rotate " + signing}, feed: [][]string{{"organization acme"}}, events: []string{core.TriggerSecretRotated}}, func() {
		got, err := s.ChangeSigningSecrets(ctx, "acme", func(current core.Organization) (core.SecretChange, error) {
			require.Equal(t, before, current)
			return core.SecretChange{Secrets: secrets, Action: core.ActionRotate, Announced: true, GracePeriod: time.Hour}, nil
		})
		require.NoError(t, err)
		require.Equal(t, secrets, got.Secrets)
	})
	after, err := s.Organization(ctx, "acme")
	require.NoError(t, err)
	require.Equal(t, secrets, after.Secrets)
	require.Equal(t, before.ETag(), after.ETag(), "the organization itself is the same")
	for _, secret := range after.Secrets {
		requireStored(t, secret.CreateTime)
	}
	s.leaves(t, traces{audit: []string{"reveal " + signing}}, func() {
		got, err := s.NoteReveal(ctx, "acme", func(current core.Organization) error {
			require.Equal(t, after, current)
			return nil
		})
		require.NoError(t, err)
		require.Equal(t, after, got)
	})
	for _, entry := range s.audit(t) {
		require.NotContains(t, fmt.Sprint(entry.Before, entry.After), string(secrets[0].Sealed))
	}
	// Others' changes keep the secrets, also at the same time.
	for _, err := range together(8, func(i int) error {
		if i%2 == 0 {
			_, err := s.UpdateOrganization(ctx, "acme", func(o core.Organization) (core.Organization, bool, error) {
				o.Version++
				return o, true, nil
			})
			return err
		}
		_, err := s.ChangeSigningSecrets(ctx, "acme", func(o core.Organization) (core.SecretChange, error) {
			return core.SecretChange{Secrets: o.Secrets[:len(o.Secrets)-1], Action: core.ActionActivate}, nil
		})
		return err
	}) {
		require.NoError(t, err)
	}
	after, err = s.Organization(ctx, "acme")
	require.NoError(t, err)
	require.Equal(t, secrets[:core.MaxValidSecrets-4], after.Secrets)
	require.Equal(t, before.Version+4, after.Version)
}

func checkAPIKeys(t *testing.T, s *suite) {
	ctx := t.Context()
	s.tenants(t, "acme", "beta")
	plain, full := s.newKey("acme"), s.newKey("acme")
	full.DisplayName, full.Role = strings.Repeat("𝔐", 100), core.RolePublisher
	full.ExpireTime = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)
	for _, want := range []core.APIKey{plain, full} {
		require.NoError(t, s.InsertAPIKey(ctx, want, core.Request{}))
		for _, read := range []func() (core.APIKey, error){
			func() (core.APIKey, error) { return s.APIKey(ctx, want.ID) },
			func() (core.APIKey, error) { return s.OrganizationAPIKey(ctx, "acme", want.ID) },
		} {
			got, err := read()
			require.NoError(t, err)
			require.Equal(t, want, got)
			requireStored(t, got.CreateTime)
		}
	}
	again := s.newKey("beta")
	again.ID = plain.ID
	s.leaves(t, traces{}, func() {
		require.Error(t, s.InsertAPIKey(ctx, again, core.Request{}), "the id of a key is nobody else's")
	})
	require.NoError(t, s.DeleteAPIKey(ctx, "acme", plain.ID))
	_, err := s.APIKey(ctx, plain.ID)
	requireKind(t, fault.NotFound, err)
	requireKind(t, fault.NotFound, s.DeleteAPIKey(ctx, "acme", plain.ID))

	now := s.stored()
	want := map[string]bool{full.ID: true}
	for i := range 7 {
		k := s.newKey("acme")
		k.CreateTime = now.Add(time.Duration(i/3) * time.Second)
		require.NoError(t, s.InsertAPIKey(ctx, k, core.Request{}))
		want[k.ID] = true
	}
	listed := walk(t, 2, func(after *core.APIKey) ([]core.APIKey, error) {
		if after == nil {
			return s.APIKeys(ctx, "acme", time.Time{}, "", 2)
		}
		return s.APIKeys(ctx, "acme", after.CreateTime, after.ID, 2)
	}, func() {
		k := s.newKey("acme")
		k.CreateTime = now.Add(-time.Hour)
		require.NoError(t, s.InsertAPIKey(ctx, k, core.Request{}))
	})
	require.Len(t, listed, len(want))
	for i, k := range listed {
		require.True(t, want[k.ID])
		if i > 0 {
			before := listed[i-1]
			require.True(t, before.CreateTime.Before(k.CreateTime) || before.CreateTime.Equal(k.CreateTime) && before.ID < k.ID)
		}
	}
}

func checkKeyUses(t *testing.T, s *suite) {
	ctx := t.Context()
	s.tenants(t, "acme")
	used, idle := s.newKey("acme"), s.newKey("acme")
	require.NoError(t, s.InsertAPIKey(ctx, used, core.Request{}))
	require.NoError(t, s.InsertAPIKey(ctx, idle, core.Request{}))
	s.clock.advance(time.Hour)
	now := s.stored()
	lastUse := func(id string) time.Time {
		k, err := s.APIKey(ctx, id)
		require.NoError(t, err)
		return k.LastUseTime
	}
	s.leaves(t, traces{}, func() {
		for _, use := range []struct {
			uses []core.KeyUse
			want time.Time
		}{
			{nil, time.Time{}},
			{[]core.KeyUse{{ID: used.ID, Time: now.Add(-2 * time.Minute)}, {ID: "gone", Time: now}, {ID: "a\x00b", Time: now}, {ID: used.ID, Time: now.Add(-time.Minute)}}, now.Add(-time.Minute)},
			{[]core.KeyUse{{ID: used.ID, Time: now.Add(-time.Hour)}}, now.Add(-time.Minute)},
			{[]core.KeyUse{{ID: used.ID, Time: now.Add(999)}}, now},
		} {
			require.NoError(t, s.TouchAPIKeys(ctx, use.uses))
			require.Equal(t, use.want, lastUse(used.ID))
		}
		require.NoError(t, s.TouchAPIKeys(ctx, []core.KeyUse{{ID: used.ID, Time: farFuture()}}))
	})
	last := lastUse(used.ID)
	requireStored(t, last)
	require.WithinDuration(t, now, last, time.Second, "what is still to come counts as now")
	require.Zero(t, lastUse(idle.ID))
	for _, err := range together(8, func(i int) error {
		ids := []string{used.ID, idle.ID}
		return s.TouchAPIKeys(ctx, []core.KeyUse{{ID: ids[i%2], Time: s.clock.Now()}, {ID: ids[(i+1)%2], Time: s.clock.Now()}})
	}) {
		require.NoError(t, err)
	}
}
