package storetest

import (
	"cmp"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/services/subscription/internal/core"
)

// place returns where a webhook stands in a list.
func place(order core.WebhookOrder, w *core.Webhook) *core.WebhookPlace {
	switch {
	case w == nil:
		return nil
	case order == core.OrderByName:
		return &core.WebhookPlace{DisplayName: w.DisplayName, ID: w.ID}
	case order == core.OrderByUpdateTime:
		return &core.WebhookPlace{Time: w.UpdateTime, ID: w.ID}
	default:
		return &core.WebhookPlace{Time: w.CreateTime, ID: w.ID}
	}
}

// compare compares two places of webhooks in a list.
func compare(order core.WebhookOrder, a, b core.Webhook) int {
	left, right := place(order, &a), place(order, &b)
	return cmp.Or(left.Time.Compare(right.Time), cmp.Compare(left.DisplayName, right.DisplayName), cmp.Compare(left.ID, right.ID))
}

func checkWebhookLists(t *testing.T, s *suite) {
	s.tenants(t, "acme", "beta")
	base := s.stored()
	var all []core.Webhook
	for i := range 13 {
		w := s.newWebhook("acme")
		w.DisplayName = []string{"b", "B", "é", "a b", "ab"}[i%5] // several have the same, and the same times
		w.CreateTime, w.UpdateTime = base.Add(time.Duration(i%3)*time.Second), base.Add(time.Duration(i%4)*time.Second)
		all = append(all, s.insert(t, w))
	}
	s.webhook(t, "beta")
	for _, order := range []core.WebhookOrder{core.OrderByCreateTime, core.OrderByUpdateTime, core.OrderByName} {
		for _, descending := range []bool{false, true} {
			want := slices.SortedFunc(slices.Values(all), func(a, b core.Webhook) int {
				if descending {
					a, b = b, a
				}
				return compare(order, a, b)
			})
			var added []core.Webhook
			got := walk(t, 2, func(after *core.Webhook) ([]core.Webhook, error) {
				return s.Webhooks(t.Context(), core.WebhookQuery{
					Organization: "acme", Order: order, Descending: descending, After: place(order, after), Limit: 2,
				})
			}, func() { // one before everything and one after everything
				for _, sign := range []time.Duration{-1, 1} {
					w := s.newWebhook("acme")
					w.CreateTime = base.Add(sign * time.Duration(len(added)+1) * time.Hour)
					w.UpdateTime, w.DisplayName = w.CreateTime, fmt.Sprintf("%s%04d", map[time.Duration]string{-1: " ", 1: "😀"}[sign], len(added))
					if len(added) < 8 {
						added = append(added, s.insert(t, w))
					}
				}
			})
			require.True(t, slices.IsSortedFunc(got, func(a, b core.Webhook) int {
				if descending {
					a, b = b, a
				}
				return compare(order, a, b)
			}), order)
			ids := make(map[string]bool)
			for _, w := range got {
				require.False(t, ids[w.ID], "%s twice", w.DisplayName)
				ids[w.ID] = true
			}
			got = slices.DeleteFunc(got, func(w core.Webhook) bool {
				return slices.ContainsFunc(added, func(a core.Webhook) bool { return a.ID == w.ID })
			})
			require.Equal(t, want, got, "%s descending=%v", order, descending)
			for _, w := range added {
				require.NoError(t, s.DeleteWebhook(t.Context(), "acme", w.ID, func(core.Webhook) error { return nil }))
			}
		}
	}
}

