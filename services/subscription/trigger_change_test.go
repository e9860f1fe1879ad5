package subscription_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	accessv1 "github.com/meetwire/meetwire/proto/gen/meetwire/access/v1"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	subscriptionv1 "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
)

const (
	thingSchema = `{"type":"object","required":["id"],"properties":{"id":{"type":"string"},"size":{"type":"integer"}}}`
	thingSample = `{"id":"t1","size":3}`
)

// thing is a valid trigger.
func thing() *subscriptionv1.Trigger {
	return &subscriptionv1.Trigger{DisplayName: "Thing", Description: "Something\nhas happened.", Group: "Things", Schema: thingSchema, Sample: thingSample}
}

func (c *caller) createTrigger(ctx context.Context, organization, id string, trigger *subscriptionv1.Trigger) (*subscriptionv1.Trigger, error) {
	return c.triggers.CreateTrigger(ctx, &subscriptionv1.CreateTriggerRequest{
		Parent: "organizations/" + organization, TriggerId: id, Trigger: trigger,
	})
}

// trigger makes a trigger.
func (c *caller) trigger(t *testing.T, organization, id string) *subscriptionv1.Trigger {
	t.Helper()
	trigger, err := c.createTrigger(t.Context(), organization, id, thing())
	require.NoError(t, err)
	return trigger
}

// updateTrigger changes the fields that are set.
func (c *caller) updateTrigger(ctx context.Context, trigger *subscriptionv1.Trigger) (*subscriptionv1.Trigger, error) {
	return c.triggers.UpdateTrigger(ctx, &subscriptionv1.UpdateTriggerRequest{Trigger: trigger})
}

func TestTriggerIsUpdatedByMask(t *testing.T) {
	t.Parallel()
	i := setupTenant(t)
	created := i.admin.trigger(t, "acme", "custom.thing")
	update := func(trigger *subscriptionv1.Trigger, paths ...string) (*subscriptionv1.Trigger, error) {
		trigger.Name = created.GetName()
		return i.admin.triggers.UpdateTrigger(t.Context(), &subscriptionv1.UpdateTriggerRequest{
			Trigger: trigger, UpdateMask: &fieldmaskpb.FieldMask{Paths: paths},
		})
	}
	same, err := update(proto.CloneOf(created), "*")
	require.NoError(t, err)
	require.True(t, proto.Equal(created, same), "what changes nothing leaves it alone")
	changed, err := update(&subscriptionv1.Trigger{DisplayName: "ignored", Deprecated: true}, "description", "group", "schema", "deprecated", "schemaMode", "etag")
	require.NoError(t, err)
	require.Equal(t, "Thing", changed.GetDisplayName())
	require.Empty(t, changed.GetDescription())
	require.Equal(t, "Custom", changed.GetGroup())
	require.Equal(t, "true", changed.GetSchema())
	require.True(t, changed.GetDeprecated())
	_, err = update(&subscriptionv1.Trigger{}, "sample")
	requireField(t, err, "trigger.sample", "required")
	_, err = update(&subscriptionv1.Trigger{}, "nothing")
	requireField(t, err, "update_mask", "schema_mode")
	_, err = update(&subscriptionv1.Trigger{DisplayName: "x", Etag: created.GetEtag()}, "display_name")
	requireCode(t, err, codes.Aborted)
}

