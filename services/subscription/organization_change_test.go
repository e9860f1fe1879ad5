package subscription_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	accessv1 "github.com/meetwire/meetwire/proto/gen/meetwire/access/v1"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	subscriptionv1 "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
)

// fullOrganization sets every field that callers can set.
func fullOrganization() *subscriptionv1.Organization {
	return &subscriptionv1.Organization{
		DisplayName: "Acme", AllowHttp: true, Plan: "plans/organization", ClientId: 42,
		IngestQuota: &subscriptionv1.IngestQuota{EventsPerSecond: 12.5, Burst: 30},
		WebhookDefaults: &subscriptionv1.WebhookDefaults{
			Dialect:          "ace",
			RetryPolicy:      &subscriptionv1.RetryPolicy{Preset: subscriptionv1.RetryPolicy_PRESET_EXPONENTIAL},
			FailureThreshold: &subscriptionv1.FailureThreshold{ConsecutiveFailures: 7, WithoutSuccess: durationpb.New(time.Hour)},
			Timeout:          durationpb.New(4 * time.Second), MaxConcurrency: 3, RateLimit: 2.5, AlertEmails: []string{"ops@example.com"},
		},
	}
}

// createOrganization makes an organization with these fields.
func (c *caller) createOrganization(ctx context.Context, slug string, o *subscriptionv1.Organization) (*subscriptionv1.Organization, error) {
	return c.organizations.CreateOrganization(ctx, &subscriptionv1.CreateOrganizationRequest{OrganizationId: slug, Organization: o})
}

// told returns what the feed says of an organization.
func (f *follower) told(t *testing.T, i *installation, slug string) *configv1.Organization {
	t.Helper()
	f.waitFor(t, i.revision(t))
	_, resources := f.known()
	o, ok := parse[*configv1.Organization](resources["organization "+slug])
	require.True(t, ok, slug)
	return o
}

func TestOrganizationHasEveryField(t *testing.T) {
	t.Parallel()
	i := setup(t)
	operator := i.operator(t)
	wanted := fullOrganization()
	created, err := operator.createOrganization(t.Context(), "acme", wanted)
	require.NoError(t, err)
	require.NotEmpty(t, created.GetEtag())
	require.Equal(t, created.GetCreateTime().AsTime(), created.GetUpdateTime().AsTime())
	got := proto.CloneOf(created)
	got.Name, got.Etag, got.CreateTime, got.UpdateTime = "", "", nil, nil
	require.True(t, proto.Equal(wanted, got), "%v", got)

	told := i.follow(t).told(t, i.installation, "acme")
	require.True(t, proto.Equal(&configv1.Organization{
		Id: "acme", WebhooksAvailable: true, AllowHttp: true, ClientId: 42,
		IngestQuota: &configv1.IngestQuota{EventsPerSecond: 12.5, Burst: 30},
	}, told), "%v", told)

	plain, err := operator.createOrganization(t.Context(), "plain", &subscriptionv1.Organization{
		DisplayName: "Plain", IngestQuota: &subscriptionv1.IngestQuota{EventsPerSecond: 0.5},
	})
	require.NoError(t, err)
	require.Equal(t, "plans/enterprise", plain.GetPlan(), "the default plan")
	require.EqualValues(t, 1, plain.GetIngestQuota().GetBurst(), "at least one at once")
	require.Nil(t, plain.GetWebhookDefaults())
}

func TestOrganizationRefusesFieldsThatAreWrong(t *testing.T) {
	t.Parallel()
	i := setup(t)
	operator := i.operator(t)
	for path, test := range map[string]struct {
		says   string
		change func(*subscriptionv1.Organization)
	}{
		"organization.plan":                             {"plans/enterprise, plans/organization, plans/startup", func(o *subscriptionv1.Organization) { o.Plan = "plans/nothing" }},
		"organization.client_id":                        {"0", func(o *subscriptionv1.Organization) { o.ClientId = -1 }},
		"organization.ingest_quota.events_per_second":   {"0.01", func(o *subscriptionv1.Organization) { o.IngestQuota.EventsPerSecond = 0 }},
		"organization.ingest_quota.burst":               {"100000", func(o *subscriptionv1.Organization) { o.IngestQuota.Burst = 100_001 }},
		"organization.webhook_defaults.dialect":         {"standard", func(o *subscriptionv1.Organization) { o.WebhookDefaults.Dialect = "morse" }},
		"organization.webhook_defaults.alert_emails[0]": {"", func(o *subscriptionv1.Organization) { o.WebhookDefaults.AlertEmails[0] = "nobody" }},
		"organization.webhook_defaults.timeout":         {"30s", func(o *subscriptionv1.Organization) { o.WebhookDefaults.Timeout = durationpb.New(time.Minute) }},
	} {
		o := fullOrganization()
		test.change(o)
		_, err := operator.createOrganization(t.Context(), "acme", o)
		requireField(t, err, path, test.says)
	}
	_, err := operator.createOrganization(t.Context(), "acme", fullOrganization())
	require.NoError(t, err, "none of these took the slug")
}

