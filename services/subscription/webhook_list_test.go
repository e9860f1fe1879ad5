package subscription_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	subscriptionv1 "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
)

// listed returns the display names of all webhooks of acme that a list has, page by page.
func (i *tenant) listed(t *testing.T, filter, orderBy string) []string {
	t.Helper()
	names := []string{}
	req := &subscriptionv1.ListWebhooksRequest{Parent: "organizations/acme", Filter: filter, OrderBy: orderBy, PageSize: 2}
	for {
		answer, err := i.viewer.webhooks.ListWebhooks(t.Context(), req)
		require.NoError(t, err)
		for _, w := range answer.GetWebhooks() {
			names = append(names, w.GetDisplayName())
		}
		if req.PageToken = answer.GetNextPageToken(); req.GetPageToken() == "" {
			return names
		}
	}
}

// named makes a webhook with a name.
func (i *tenant) named(t *testing.T, name string, change func(*subscriptionv1.Webhook)) *subscriptionv1.Webhook {
	t.Helper()
	w := booking()
	w.DisplayName = name
	if change != nil {
		change(w)
	}
	return i.admin.webhook(t, "acme", w)
}

func TestWebhooksAreFiltered(t *testing.T) {
	t.Parallel()
	i := setupTenant(t)
	sales := i.team(t, "sales")
	i.named(t, "plain", nil)
	i.named(t, "group", func(w *subscriptionv1.Webhook) { w.Triggers = []string{"meeting.*"} })
	i.named(t, "other trigger", func(w *subscriptionv1.Webhook) { w.Triggers = []string{"contact.updated"} })
	i.named(t, "paused ace", func(w *subscriptionv1.Webhook) {
		w.Dialect, w.Status, w.TargetUrl = "ace", subscriptionv1.Webhook_STATUS_PAUSED, "https://example.com/ace"
		w.Metadata = map[string]string{"env": "test", "a-b": "c.d"}
	})
	i.named(t, "idn", func(w *subscriptionv1.Webhook) {
		w.Triggers, w.TargetUrl = []string{"contact.*"}, "https://bücher.example/"
	})
	i.named(t, "sales", func(w *subscriptionv1.Webhook) {
		w.Teams, w.Metadata = []string{sales}, map[string]string{"env": "live"}
	})
	for filter, want := range map[string][]string{
		"":                           {"plain", "group", "other trigger", "paused ace", "idn", "sales"},
		"trigger = meeting.booked":   {"plain", "group", "paused ace", "sales"},
		"trigger = meeting.canceled": {"group"},
		"status = STATUS_PAUSED":     {"paused ace"},
		"status = STATUS_DISABLED":   {},
		"dialect = ace":              {"paused ace"},
		`target_url = "https://example.com/hook" AND trigger = meeting.booked`: {"plain", "group", "sales"},
		`target_url = "https://bücher.example/"`:                               {"idn"},
		"team = " + sales:                            {"sales"},
		"metadata.env = test":                        {"paused ace"},
		`metadata."a-b" = "c.d"`:                     {"paused ace"},
		"metadata.env = live AND metadata.other = x": {},
	} {
		require.Equal(t, want, i.listed(t, filter, ""), filter)
	}
	for _, filter := range []string{
		"status = ACTIVE", "status = STATUS_UNSPECIFIED", "trigger = meeting", `trigger = "meeting.*"`, "team = sales",
		"team = organizations/other/teams/sales", "display_name = plain", "metadata = x", "status != STATUS_ACTIVE",
	} {
		_, err := i.viewer.webhooks.ListWebhooks(t.Context(), &subscriptionv1.ListWebhooksRequest{Parent: "organizations/acme", Filter: filter})
		requireField(t, err, "filter", "")
	}
}

