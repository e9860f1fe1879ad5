package storetest

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/services/subscription/internal/core"
)

// checkReencryption checks how secrets are encrypted anew: all, each for its purpose, and nothing else changes.
func checkReencryption(t *testing.T, s *suite) {
	ctx := t.Context()
	for _, id := range []string{"a", "b", "c"} {
		o := s.newOrganization(id)
		o.Secrets = s.secrets(2)
		require.NoError(t, s.InsertOrganization(ctx, o, core.Request{}))
	}
	s.tenants(t, "d")
	var webhooks []core.Webhook
	for range 3 {
		w := s.newWebhook("a")
		w.Headers = []core.SealedHeader{{Name: "X-Key", Sealed: []byte("h")}}
		webhooks = append(webhooks, s.insert(t, w))
	}
	slices.SortFunc(webhooks, func(a, b core.Webhook) int { return slices.Compare([]byte(a.ID), []byte(b.ID)) })
	_, err := s.BeginReencryption(ctx)
	require.NoError(t, err)
	work := s.take(t)
	reseal := func(sealed []byte, purpose string) ([]byte, error) { return append(sealed, purpose...), nil }
	next := func(last string) ([]byte, error) { return []byte(`{"last": "` + last + `"}`), nil }

	s.leaves(t, traces{}, func() {
		_, err = s.ReencryptOrganizations(ctx, work, "", 2, func([]byte, string) ([]byte, error) { return nil, errStop }, next)
		require.ErrorIs(t, err, errStop)
		_, err = s.ReencryptWebhooks(ctx, work, "", 2, reseal, func(string) ([]byte, error) { return nil, errStop })
		require.ErrorIs(t, err, errStop)
	})
	var places []string
	s.leaves(t, traces{feed: [][]string{{"organization a", "organization b"}, {"organization c"}}}, func() {
		for last := "-"; last != ""; {
			after := last
			if last == "-" {
				after = ""
			}
			last, err = s.ReencryptOrganizations(ctx, work, after, 2, reseal, next)
			require.NoError(t, err)
			places = append(places, last)
		}
	})
	require.Equal(t, []string{"b", "d", ""}, places)
	places = nil
	s.leaves(t, traces{feed: [][]string{{"webhook " + webhooks[0].ID, "webhook " + webhooks[1].ID}, {"webhook " + webhooks[2].ID}}}, func() {
		for last := "-"; last != ""; {
			after := last
			if last == "-" {
				after = ""
			}
			last, err = s.ReencryptWebhooks(ctx, work, after, 2, reseal, next)
			require.NoError(t, err)
			places = append(places, last)
		}
	})
	require.Equal(t, []string{webhooks[1].ID, webhooks[2].ID, ""}, places)
	for _, want := range webhooks {
		got, err := s.Webhook(ctx, "a", want.ID)
		require.NoError(t, err)
		want.Secrets[0].Sealed = append(want.Secrets[0].Sealed, want.ID...)
		want.Headers[0].Sealed = append(want.Headers[0].Sealed, core.HeaderPurpose(want.ID, "X-Key")...)
		require.Equal(t, want, got, "nor an etag nor a time is another one")
	}
	for _, id := range []string{"a", "b", "c"} {
		got, err := s.Organization(ctx, id)
		require.NoError(t, err)
		require.EqualValues(t, 1, got.Version)
		for _, secret := range got.Secrets {
			require.Contains(t, string(secret.Sealed), "organizations/"+id)
		}
	}
	stored, err := s.Operation(ctx, "", work.ID)
	require.NoError(t, err)
	require.EqualValues(t, 7, stored.ProcessedCount)
	require.EqualValues(t, 6, stored.AffectedCount)

	require.NoError(t, s.ForgetFeed(ctx))
	newest := s.revision(t)
	_, err = s.Changes(ctx, newest-2, newest, 10)
	require.ErrorIs(t, err, core.ErrGap)
	changes, err := s.Changes(ctx, newest, newest, 10)
	require.NoError(t, err)
	require.Empty(t, changes)
}