func TestOrganizationIsUpdated(t *testing.T) {
	t.Parallel()
	i := setup(t)
	operator := i.operator(t)
	before, err := operator.createOrganization(t.Context(), "acme", fullOrganization())
	require.NoError(t, err)
	follower := i.follow(t)
	revision := i.revision(t)
	update := func(o *subscriptionv1.Organization, paths ...string) (*subscriptionv1.Organization, error) {
		o.Name = "organizations/acme"
		var mask *fieldmaskpb.FieldMask
		if len(paths) > 0 {
			mask = &fieldmaskpb.FieldMask{Paths: paths}
		}
		return operator.organizations.UpdateOrganization(t.Context(), &subscriptionv1.UpdateOrganizationRequest{Organization: o, UpdateMask: mask})
	}

	after, err := update(&subscriptionv1.Organization{DisplayName: "Renamed"})
	require.NoError(t, err)
	require.Equal(t, "Renamed", after.GetDisplayName())
	require.NotEqual(t, before.GetEtag(), after.GetEtag())
	require.True(t, proto.Equal(before.GetWebhookDefaults(), after.GetWebhookDefaults()), "what is not set stays")
	require.Equal(t, revision, i.revision(t), "nothing that the others need to know")

	again, err := update(proto.CloneOf(after), "*")
	require.NoError(t, err)
	require.True(t, proto.Equal(after, again), "what changes nothing leaves it alone")

	_, err = update(&subscriptionv1.Organization{DisplayName: "x", Etag: before.GetEtag()})
	requireCode(t, err, codes.Aborted)
	after, err = update(&subscriptionv1.Organization{Etag: after.GetEtag()}, "allow_http", "ingestQuota", "webhook_defaults", "client_id", "plan")
	require.NoError(t, err)
	require.False(t, after.GetAllowHttp())
	require.Nil(t, after.GetIngestQuota())
	require.Nil(t, after.GetWebhookDefaults())
	require.Zero(t, after.GetClientId())
	require.Equal(t, "plans/enterprise", after.GetPlan(), "the default one again")
	require.Equal(t, "Renamed", after.GetDisplayName())
	told := follower.told(t, i.installation, "acme")
	require.True(t, proto.Equal(&configv1.Organization{Id: "acme", WebhooksAvailable: true}, told), "%v", told)

	_, err = update(&subscriptionv1.Organization{Plan: "plans/startup"})
	require.NoError(t, err)
	require.False(t, follower.told(t, i.installation, "acme").GetWebhooksAvailable())

	_, err = update(&subscriptionv1.Organization{}, "webhook_defaults.timeout")
	requireField(t, err, "update_mask", "webhook_defaults")
	_, err = update(&subscriptionv1.Organization{}, "display_name")
	requireField(t, err, "organization.display_name", "200")
	_, err = operator.organizations.UpdateOrganization(t.Context(), &subscriptionv1.UpdateOrganizationRequest{
		Organization: &subscriptionv1.Organization{Name: "organizations/nobody", DisplayName: "x"},
	})
	requireCode(t, err, codes.NotFound)
	admin := i.as(t, operator.key(t, "acme", accessv1.Role_ROLE_ADMIN))
	_, err = admin.organizations.UpdateOrganization(t.Context(), &subscriptionv1.UpdateOrganizationRequest{
		Organization: &subscriptionv1.Organization{Name: "organizations/acme", Plan: "plans/enterprise"},
	})
	requireCode(t, err, codes.PermissionDenied)
}

func TestOrganizationIsCreatedOnceByARepeatedRequest(t *testing.T) {
	t.Parallel()
	i := setup(t)
	operator := i.operator(t)
	req := &subscriptionv1.CreateOrganizationRequest{
		OrganizationId: "acme", Organization: fullOrganization(), RequestId: uuid.NewString(),
	}
	first, err := operator.organizations.CreateOrganization(t.Context(), req)
	require.NoError(t, err)
	revision := i.revision(t)
	second, err := operator.organizations.CreateOrganization(t.Context(), req)
	require.NoError(t, err)
	require.True(t, proto.Equal(first, second))
	require.Equal(t, revision, i.revision(t))
	req.Organization.DisplayName = "Another"
	_, err = operator.organizations.CreateOrganization(t.Context(), req)
	requireField(t, err, "request_id", "different")
}