func TestCustomTriggerIsItsOrganizationsAlone(t *testing.T) {
	t.Parallel()
	i := setupTenant(t)
	i.operator.organization(t, "other", false)
	other := i.as(t, i.operator.key(t, "other", accessv1.Role_ROLE_ADMIN))
	created := i.admin.trigger(t, "acme", "custom.thing.made")
	require.Equal(t, "organizations/acme/triggers/custom.thing.made", created.GetName())
	require.False(t, created.GetBuiltIn())
	require.Equal(t, subscriptionv1.Trigger_SCHEMA_MODE_ENFORCE, created.GetSchemaMode())
	got, err := i.viewer.triggers.GetTrigger(t.Context(), &subscriptionv1.GetTriggerRequest{Name: created.GetName()})
	require.NoError(t, err)
	require.True(t, proto.Equal(created, got))

	// To another organization it does not exist, in no way.
	_, err = other.triggers.GetTrigger(t.Context(), &subscriptionv1.GetTriggerRequest{Name: created.GetName()})
	requireCode(t, err, codes.PermissionDenied)
	_, err = other.triggers.GetTrigger(t.Context(), &subscriptionv1.GetTriggerRequest{Name: "organizations/other/triggers/custom.thing.made"})
	requireCode(t, err, codes.NotFound)
	_, err = i.operator.triggers.GetTrigger(t.Context(), &subscriptionv1.GetTriggerRequest{Name: "organizations/-/triggers/custom.thing.made"})
	requireCode(t, err, codes.NotFound)
	listed, err := other.triggers.ListTriggers(t.Context(), &subscriptionv1.ListTriggersRequest{Parent: "organizations/other", PageSize: 1000})
	require.NoError(t, err)
	for _, trigger := range listed.GetTriggers() {
		require.NotContains(t, trigger.GetName(), "custom.")
	}
	w := booking()
	w.Triggers = []string{"custom.thing.made"}
	_, err = other.webhooks.CreateWebhook(t.Context(), &subscriptionv1.CreateWebhookRequest{Parent: "organizations/other", Webhook: w})
	requireField(t, err, "webhook.triggers[0]", "custom.thing.made")
	i.admin.webhook(t, "acme", w)

	// It may have one with the same id, which is another one.
	theirs, err := other.createTrigger(t.Context(), "other", "custom.thing.made", &subscriptionv1.Trigger{DisplayName: "Theirs", Sample: "1"})
	require.NoError(t, err)
	require.Equal(t, "Custom", theirs.GetGroup())
	require.Equal(t, "true", theirs.GetSchema())
	follower := i.follow(t)
	follower.waitFor(t, i.revision(t))
	_, resources := follower.known()
	told, ok := parse[*configv1.Trigger](resources["trigger other/custom.thing.made"])
	require.True(t, ok)
	require.Equal(t, "true", told.GetSchema())
	require.Equal(t, "other", told.GetOrganization())

	_, err = other.triggers.DeleteTrigger(t.Context(), &subscriptionv1.DeleteTriggerRequest{Name: theirs.GetName()})
	require.NoError(t, err, "the webhooks of others do not ask for it")
	_, err = i.admin.triggers.GetTrigger(t.Context(), &subscriptionv1.GetTriggerRequest{Name: created.GetName()})
	require.NoError(t, err)
	follower.waitFor(t, i.revision(t))
	_, resources = follower.known()
	require.NotContains(t, resources, "trigger other/custom.thing.made")
	require.Equal(t, i.stored(t), resources)
}

func TestTriggerRefusesWhatIsInvalid(t *testing.T) {
	t.Parallel()
	i := setupTenant(t)
	before := i.revision(t)
	for id, says := range map[string]string{
		"thing.made": "custom.", "customs.made": "custom.", "custom": "", "custom.A": "", "custom.a.b.c.d": "",
		"custom." + strings.Repeat("a", 122): "128",
	} {
		_, err := i.admin.createTrigger(t.Context(), "acme", id, thing())
		requireField(t, err, "trigger_id", says)
	}
	for id, says := range map[string]string{
		"custom.made": "custom.", "webhook.tested": "webhook.", "secret.shown": "secret.", "delivery.made": "delivery.", "meetwire.x": "meetwire.",
	} {
		_, err := i.operator.createTrigger(t.Context(), "-", id, thing())
		requireField(t, err, "trigger_id", says)
	}
	for _, test := range []struct {
		path, says string
		change     func(*subscriptionv1.Trigger)
	}{
		{"trigger.display_name", "200", func(t *subscriptionv1.Trigger) { t.DisplayName = " " }},
		{"trigger.description", "2000", func(t *subscriptionv1.Trigger) { t.Description = strings.Repeat("é", 2001) }},
		{"trigger.description", "control", func(t *subscriptionv1.Trigger) { t.Description = "a\x00" }},
		{"trigger.group", "100", func(t *subscriptionv1.Trigger) { t.Group = strings.Repeat("é", 101) }},
		{"trigger.group", "space", func(t *subscriptionv1.Trigger) { t.Group = " Things" }},
		{"trigger.schema", "at /properties/id/type", func(t *subscriptionv1.Trigger) { t.Schema = `{"properties":{"id":{"type":"text"}}}` }},
		{"trigger.schema", "JSON", func(t *subscriptionv1.Trigger) { t.Schema = `{` }},
		{"trigger.schema", "", func(t *subscriptionv1.Trigger) { t.Schema = `"` + strings.Repeat("a", 65536) + `"` }},
		{"trigger.sample", "required", func(t *subscriptionv1.Trigger) { t.Sample = "" }},
		{"trigger.sample", "at /size", func(t *subscriptionv1.Trigger) { t.Sample = `{"id":"x","size":"big"}` }},
		{"trigger.sample", "JSON", func(t *subscriptionv1.Trigger) { t.Sample = `{} {}` }},
	} {
		trigger := thing()
		test.change(trigger)
		_, err := i.admin.createTrigger(t.Context(), "acme", "custom.thing", trigger)
		requireField(t, err, test.path, test.says)
	}
	_, err := i.operator.createTrigger(t.Context(), "nobody", "custom.thing", thing())
	requireCode(t, err, codes.NotFound)
	_, err = i.admin.createTrigger(t.Context(), "-", "thing.made", thing())
	requireCode(t, err, codes.PermissionDenied)
	_, err = i.operator.createTrigger(t.Context(), "-", "meeting.booked", thing())
	requireCode(t, err, codes.AlreadyExists)
	require.Equal(t, before, i.revision(t))
}