func TestWebhooksAreOrdered(t *testing.T) {
	t.Parallel()
	i := setupTenant(t)
	var created []string
	for _, name := range []string{"b", "a", "c", "b", "Ä", "a"} {
		i.named(t, name, nil)
		created = append(created, name)
	}
	changed := i.named(t, "z", nil)
	created = append(created, "z")
	require.Equal(t, created, i.listed(t, "", "create_time"))
	slices.Reverse(created)
	require.Equal(t, created, i.listed(t, "", "create_time desc"))

	byName := i.listed(t, "", "display_name")
	require.Len(t, byName, 7)
	require.Equal(t, []string{"b", "b", "c", "z"}, slices.DeleteFunc(slices.Clone(byName), func(n string) bool { return n == "a" || n == "Ä" }))
	down := i.listed(t, "", "display_name desc")
	slices.Reverse(down)
	require.Equal(t, byName, down)

	last := i.named(t, "last", nil)
	i.update(t, &subscriptionv1.Webhook{Name: changed.GetName(), Description: "changed"})
	require.Equal(t, []string{"last", "z"}, i.listed(t, "", "update_time")[6:])
	require.Equal(t, []string{"z", "last"}, i.listed(t, "", "update_time desc")[:2])

	for _, orderBy := range []string{"target_url", "create_time asc", "create_time, display_name"} {
		_, err := i.viewer.webhooks.ListWebhooks(t.Context(), &subscriptionv1.ListWebhooksRequest{Parent: "organizations/acme", OrderBy: orderBy})
		requireField(t, err, "order_by", "display_name")
	}
	first, err := i.viewer.webhooks.ListWebhooks(t.Context(), &subscriptionv1.ListWebhooksRequest{Parent: "organizations/acme", PageSize: 1})
	require.NoError(t, err)
	for _, req := range []*subscriptionv1.ListWebhooksRequest{{OrderBy: "display_name"}, {Filter: "dialect = standard"}, {OrderBy: "create_time desc"}} {
		req.Parent, req.PageToken = "organizations/acme", first.GetNextPageToken()
		_, err := i.viewer.webhooks.ListWebhooks(t.Context(), req)
		requireField(t, err, "page_token", "same request")
	}
	require.Equal(t, last.GetDisplayName(), i.get(t, last.GetName()).GetDisplayName())
}

func TestSeveralWebhooksAreReadAtOnce(t *testing.T) {
	t.Parallel()
	i := setupTenant(t)
	i.operator.organization(t, "other", false)
	one, two := i.named(t, "one", nil).GetName(), i.named(t, "two", nil).GetName()
	get := func(names ...string) ([]string, error) {
		answer, err := i.viewer.webhooks.BatchGetWebhooks(t.Context(), &subscriptionv1.BatchGetWebhooksRequest{Parent: "organizations/acme", Names: names})
		var found []string
		for _, w := range answer.GetWebhooks() {
			require.Empty(t, w.GetSecret())
			found = append(found, w.GetDisplayName())
		}
		return found, err
	}
	found, err := get(two, one, two)
	require.NoError(t, err)
	require.Equal(t, []string{"two", "one", "two"}, found, "in their order")
	_, err = get(one, "organizations/acme/webhooks/"+uuid.NewString())
	requireCode(t, err, codes.NotFound)
	_, err = get(one, "organizations/acme/webhooks/"+strings.Repeat("-", 36))
	requireCode(t, err, codes.NotFound)
	foreign := i.operator.webhook(t, "other", booking()).GetName()
	_, err = get(one, foreign)
	requireField(t, err, "names[1]", "organizations/acme")
	_, err = get("organizations/acme/webhooks/" + strings.TrimPrefix(foreign, "organizations/other/webhooks/"))
	requireCode(t, err, codes.NotFound)
	_, err = get()
	requireField(t, err, "names", "")
}