func TestOrganizationsAreListedByPlan(t *testing.T) {
	t.Parallel()
	i := setup(t)
	operator := i.operator(t)
	for slug, plan := range map[string]string{"a": "plans/startup", "b": "plans/enterprise", "c": "plans/startup"} {
		_, err := operator.createOrganization(t.Context(), slug, &subscriptionv1.Organization{DisplayName: slug, Plan: plan})
		require.NoError(t, err)
	}
	var got []string
	req := &subscriptionv1.ListOrganizationsRequest{PageSize: 1, Filter: `plan = "plans/startup"`}
	for {
		answer, err := operator.organizations.ListOrganizations(t.Context(), req)
		require.NoError(t, err)
		for _, o := range answer.GetOrganizations() {
			got = append(got, o.GetDisplayName())
		}
		if req.PageToken = answer.GetNextPageToken(); req.GetPageToken() == "" {
			break
		}
	}
	require.Equal(t, []string{"a", "c"}, got)
	for _, filter := range []string{"plan = startup", "slug = a"} {
		_, err := operator.organizations.ListOrganizations(t.Context(), &subscriptionv1.ListOrganizationsRequest{Filter: filter})
		requireField(t, err, "filter", "")
	}
}

func TestDeletedOrganizationIsGoneAtOnce(t *testing.T) {
	t.Parallel()
	i := setupTenant(t)
	i.operator.organization(t, "other", false)
	kept := i.operator.webhook(t, "other", booking())
	for range 3 {
		i.admin.webhook(t, "acme", booking())
	}
	i.admin.trigger(t, "acme", "custom.thing")
	i.admin.team(t, "acme", "north")
	follower := i.follow(t)
	o, err := i.operator.organizations.GetOrganization(t.Context(), &subscriptionv1.GetOrganizationRequest{Name: "organizations/acme"})
	require.NoError(t, err)

	_, err = i.operator.organizations.DeleteOrganization(t.Context(), &subscriptionv1.DeleteOrganizationRequest{Name: o.GetName(), Etag: "0123456789abcdef"})
	requireCode(t, err, codes.Aborted)
	operation, err := i.operator.organizations.DeleteOrganization(t.Context(), &subscriptionv1.DeleteOrganizationRequest{Name: o.GetName(), Etag: o.GetEtag()})
	require.NoError(t, err)
	require.Equal(t, "delete_organization", operation.GetType())
	require.Equal(t, o.GetName(), operation.GetTarget())

	_, err = i.admin.webhooks.ListWebhooks(t.Context(), &subscriptionv1.ListWebhooksRequest{Parent: o.GetName()})
	requireCode(t, err, codes.Unauthenticated)
	_, err = i.operator.organizations.GetOrganization(t.Context(), &subscriptionv1.GetOrganizationRequest{Name: o.GetName()})
	requireCode(t, err, codes.NotFound)
	_, err = i.operator.createOrganization(t.Context(), "acme", &subscriptionv1.Organization{DisplayName: "again"})
	requireCode(t, err, codes.AlreadyExists)
	_, err = i.operator.organizations.DeleteOrganization(t.Context(), &subscriptionv1.DeleteOrganizationRequest{Name: o.GetName()})
	requireCode(t, err, codes.NotFound)

	follower.waitFor(t, i.revision(t))
	_, resources := follower.known()
	for name, value := range resources {
		require.NotContains(t, value, "acme", name)
	}
	require.Contains(t, resources, "webhook "+strings.TrimPrefix(kept.GetName(), "organizations/other/webhooks/"))
	require.Equal(t, i.stored(t), resources)
	require.Equal(t, resources, mirrorOf(i.watch(t, 0).snapshot(t)))
	deleted := i.operator.entries(t, "-", `resource = "organizations/acme" AND action = delete`)
	require.Len(t, deleted, 1, "the installation knows who has deleted it")

	require.Eventually(t, func() bool {
		left := 0
		for _, table := range []string{"webhook", "trigger", "team", "api_key", "audit_log", "outbox", "mail", "request"} {
			var rows int
			require.NoError(t, i.pool.QueryRow(t.Context(), "SELECT count(*) FROM subscription."+table+" WHERE organization = 'acme'").Scan(&rows))
			left += rows
		}
		return left == 0
	}, patience, poll, "nothing is left of it")
}

func TestOrganizationWithManyWebhooksIsDeletedInPartsOfTheFeed(t *testing.T) {
	t.Parallel()
	i := setupTenant(t)
	w := i.admin.webhook(t, "acme", booking())
	_, err := i.pool.Exec(t.Context(), `INSERT INTO subscription.webhook
		SELECT (jsonb_populate_record(w, jsonb_build_object('id', gen_random_uuid()))).*
		FROM subscription.webhook AS w, generate_series(1, 4500) WHERE w.id = $1`, idIn(w.GetName()))
	require.NoError(t, err)
	before := i.revision(t)
	s := i.watch(t, before)
	_, err = i.operator.organizations.DeleteOrganization(t.Context(), &subscriptionv1.DeleteOrganizationRequest{Name: "organizations/acme"})
	require.NoError(t, err)
	deleted, last := 0, false
	for !last {
		change := s.change(t)
		require.LessOrEqual(t, len(change.GetResources()), 4000)
		for _, r := range change.GetResources() {
			require.False(t, last, "the organization goes last")
			if r.GetDeletedWebhook() != "" {
				deleted++
			}
			last = r.GetDeletedOrganization() == "acme"
		}
	}
	require.Equal(t, 4501, deleted)
	require.Greater(t, i.revision(t), before+2)
}