func TestTriggerIsOnlyChecked(t *testing.T) {
	t.Parallel()
	i := setupTenant(t)
	before := i.revision(t)
	req := &subscriptionv1.CreateTriggerRequest{
		Parent: "organizations/acme", TriggerId: "custom.thing", Trigger: thing(), ValidateOnly: true, RequestId: uuid.NewString(),
	}
	checked, err := i.admin.triggers.CreateTrigger(t.Context(), req)
	require.NoError(t, err)
	require.Equal(t, "Things", checked.GetGroup())
	require.Equal(t, before, i.revision(t))
	_, err = i.admin.triggers.GetTrigger(t.Context(), &subscriptionv1.GetTriggerRequest{Name: checked.GetName()})
	requireCode(t, err, codes.NotFound)

	req.ValidateOnly, req.RequestId = false, uuid.NewString()
	created, err := i.admin.triggers.CreateTrigger(t.Context(), req)
	require.NoError(t, err)
	again, err := i.admin.triggers.CreateTrigger(t.Context(), req)
	require.NoError(t, err)
	require.True(t, proto.Equal(created, again), "a repeated request makes nothing")
	req.ValidateOnly, req.RequestId = true, ""
	_, err = i.admin.triggers.CreateTrigger(t.Context(), req)
	requireCode(t, err, codes.AlreadyExists)

	changed := proto.CloneOf(created)
	changed.DisplayName = "Changed"
	tried, err := i.admin.triggers.UpdateTrigger(t.Context(), &subscriptionv1.UpdateTriggerRequest{Trigger: changed, ValidateOnly: true})
	require.NoError(t, err)
	require.Equal(t, "Changed", tried.GetDisplayName())
	got, err := i.admin.triggers.GetTrigger(t.Context(), &subscriptionv1.GetTriggerRequest{Name: created.GetName()})
	require.NoError(t, err)
	require.True(t, proto.Equal(created, got))
}

func TestPlatformTriggersAreTheOperators(t *testing.T) {
	t.Parallel()
	i := setupTenant(t)
	follower := i.follow(t)
	created := i.operator.trigger(t, "-", "thing.made")
	require.Equal(t, "organizations/-/triggers/thing.made", created.GetName())
	seen, err := i.viewer.triggers.GetTrigger(t.Context(), &subscriptionv1.GetTriggerRequest{Name: "organizations/acme/triggers/thing.made"})
	require.NoError(t, err)
	require.Equal(t, created.GetEtag(), seen.GetEtag())
	w := booking()
	w.Triggers = []string{"thing.made"}
	hook := i.admin.webhook(t, "acme", w)

	_, err = i.admin.updateTrigger(t.Context(), &subscriptionv1.Trigger{Name: seen.GetName(), DisplayName: "Mine"})
	requireCode(t, err, codes.PermissionDenied)
	_, err = i.admin.triggers.DeleteTrigger(t.Context(), &subscriptionv1.DeleteTriggerRequest{Name: seen.GetName()})
	requireCode(t, err, codes.PermissionDenied)
	_, err = i.operator.triggers.DeleteTrigger(t.Context(), &subscriptionv1.DeleteTriggerRequest{Name: created.GetName()})
	s := requireCode(t, err, codes.FailedPrecondition)
	require.Contains(t, s.Message(), hook.GetName())

	changed, err := i.operator.updateTrigger(t.Context(), &subscriptionv1.Trigger{
		Name: created.GetName(), Etag: created.GetEtag(), SchemaMode: subscriptionv1.Trigger_SCHEMA_MODE_WARN,
	})
	require.NoError(t, err)
	require.Equal(t, subscriptionv1.Trigger_SCHEMA_MODE_WARN, changed.GetSchemaMode())
	follower.waitFor(t, i.revision(t))
	_, resources := follower.known()
	told, ok := parse[*configv1.Trigger](resources["trigger /thing.made"])
	require.True(t, ok)
	require.True(t, told.GetSchemaWarnOnly())
	require.Equal(t, created.GetCreateTime().AsTime(), told.GetCreateTime().AsTime())

	_, err = i.admin.webhooks.DeleteWebhook(t.Context(), &subscriptionv1.DeleteWebhookRequest{Name: hook.GetName()})
	require.NoError(t, err)
	_, err = i.operator.triggers.DeleteTrigger(t.Context(), &subscriptionv1.DeleteTriggerRequest{Name: created.GetName(), Etag: created.GetEtag()})
	requireCode(t, err, codes.Aborted)
	_, err = i.operator.triggers.DeleteTrigger(t.Context(), &subscriptionv1.DeleteTriggerRequest{Name: created.GetName()})
	require.NoError(t, err)
}