func TestDuplicatesAreFound(t *testing.T) {
	t.Parallel()
	i := setupTenant(t)
	i.operator.organization(t, "other", false)
	i.operator.webhook(t, "other", booking())
	at := func(url string, triggers ...string) string {
		return i.named(t, url, func(w *subscriptionv1.Webhook) { w.TargetUrl, w.Triggers = url, triggers }).GetName()
	}
	booked := at("https://example.com/hook?a=1", "meeting.booked")
	spelled := at("https://EXAMPLE.com:443/hook?a=1", "contact.updated", "meeting.*")
	at("https://example.com/hook?a=2", "meeting.booked")
	at("https://example.com:8443/hook?a=1", "meeting.booked")
	at("https://example.com.example/hook?a=1", "meeting.booked")
	root := at("https://bücher.example", "meeting.booked")
	check := func(url string, triggers ...string) map[string][]string {
		t.Helper()
		answer, err := i.viewer.webhooks.CheckDuplicateWebhooks(t.Context(), &subscriptionv1.CheckDuplicateWebhooksRequest{
			Parent: "organizations/acme", TargetUrl: url, Triggers: triggers,
		})
		require.NoError(t, err)
		found := map[string][]string{}
		for _, d := range answer.GetDuplicates() {
			found[d.GetWebhook()] = d.GetTriggers()
		}
		return found
	}
	require.Equal(t, map[string][]string{booked: {"meeting.booked"}, spelled: {"meeting.booked"}},
		check("https://Example.com/hook?a=1", "meeting.booked"))
	require.Equal(t, map[string][]string{spelled: {"meeting.canceled", "contact.*"}},
		check("https://example.com/hook?a=1", "meeting.canceled", "contact.*", "custom.thing"))
	require.Equal(t, map[string][]string{booked: {"meeting.*"}, spelled: {"meeting.*"}},
		check("https://example.com/hook?a=1", "meeting.*"))
	require.Equal(t, map[string][]string{root: {"meeting.booked"}}, check("https://BÜCHER.example/", "meeting.booked"))
	require.Empty(t, check("https://example.com/hook", "meeting.booked"))
	require.Empty(t, check("https://example.com/hook?a=1", "assessment.completed"))

	for path, req := range map[string]*subscriptionv1.CheckDuplicateWebhooksRequest{
		"target_url":  {TargetUrl: "example.com", Triggers: []string{"meeting.booked"}},
		"triggers[0]": {TargetUrl: "https://example.com", Triggers: []string{"meeting"}},
		"triggers":    {TargetUrl: "https://example.com"},
	} {
		req.Parent = "organizations/acme"
		_, err := i.viewer.webhooks.CheckDuplicateWebhooks(t.Context(), req)
		requireField(t, err, path, "")
	}
}

func TestAtMostAHundredDuplicatesAreNamed(t *testing.T) {
	t.Parallel()
	i := setupTenant(t)
	i.sql(t, insertWebhooks, 620, "", "contact.updated", 1)
	i.sql(t, insertWebhooks, 120, "", "meeting.booked", 1)
	answer, err := i.viewer.webhooks.CheckDuplicateWebhooks(t.Context(), &subscriptionv1.CheckDuplicateWebhooksRequest{
		Parent: "organizations/acme", TargetUrl: "https://example.com", Triggers: []string{"meeting.booked"},
	})
	require.NoError(t, err)
	require.Len(t, answer.GetDuplicates(), 100, fmt.Sprint(len(answer.GetDuplicates())))
}

func TestPageOfLargeWebhooksFitsIntoAMessage(t *testing.T) {
	t.Parallel()
	i := setupTenant(t)
	i.sql(t, insertWebhooks, 400, strings.Repeat("u", 2000), "meeting."+strings.Repeat("t", 120), 100)
	req := &subscriptionv1.ListWebhooksRequest{Parent: "organizations/acme", PageSize: 1000}
	found, pages := map[string]bool{}, 0
	for more := true; more; pages++ {
		answer, err := i.viewer.webhooks.ListWebhooks(t.Context(), req)
		require.NoError(t, err)
		require.Less(t, proto.Size(answer), 4<<20)
		for _, w := range answer.GetWebhooks() {
			found[w.GetName()] = true
		}
		req.PageToken = answer.GetNextPageToken()
		more = req.GetPageToken() != ""
	}
	require.Len(t, found, 400)
	require.Greater(t, pages, 1)
}