func checkWebhookConditions(t *testing.T, s *suite) {
	s.tenants(t, "acme", "beta")
	one, two := s.newWebhook("acme"), s.newWebhook("acme")
	one.Status, one.Dialect, one.TargetURL = core.StatusPaused, "svix", "https://one.example.com/"
	one.Teams, one.Metadata = []string{"sales", "support"}, map[string]string{"a": "1", writing: writing}
	two.Triggers, two.Metadata = []string{"meeting.*", "custom.lead"}, map[string]string{"a": "1", "b": "2"}
	one, two = s.insert(t, one), s.insert(t, two)
	s.insert(t, func() core.Webhook {
		other := s.newWebhook("beta")
		other.Metadata = two.Metadata
		return other
	}())
	for name, c := range map[string]struct {
		query core.WebhookQuery
		want  []core.Webhook
	}{
		"none":             {core.WebhookQuery{}, []core.Webhook{one, two}},
		"status":           {core.WebhookQuery{Status: core.StatusPaused}, []core.Webhook{one}},
		"no such status":   {core.WebhookQuery{Status: core.StatusDisabled}, nil},
		"one pattern":      {core.WebhookQuery{Patterns: []string{"meeting.*"}}, []core.Webhook{two}},
		"any pattern":      {core.WebhookQuery{Patterns: []string{"meeting.booked", "meeting.*", "x.y"}}, []core.Webhook{one, two}},
		"dialect":          {core.WebhookQuery{Dialect: "svix"}, []core.Webhook{one}},
		"URL":              {core.WebhookQuery{TargetURL: "https://one.example.com/"}, []core.Webhook{one}},
		"a part of a URL":  {core.WebhookQuery{TargetURL: "https://one.example.com"}, nil},
		"team":             {core.WebhookQuery{Team: "support"}, []core.Webhook{one}},
		"a part of a team": {core.WebhookQuery{Team: "sup"}, nil},
		"metadata":         {core.WebhookQuery{Metadata: map[string]string{"a": "1"}}, []core.Webhook{one, two}},
		"all metadata":     {core.WebhookQuery{Metadata: map[string]string{"a": "1", "b": "2"}}, []core.Webhook{two}},
		"other metadata":   {core.WebhookQuery{Metadata: map[string]string{"a": "2"}}, nil},
		"odd metadata":     {core.WebhookQuery{Metadata: map[string]string{writing: writing}}, []core.Webhook{one}},
		"all together": {core.WebhookQuery{
			Status: core.StatusPaused, Patterns: one.Triggers, Dialect: "svix", TargetURL: one.TargetURL, Team: "sales",
			Metadata: map[string]string{"a": "1"},
		}, []core.Webhook{one}},
	} {
		for _, order := range []core.WebhookOrder{core.OrderByCreateTime, core.OrderByUpdateTime, core.OrderByName} {
			for _, descending := range []bool{false, true} {
				query := c.query
				query.Organization, query.Order, query.Descending, query.Limit = "acme", order, descending, 10
				got, err := s.Webhooks(t.Context(), query)
				require.NoError(t, err, name)
				require.ElementsMatch(t, c.want, got, name)
			}
		}
	}
}

func checkWebhooksAtHost(t *testing.T, s *suite) {
	s.tenants(t, "acme", "beta")
	now := s.stored()
	var want []string
	for i, target := range []string{
		"https://hooks.example.com/", "https://HOOKS.example.com/x", "https://example.org/", "https://hooks.example.com:8443/",
		"https://user.example.net/", "https://hooks.example.com/1",
	} {
		w := s.newWebhook("acme")
		w.TargetURL, w.CreateTime = target, now.Add(time.Duration(i/3)*time.Second)
		s.insert(t, w)
		if i%2 == 1 || i == 0 {
			want = append(want, target)
		}
	}
	theirs := s.newWebhook("beta")
	theirs.TargetURL = "https://hooks.example.com/"
	s.insert(t, theirs)
	var got []string
	before := core.Webhook{ID: uuid.Nil.String()}
	for _, w := range walk(t, 1, func(after *core.Webhook) ([]core.Webhook, error) {
		if after == nil {
			return s.WebhooksAtHost(t.Context(), "acme", "hooks.example.com", core.Webhook{}, 1)
		}
		return s.WebhooksAtHost(t.Context(), "acme", "hooks.example.com", *after, 1)
	}, func() { s.webhook(t, "acme") }) {
		require.True(t, before.CreateTime.Before(w.CreateTime) || before.CreateTime.Equal(w.CreateTime) && before.ID < w.ID)
		before = w
		got = append(got, w.TargetURL)
		require.Equal(t, "acme", w.Organization)
		require.NotEmpty(t, w.Triggers)
		requireStored(t, w.CreateTime)
	}
	require.ElementsMatch(t, want, got, "more may come, but none may be missing, and here nothing is alike")
}
