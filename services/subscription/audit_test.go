package subscription_test

import (
	"fmt"
	"path"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	accessv1 "github.com/meetwire/meetwire/proto/gen/meetwire/access/v1"
	subscriptionv1 "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
)

// entries returns the whole audit log that a filter asks for, page by page.
func (c *caller) entries(t *testing.T, organization, filter string) []*subscriptionv1.AuditLogEntry {
	t.Helper()
	var all []*subscriptionv1.AuditLogEntry
	req := &subscriptionv1.ListAuditLogEntriesRequest{Parent: "organizations/" + organization, Filter: filter, PageSize: 3}
	for {
		answer, err := c.audit.ListAuditLogEntries(t.Context(), req)
		require.NoError(t, err)
		require.LessOrEqual(t, len(answer.GetAuditLogEntries()), 3)
		all = append(all, answer.GetAuditLogEntries()...)
		if req.PageToken = answer.GetNextPageToken(); req.GetPageToken() == "" {
			return all
		}
	}
}

// actions returns what was done, the newest first.
func actions(entries []*subscriptionv1.AuditLogEntry) []string {
	var all []string
	for _, e := range entries {
		all = append(all, e.GetAction()+" "+path.Base(path.Dir(e.GetResource())))
	}
	return all
}

func TestAuditLogSaysWhoHasDoneWhat(t *testing.T) {
	t.Parallel()
	i := setup(t)
	operator := i.operator(t)
	operator.organization(t, "acme", false)
	key := operator.key(t, "acme", accessv1.Role_ROLE_ADMIN)
	admin := i.as(t, key)
	w := admin.webhook(t, "acme", booking())
	w.DisplayName = "Renamed"
	_, err := admin.webhooks.UpdateWebhook(t.Context(), &subscriptionv1.UpdateWebhookRequest{Webhook: w})
	require.NoError(t, err)
	_, err = admin.webhooks.DeleteWebhook(t.Context(), &subscriptionv1.DeleteWebhookRequest{Name: w.GetName()})
	require.NoError(t, err)

	all := admin.entries(t, "acme", "")
	require.Equal(t, []string{
		"delete webhooks", "update webhooks", "create webhooks", "create apiKeys", "create organizations",
	}, actions(all))
	require.True(t, slices.IsSortedFunc(all, func(a, b *subscriptionv1.AuditLogEntry) int {
		return b.GetCreateTime().AsTime().Compare(a.GetCreateTime().AsTime())
	}), "the newest first")
	update := all[1]
	require.Regexp(t, `^organizations/acme/auditLogEntries/[0-9a-f-]{36}$`, update.GetName())
	require.Equal(t, w.GetName(), update.GetResource())
	require.Equal(t, "apiKeys/"+idOf(key), update.GetActor())
	require.Equal(t, accessv1.Role_ROLE_ADMIN, update.GetRole())
	require.Equal(t, "127.0.0.1", update.GetAddress())
	require.Contains(t, update.GetUserAgent(), "grpc-go")
	require.WithinDuration(t, time.Now(), update.GetCreateTime().AsTime(), time.Minute)
	require.Equal(t, "Booking sync", update.GetBefore().GetFields()["displayName"].GetStringValue())
	require.Equal(t, "Renamed", update.GetAfter().GetFields()["displayName"].GetStringValue())
	require.Nil(t, all[0].GetAfter())
	require.Nil(t, all[2].GetBefore())
	require.Equal(t, "apiKeys/"+idOf(i.operatorKey), all[3].GetActor())
	require.Equal(t, accessv1.Role_ROLE_OPERATOR, all[3].GetRole())
	for _, e := range all {
		require.NotContains(t, e.String(), w.GetSecret())
		require.NotContains(t, e.String(), key.Reveal()[len(key.Reveal())-20:])
	}
}

func TestAuditLogSaysWhichHeadersHaveAnotherValue(t *testing.T) {
	t.Parallel()
	i := setupTenant(t)
	w := i.admin.webhook(t, "acme", full())
	i.update(t, &subscriptionv1.Webhook{Name: w.GetName(), Headers: []*subscriptionv1.Header{
		{Name: "x-tenant", Value: "acme-2"}, {Name: "Authorization"}, {Name: "X-New", Value: "new"},
	}})
	entry := i.admin.entries(t, "acme", "action = update")[0]
	require.Equal(t, []any{
		map[string]any{"name": "x-tenant", "value": "REDACTED", "valueChanged": true},
		map[string]any{"name": "Authorization", "value": "REDACTED"},
		map[string]any{"name": "X-New", "value": "REDACTED"},
	}, entry.GetAfter().AsMap()["headers"])
	require.Equal(t, []any{
		map[string]any{"name": "X-Tenant", "value": "REDACTED"}, map[string]any{"name": "Authorization", "value": "REDACTED"},
	}, entry.GetBefore().AsMap()["headers"])
}

func TestPageOfLargeEntriesFitsIntoAMessage(t *testing.T) {
	t.Parallel()
	i := setupTenant(t)
	i.sql(t, `INSERT INTO subscription.audit_log (id, organization, create_time, actor, role, action, resource, address,
			forwarded_for, user_agent, after)
		SELECT gen_random_uuid(), 'acme', now() - n * interval '1 second', 'system', 0, 'update', 'large', '', '', '',
			jsonb_build_object('sample', repeat('x', 100000))
		FROM generate_series(1, 60) AS n`)
	req := &subscriptionv1.ListAuditLogEntriesRequest{Parent: "organizations/acme", PageSize: 1000, Filter: "resource = large"}
	found := map[string]bool{}
	for more := true; more; more = req.GetPageToken() != "" {
		answer, err := i.admin.audit.ListAuditLogEntries(t.Context(), req)
		require.NoError(t, err)
		require.Less(t, proto.Size(answer), 4<<20)
		for _, e := range answer.GetAuditLogEntries() {
			found[e.GetName()] = true
		}
		req.PageToken = answer.GetNextPageToken()
	}
	require.Len(t, found, 60)
}