func TestBuiltInTriggersKeepWhatOperatorsHaveDecided(t *testing.T) {
	t.Parallel()
	i := setupTenant(t)
	const name = "organizations/-/triggers/meeting.no_show"
	for _, wrong := range []*subscriptionv1.Trigger{
		{Name: name, DisplayName: "x"}, {Name: name, Schema: "true"}, {Name: name, Sample: "{}"}, {Name: name, Group: "x"},
	} {
		_, err := i.operator.updateTrigger(t.Context(), wrong)
		requireCode(t, err, codes.FailedPrecondition)
	}
	_, err := i.operator.triggers.DeleteTrigger(t.Context(), &subscriptionv1.DeleteTriggerRequest{Name: name})
	requireCode(t, err, codes.FailedPrecondition)
	changed, err := i.operator.updateTrigger(t.Context(), &subscriptionv1.Trigger{
		Name: name, Deprecated: true, SchemaMode: subscriptionv1.Trigger_SCHEMA_MODE_WARN,
	})
	require.NoError(t, err)
	require.True(t, changed.GetBuiltIn())

	// A new program: it has another text for the trigger.
	_, err = i.pool.Exec(t.Context(), "UPDATE subscription.trigger SET description = 'Old.' WHERE id = 'meeting.no_show'")
	require.NoError(t, err)
	i.start(t)
	got, err := i.operator.triggers.GetTrigger(t.Context(), &subscriptionv1.GetTriggerRequest{Name: name})
	require.NoError(t, err)
	require.NotEqual(t, "Old.", got.GetDescription())
	require.True(t, got.GetDeprecated())
	require.Equal(t, subscriptionv1.Trigger_SCHEMA_MODE_WARN, got.GetSchemaMode())

	w := booking()
	w.Triggers = []string{"meeting.no_show"}
	_, err = i.admin.webhooks.CreateWebhook(t.Context(), &subscriptionv1.CreateWebhookRequest{Parent: "organizations/acme", Webhook: w})
	requireField(t, err, "webhook.triggers[0]", "deprecated")
}

func TestTriggerOfOperatorsBecomesBuiltIn(t *testing.T) {
	t.Parallel()
	i := setupTenant(t)
	_, err := i.pool.Exec(t.Context(), `UPDATE subscription.trigger SET built_in = false, schema = 'true', deprecated = true WHERE id = 'contact.updated'`)
	require.NoError(t, err)
	i.start(t)
	got, err := i.operator.triggers.GetTrigger(t.Context(), &subscriptionv1.GetTriggerRequest{Name: "organizations/-/triggers/contact.updated"})
	require.NoError(t, err)
	require.True(t, got.GetBuiltIn())
	require.NotEqual(t, "true", got.GetSchema())
	require.True(t, got.GetDeprecated())
}

