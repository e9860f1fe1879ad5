package core_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/services/ingest/internal/core"
)

// verdict is a Schema that says one thing of everything.
type verdict struct{ pointer, problem string }

func (v verdict) Check(json.RawMessage) (pointer, problem string, ok bool) {
	return v.pointer, v.problem, v.problem == ""
}

// catalogue is a Catalogue of one organization.
type catalogue map[string]core.Trigger

func (catalogue) HasOrganization(id string) bool { return id == "acme" }

func (c catalogue) Trigger(organization, id string) (core.Trigger, bool) {
	trigger, ok := c[id]
	return trigger, ok && organization == "acme"
}

func parse(t testing.TB, raw []byte) *core.Event {
	t.Helper()
	event, err := core.Parse(raw)
	require.NoError(t, err)
	return event
}

func TestCheck(t *testing.T) {
	t.Parallel()
	check := func(organization string, trigger core.Trigger, event *core.Event) error {
		warning, err := core.Check(catalogue{"meeting.booked": trigger}, organization, event, false)
		require.False(t, warning)
		return err
	}
	good := parse(t, with(t, "data", `{}`))
	require.NoError(t, check("acme", core.Trigger{Schema: verdict{}}, good))
	require.NoError(t, check("acme", core.Trigger{}, good), "a trigger without a schema")

	err := check("other", core.Trigger{}, good)
	require.True(t, fault.Is(err, fault.NotFound))
	require.Equal(t, "ORGANIZATION_NOT_FOUND", fault.From(err).Reason)
	require.Equal(t, core.RuleUnknownOrganization, fault.From(err).Fields[0].Rule)

	requireViolation(t, check("acme", core.Trigger{}, parse(t, with(t, "type", `"meeting.eaten"`, "data", `{}`))), "event.type", core.RuleUnknownTrigger)
	requireViolation(t, check("acme", core.Trigger{}, parse(t, []byte(minimal))), "event.data", core.RuleRequired)
	field := requireViolation(t, check("acme", core.Trigger{Schema: verdict{"/attendees/0/email", "must be 100% an address"}}, good),
		"event.data/attendees/0/email", core.RuleSchema)
	require.Equal(t, "must be 100% an address", field.Message)
	requireViolation(t, core.TypeMismatch("meeting.booked"), "event.type", core.RuleValue)
}

func TestSchemaThatOnlyWarns(t *testing.T) {
	t.Parallel()
	event := parse(t, with(t, "data", `{}`))
	for problem, want := range map[string]bool{"": false, "must be something else": true} {
		trigger := core.Trigger{WarnOnly: true, Schema: verdict{"/a", problem}}
		warning, err := core.Check(catalogue{"meeting.booked": trigger}, "acme", event, false)
		require.NoError(t, err)
		require.Equal(t, want, warning)
	}
	_, err := core.Check(catalogue{"meeting.booked": {WarnOnly: true}}, "acme", parse(t, []byte(minimal)), false)
	requireViolation(t, err, "event.data", core.RuleRequired)
}

func TestOperationalTriggersAreNotForPublishers(t *testing.T) {
	t.Parallel()
	known := catalogue{"webhook.disabled": {Operational: true}, "meeting.booked": {}}
	event := parse(t, with(t, "type", `"webhook.disabled"`, "data", `{}`))
	_, err := core.Check(known, "acme", event, false)
	require.True(t, fault.Is(err, fault.PermissionDenied))
	f := fault.From(err)
	require.Equal(t, "RESERVED_TRIGGER", f.Reason)
	require.Equal(t, []fault.Field{{Path: "event.type", Rule: core.RuleReservedTrigger, Message: "is published by Meetwire itself only"}}, f.Fields)

	_, err = core.Check(known, "acme", event, true)
	require.NoError(t, err)
	_, err = core.Check(known, "other", event, true)
	require.True(t, fault.Is(err, fault.NotFound))
	_, err = core.Check(known, "acme", parse(t, with(t, "data", `{}`)), true)
	require.NoError(t, err)
}

func TestSourcesOfMeetwireAreNotForPublishers(t *testing.T) {
	t.Parallel()
	known := catalogue{"meeting.booked": {}}
	event := parse(t, with(t, "source", `"//meetwire/subscription"`, "data", `{}`))
	_, err := core.Check(known, "acme", event, false)
	require.True(t, fault.Is(err, fault.PermissionDenied))
	require.Equal(t, "RESERVED_SOURCE", fault.From(err).Reason)
	require.Equal(t, "event.source", fault.From(err).Fields[0].Path)
	_, err = core.Check(known, "acme", event, true)
	require.NoError(t, err)
	_, err = core.Check(known, "acme", parse(t, with(t, "source", `"//meetwire.example/x"`, "data", `{}`)), false)
	require.NoError(t, err, "another authority")
}

func TestTriggerStart(t *testing.T) {
	t.Parallel()
	require.Zero(t, core.TriggerStart(time.Time{}))
	created := time.Date(2026, 1, 31, 12, 0, 2, 0, time.UTC)
	require.Equal(t, created.Add(-2*time.Second), core.TriggerStart(created))
}
