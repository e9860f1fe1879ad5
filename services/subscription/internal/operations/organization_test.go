package operations_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
)

// rows returns how many rows of an organization each table has.
func (e *env) rows(t *testing.T, organization string) map[string]int {
	t.Helper()
	counts := map[string]int{}
	for _, table := range []string{"webhook", "team", "trigger", "api_key", "audit_log", "outbox", "mail", "request", "operation"} {
		var n int
		query := "SELECT count(*) FROM subscription." + table + " WHERE organization = $1"
		require.NoError(t, e.pool.QueryRow(t.Context(), query, organization).Scan(&n))
		counts[table] = n
	}
	return counts
}

// fill makes rows of an organization in tables that its deletion itself does not empty.
func (e *env) fill(t *testing.T, organization string) {
	t.Helper()
	for _, query := range []string{
		`INSERT INTO subscription.audit_log (id, organization, create_time, actor, role, action, resource, address, forwarded_for, user_agent)
		 SELECT gen_random_uuid(), $1, now(), 'system', 0, 'update', 'x', '', '', '' FROM generate_series(1, 2500)`,
		`INSERT INTO subscription.outbox (organization, trigger, event_id, data, create_time)
		 SELECT $1, 'webhook.enabled', n::text, '{}', now() FROM generate_series(1, 10) AS n`,
		`INSERT INTO subscription.mail (id, organization, webhook, reason, hour, recipients, alert, next_time, create_time)
		 SELECT gen_random_uuid(), $1, gen_random_uuid(), 'disabled', now(), '{a@example.com}', '{}', now(), now() FROM generate_series(1, 10)`,
		`INSERT INTO subscription.request (organization, request_id, method, fingerprint, resource, create_time)
		 SELECT $1, gen_random_uuid(), 'x', '', 'x', now() FROM generate_series(1, 1500)`,
	} {
		_, err := e.pool.Exec(t.Context(), query, organization)
		require.NoError(t, err)
	}
}

func TestDeletedOrganizationIsRemoved(t *testing.T) {
	t.Parallel()
	e := setup(t)
	now := core.Stored(time.Now())
	require.NoError(t, e.store.InsertOrganization(t.Context(), core.Organization{
		ID: "other", DisplayName: "Other", Version: 1, CreateTime: now, UpdateTime: now,
	}, core.Request{}))
	e.fill(t, "acme")
	e.fill(t, "other")
	other := e.rows(t, "other")
	e.begin(t) // an operation of the organization, which is void then
	failed := false
	e.peer.purge = func(organization string, _ int64) (int64, error) {
		if organization != "acme" {
			return 0, errors.New("another organization: " + organization)
		}
		if rows := e.rows(t, "acme"); rows["outbox"]+rows["mail"] > 0 {
			return 0, fmt.Errorf("something is still announced: %v", rows)
		}
		if !failed {
			failed = true
			return 0, fault.New(fault.Unavailable, "CONFIGURATION_BEHIND", "this instance has not heard of it")
		}
		return 5, nil
	}
	o, err := e.store.DeleteOrganization(t.Context(), "acme", func(core.Organization) error { return nil })
	require.NoError(t, err)
	_, err = e.store.CancelOperation(t.Context(), "acme", o.ID)
	require.True(t, fault.Is(err, fault.FailedPrecondition), "%v", err)
	require.ErrorContains(t, err, "half-way")

	e.run(t, e.box, 0)
	o = e.await(t, o)
	require.Equal(t, core.OperationSucceeded, o.State, "%+v", o)
	revision := o.Parameters.Revision
	require.Equal(t, []int64{revision, revision, revision}, e.peer.purged, "the first one failed; what was under way is removed, too")
	require.Equal(t, []int64{revision, revision}, e.peer.received)
	require.GreaterOrEqual(t, o.EndTime.Sub(o.CreateTime), time.Second)
	require.Positive(t, o.Parameters.Revision)
	require.Equal(t, map[string]int{
		"webhook": 0, "team": 0, "trigger": 0, "api_key": 0, "audit_log": 0, "outbox": 0, "mail": 0, "request": 0,
		"operation": 1, // which tells of it
	}, e.rows(t, "acme"))
	require.GreaterOrEqual(t, o.AffectedCount, int64(2500+1500+20+30))
	require.Equal(t, other, e.rows(t, "other"), "nobody else loses anything")
	var told int
	require.NoError(t, e.pool.QueryRow(t.Context(), "SELECT count(*) FROM subscription.feed WHERE revision <= $1", revision).Scan(&told))
	require.Zero(t, told, "the feed tells nothing of it any more")
	var slugs int
	require.NoError(t, e.pool.QueryRow(t.Context(), "SELECT count(*) FROM subscription.organization WHERE id = 'acme'").Scan(&slugs))
	require.Equal(t, 1, slugs, "so that it is never used again")
}

func TestOrganizationThatExistsLosesNothing(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.fill(t, "acme")
	_, err := e.pool.Exec(t.Context(), `
		INSERT INTO subscription.operation (id, organization, type, target, state, parameters, progress, lease_time, create_time, update_time)
		VALUES (gen_random_uuid(), 'acme', 'delete_organization', '', 'running', '{"organization":"acme","revision":1}', '{}', now(), now(), now())`)
	require.NoError(t, err)
	before := e.rows(t, "acme")
	listed, err := e.store.Operations(t.Context(), "acme", time.Now().Add(time.Hour), [16]byte{}, 10)
	require.NoError(t, err)
	require.Len(t, listed, 1)
	e.run(t, e.box, 0)
	o := e.await(t, listed[0])
	require.Equal(t, core.OperationFailed, o.State)
	require.Equal(t, "ORGANIZATION_NOT_DELETED", o.ErrorReason)
	require.Equal(t, before, e.rows(t, "acme"))
}