func TestSchemaThatBreaksReceiversIsRefused(t *testing.T) {
	t.Parallel()
	i := setupTenant(t)
	const broken = `{"type":"object","properties":{"id":{"type":["string","null"]},"name":{}}}`
	for n, pattern := range []string{"custom.thing.made0", "custom.thing.*", "custom.*"} {
		created := i.admin.trigger(t, "acme", fmt.Sprint("custom.thing.made", n))
		if n == 0 {
			_, err := i.admin.updateTrigger(t.Context(), &subscriptionv1.Trigger{Name: created.GetName(), Schema: `{"type":"object","required":["id"]}`})
			require.NoError(t, err, "nobody asks for it")
			_, err = i.admin.updateTrigger(t.Context(), &subscriptionv1.Trigger{Name: created.GetName(), Schema: thingSchema})
			require.NoError(t, err)
		}
		w := booking()
		w.Triggers = []string{pattern}
		hook := i.admin.webhook(t, "acme", w)
		change := &subscriptionv1.Trigger{Name: created.GetName(), Schema: broken}
		_, err := i.admin.updateTrigger(t.Context(), change)
		s := requireCode(t, err, codes.FailedPrecondition)
		require.Contains(t, s.Message(), "/id would be required no longer")
		require.Contains(t, s.Message(), "/id was string, and would be null or string")
		require.Contains(t, s.Message(), "/size would be gone")
		require.NotContains(t, s.Message(), "/name")
		info, ok := s.Details()[0].(*errdetails.ErrorInfo)
		require.True(t, ok)
		require.Equal(t, "INCOMPATIBLE_SCHEMA", info.GetReason())
		_, err = i.admin.triggers.UpdateTrigger(t.Context(), &subscriptionv1.UpdateTriggerRequest{Trigger: change, AllowIncompatible: true, ValidateOnly: true})
		require.NoError(t, err)
		compatible := strings.Replace(thingSchema, `"size"`, `"more":{"type":"string"},"size"`, 1)
		_, err = i.admin.updateTrigger(t.Context(), &subscriptionv1.Trigger{Name: created.GetName(), Schema: compatible})
		require.NoError(t, err)
		_, err = i.admin.updateTrigger(t.Context(), &subscriptionv1.Trigger{Name: created.GetName(), Schema: `{"required":["other"]}`})
		requireField(t, err, "trigger.sample", "other")
		_, err = i.admin.webhooks.DeleteWebhook(t.Context(), &subscriptionv1.DeleteWebhookRequest{Name: hook.GetName()})
		require.NoError(t, err)
	}
}

func TestTriggersAreFiltered(t *testing.T) {
	t.Parallel()
	i := setupTenant(t)
	i.admin.trigger(t, "acme", "custom.thing")
	list := func(filter string) []string {
		answer, err := i.viewer.triggers.ListTriggers(t.Context(), &subscriptionv1.ListTriggersRequest{Parent: "organizations/acme", Filter: filter, PageSize: 1000})
		require.NoError(t, err, filter)
		var ids []string
		for _, trigger := range answer.GetTriggers() {
			ids = append(ids, idIn(trigger.GetName()))
		}
		return ids
	}
	require.Equal(t, []string{"custom.thing"}, list(`group = "Things"`))
	require.Equal(t, []string{"custom.thing"}, list(`built_in = false`))
	require.Equal(t, []string{"delivery.dead_lettered", "delivery.dead_letters_expiring", "secret.rotated", "webhook.deleted", "webhook.disabled", "webhook.enabled"}, list(`operational = true`))
	require.Empty(t, list(`deprecated = true`))
	require.Equal(t, []string{"meeting.booked", "meeting.canceled", "meeting.no_show", "meeting.rescheduled"}, list(`group = "Meetings" AND deprecated = false`))
	_, err := i.viewer.triggers.ListTriggers(t.Context(), &subscriptionv1.ListTriggersRequest{Parent: "organizations/acme", Filter: "built_in = yes"})
	requireField(t, err, "filter", "true or false")
	platform, err := i.operator.triggers.ListTriggers(t.Context(), &subscriptionv1.ListTriggersRequest{Parent: "organizations/-", PageSize: 1000})
	require.NoError(t, err)
	for _, trigger := range platform.GetTriggers() {
		require.True(t, strings.HasPrefix(trigger.GetName(), "organizations/-/triggers/"), trigger.GetName())
		require.NotContains(t, trigger.GetName(), "custom.")
	}
	_, err = i.viewer.triggers.ListTriggers(t.Context(), &subscriptionv1.ListTriggersRequest{Parent: "organizations/-"})
	requireCode(t, err, codes.PermissionDenied)
}

func TestPageOfLargeTriggersFitsIntoAMessage(t *testing.T) {
	t.Parallel()
	i := setupTenant(t)
	large := thing()
	large.Schema, large.Sample = "true", `"`+strings.Repeat("x", 65000)+`"`
	for n := range 70 {
		_, err := i.admin.createTrigger(t.Context(), "acme", fmt.Sprint("custom.large", n), large)
		require.NoError(t, err)
	}
	found := 0
	req := &subscriptionv1.ListTriggersRequest{Parent: "organizations/acme", PageSize: 1000, Filter: "built_in = false"}
	for {
		answer, err := i.viewer.triggers.ListTriggers(t.Context(), req)
		require.NoError(t, err)
		found += len(answer.GetTriggers())
		if req.PageToken = answer.GetNextPageToken(); req.GetPageToken() == "" {
			break
		}
	}
	require.Equal(t, 70, found)
}