func TestAuditLogIsFiltered(t *testing.T) {
	t.Parallel()
	i := setup(t)
	operator := i.operator(t)
	operator.organization(t, "acme", false)
	key := operator.key(t, "acme", accessv1.Role_ROLE_ADMIN)
	admin := i.as(t, key)
	var webhooks []*subscriptionv1.Webhook
	for range 4 {
		webhooks = append(webhooks, admin.webhook(t, "acme", booking()))
	}
	_, err := operator.webhooks.DeleteWebhook(t.Context(), &subscriptionv1.DeleteWebhookRequest{Name: webhooks[0].GetName()})
	require.NoError(t, err)

	require.Len(t, admin.entries(t, "acme", "action = create"), 6)
	require.Len(t, admin.entries(t, "acme", fmt.Sprintf("action = create AND actor = %q", "apiKeys/"+idOf(key))), 4)
	of := admin.entries(t, "acme", fmt.Sprintf("resource = %q", webhooks[0].GetName()))
	require.Equal(t, []string{"delete webhooks", "create webhooks"}, actions(of))
	require.Empty(t, admin.entries(t, "acme", "actor = nobody"))
	at := of[0].GetCreateTime().AsTime().Format(time.RFC3339Nano)
	require.Len(t, admin.entries(t, "acme", fmt.Sprintf("create_time >= %q", at)), 1)
	before := admin.entries(t, "acme", fmt.Sprintf("create_time < %q", at))
	require.Len(t, before, 6)
	middle := before[2].GetCreateTime().AsTime().Format(time.RFC3339Nano)
	require.Equal(t, before[:3][2].GetName(), admin.entries(t, "acme",
		fmt.Sprintf("create_time >= %q AND create_time < %q", middle, at))[2].GetName())

	for _, filter := range []string{"action", "role = ROLE_ADMIN", `create_time = "2026-01-01T00:00:00Z"`, "create_time >= yesterday"} {
		_, err := admin.audit.ListAuditLogEntries(t.Context(), &subscriptionv1.ListAuditLogEntriesRequest{
			Parent: "organizations/acme", Filter: filter,
		})
		requireField(t, err, "filter", "create_time (with >= and <)")
	}
	_, err = admin.audit.ListAuditLogEntries(t.Context(), &subscriptionv1.ListAuditLogEntriesRequest{
		Parent: "organizations/acme", PageToken: "nonsense",
	})
	requireField(t, err, "page_token", "")
}

func TestAuditLogOfOthersIsOutOfReach(t *testing.T) {
	t.Parallel()
	i := setup(t)
	operator := i.operator(t)
	operator.organization(t, "acme", false)
	operator.organization(t, "other", false)
	admin := i.as(t, operator.key(t, "acme", accessv1.Role_ROLE_ADMIN))
	for _, e := range admin.entries(t, "acme", "") {
		require.Regexp(t, "^organizations/acme/", e.GetName())
	}
	for _, parent := range []string{"organizations/other", "organizations/-"} {
		_, err := admin.audit.ListAuditLogEntries(t.Context(), &subscriptionv1.ListAuditLogEntriesRequest{Parent: parent})
		requireCode(t, err, codes.PermissionDenied)
	}
	for _, role := range []accessv1.Role{accessv1.Role_ROLE_VIEWER, accessv1.Role_ROLE_PUBLISHER} {
		low := i.as(t, operator.key(t, "acme", role))
		_, err := low.audit.ListAuditLogEntries(t.Context(), &subscriptionv1.ListAuditLogEntriesRequest{Parent: "organizations/acme"})
		requireCode(t, err, codes.PermissionDenied)
	}
	_, err := operator.audit.ListAuditLogEntries(t.Context(), &subscriptionv1.ListAuditLogEntriesRequest{Parent: "organizations/nobody"})
	requireCode(t, err, codes.NotFound)
	of := map[string]bool{}
	for _, e := range operator.entries(t, "-", "") {
		of[path.Dir(path.Dir(e.GetName()))] = true
	}
	require.Equal(t, map[string]bool{"organizations/acme": true, "organizations/other": true, "organizations/-": true}, of)
}

func TestAuditLogIsAppendOnly(t *testing.T) {
	t.Parallel()
	i := setup(t)
	i.operator(t).organization(t, "acme", false)
	before := i.operator(t).entries(t, "-", "")
	for _, query := range []string{
		"UPDATE subscription.audit_log SET actor = 'nobody'",
		"UPDATE subscription.audit_log SET actor = 'nobody' WHERE organization = 'acme'",
		"DELETE FROM subscription.audit_log",
		"DELETE FROM subscription.audit_log WHERE organization IS NULL",
		"DELETE FROM subscription.audit_log WHERE organization = 'acme'",
		"TRUNCATE subscription.audit_log",
	} {
		_, err := i.pool.Exec(t.Context(), query)
		require.ErrorContains(t, err, "append-only", query)
	}
	after := i.operator(t).entries(t, "-", "")
	require.Len(t, after, len(before))
}
