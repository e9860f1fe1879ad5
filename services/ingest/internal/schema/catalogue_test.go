package schema_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/timestamppb"

	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	"github.com/meetwire/meetwire/services/ingest/internal/core"
	"github.com/meetwire/meetwire/services/ingest/internal/schema"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const booked = `{
	"$schema": "https://json-schema.org/draft/2020-12/schema",
	"type": "object",
	"required": ["title", "attendees"],
	"properties": {
		"title": {"type": "string", "minLength": 1},
		"minutes": {"type": "integer", "minimum": 1, "maximum": 1440},
		"price": {"type": "number", "multipleOf": 0.01},
		"start": {"type": "string", "format": "date-time"},
		"a/b~c": {"type": "boolean"},
		"attendees": {"type": "array", "uniqueItems": true, "items": {"$ref": "#/$defs/attendee"}}
	},
	"$defs": {"attendee": {
		"type": "object",
		"required": ["email"],
		"properties": {"email": {"type": "string", "format": "email"}, "age": {"type": "integer"}},
		"additionalProperties": false
	}}
}`

func trigger(id, schema string) *configv1.Resource {
	return &configv1.Resource{Resource: &configv1.Resource_Trigger{Trigger: &configv1.Trigger{Id: id, Schema: schema}}}
}

func ownTrigger(organization, id, schema string) *configv1.Resource {
	own := trigger(id, schema)
	own.GetTrigger().Organization = organization
	return own
}

func deletedTrigger(organization, id string) *configv1.Resource {
	return &configv1.Resource{Resource: &configv1.Resource_DeletedTrigger{DeletedTrigger: &configv1.TriggerKey{Organization: organization, Id: id}}}
}

func organization(id string, webhooks bool) *configv1.Resource {
	return &configv1.Resource{Resource: &configv1.Resource_Organization{Organization: &configv1.Organization{Id: id, WebhooksAvailable: webhooks}}}
}

func deletedOrganization(id string) *configv1.Resource {
	return &configv1.Resource{Resource: &configv1.Resource_DeletedOrganization{DeletedOrganization: id}}
}

const (
	active   = configv1.WebhookStatus_WEBHOOK_STATUS_ACTIVE
	paused   = configv1.WebhookStatus_WEBHOOK_STATUS_PAUSED
	disabled = configv1.WebhookStatus_WEBHOOK_STATUS_DISABLED
)

func webhook(id, organization string, status configv1.WebhookStatus, triggers ...string) *configv1.Resource {
	return &configv1.Resource{Resource: &configv1.Resource_Webhook{Webhook: &configv1.Webhook{
		Id: id, Organization: organization, Status: status, Triggers: triggers,
	}}}
}

func deletedWebhook(id string) *configv1.Resource {
	return &configv1.Resource{Resource: &configv1.Resource_DeletedWebhook{DeletedWebhook: id}}
}

type env struct {
	catalogue *schema.Catalogue
	index     *core.Index
	log       *bytes.Buffer
}

func setup(t *testing.T, snapshot ...*configv1.Resource) *env {
	t.Helper()
	e := &env{index: core.NewIndex(), log: &bytes.Buffer{}}
	e.catalogue = schema.New(e.index, slog.New(slog.NewTextHandler(e.log, nil)))
	e.catalogue.Reset(snapshot, 1)
	return e
}

func (e *env) change(revision int64, resources ...*configv1.Resource) {
	e.catalogue.Apply(&configv1.Change{Revision: revision, Resources: resources})
}

// check checks data against the schema of a trigger of the platform.
func (e *env) check(trigger, data string) (pointer, problem string, ok bool) {
	return check(e.catalogue, "acme", trigger, data)
}

func check(catalogue *schema.Catalogue, organization, id, data string) (pointer, problem string, ok bool) {
	trigger, known := catalogue.Trigger(organization, id)
	if !known || trigger.Schema == nil {
		return "", "", known
	}
	return trigger.Schema.Check(json.RawMessage(data))
}

func (e *env) has(organization, trigger string) bool {
	_, ok := e.catalogue.Trigger(organization, trigger)
	return ok
}

// requireValid asserts that data satisfies a trigger's schema.
func (e *env) requireValid(t *testing.T, trigger, data string) {
	t.Helper()
	pointer, problem, ok := e.check(trigger, data)
	require.True(t, ok, "%s: %s", pointer, problem)
	require.Empty(t, pointer+problem)
}

func TestDataIsCheckedAndTheViolationNamesThePlace(t *testing.T) {
	t.Parallel()
	e := setup(t, trigger("meeting.booked", booked))
	for _, data := range []string{
		`{"title":"x","attendees":[]}`,
		`{"title":"x","attendees":[{"email":"a@example.com"},{"email":"b@example.com","age":1e2}],"minutes":30.0,"price":1.25}`,
		`{"title":"x","attendees":[],"start":"2026-01-31T12:00:00Z","a/b~c":true,"other":1e308}`,
	} {
		e.requireValid(t, "meeting.booked", data)
	}
	for _, c := range []struct{ data, pointer, problem string }{
		{`null`, "", "object"},
		{`[]`, "", "object"},
		{`{"attendees":[]}`, "", "must have title"},
		{`{}`, "", "must have title, attendees"},
		{`{"title":1,"attendees":[]}`, "/title", "string"},
		{`{"title":"","attendees":[]}`, "/title", "1"},
		{`{"title":"x","attendees":[],"minutes":0}`, "/minutes", "1"},
		{`{"title":"x","attendees":[],"minutes":1.5}`, "/minutes", "integer"},
		{`{"title":"x","attendees":[],"price":0.001}`, "/price", "0.01"},
		{`{"title":"x","attendees":[],"start":"tomorrow"}`, "/start", "date-time"},
		{`{"title":"x","attendees":[],"a/b~c":1}`, "/a~1b~0c", "boolean"},
		{`{"title":"x","attendees":[{"email":"a@example.com"},{}]}`, "/attendees/1", "must have email"},
		{`{"title":"x","attendees":[{"email":"nobody"}]}`, "/attendees/0/email", "email"},
		{`{"title":"x","attendees":[{"email":"a@example.com","phone":1}]}`, "/attendees/0", "phone"},
		{`{"title":"x","attendees":[{"email":"a@example.com"},{"email":"a@example.com"}]}`, "/attendees", ""},
	} {
		pointer, problem, ok := e.check("meeting.booked", c.data)
		require.False(t, ok, c.data)
		require.Equal(t, c.pointer, pointer, c.data)
		require.NotEmpty(t, problem)
		require.Contains(t, problem, c.problem, c.data)
	}
}

// Exact arithmetic with such numbers would take all memory, or end the process.
func TestNumbersThatNobodyCanReadAreRefused(t *testing.T) {
	t.Parallel()
	e := setup(t, trigger("meeting.booked", booked), trigger("any.thing", `{"type":["integer","array","object"],"uniqueItems":true}`))
	for _, number := range []string{"1e309", "-1E+1000001", "1e-1000001", "1e99999999999999999999", "0e1000001", "1e-309"} {
		for place, data := range map[string]string{
			"/minutes":         `{"title":"x","attendees":[],"minutes":%s}`,
			"/price":           `{"title":"x","attendees":[],"price":%s}`,
			"/attendees/0/age": `{"title":"x","attendees":[{"email":"a@example.com","age":%s}]}`,
			"/other/0/a~1b":    `{"title":"x","attendees":[],"other":[{"a/b":%s}]}`,
		} {
			pointer, problem, ok := e.check("meeting.booked", fmt.Sprintf(data, number))
			require.False(t, ok)
			require.Equal(t, place, pointer)
			require.Contains(t, problem, "308")
		}
		_, _, ok := e.check("any.thing", "["+number+","+number+"]")
		require.False(t, ok)
		_, _, ok = e.check("any.thing", number)
		require.False(t, ok)
	}
	for _, number := range []string{"1e308", "1E-308", "123456789012345678901234567890", "0e0", strings.Repeat("9", 1000)} {
		e.requireValid(t, "any.thing", "["+number+"]")
	}
}

func TestChangedSchemaIsAppliedFromThenOn(t *testing.T) {
	t.Parallel()
	e := setup(t, trigger("meeting.booked", `{"type":"object"}`))
	e.requireValid(t, "meeting.booked", `{}`)
	require.False(t, e.has("acme", "meeting.canceled"))

	e.change(2, trigger("meeting.booked", `{"type":"array"}`), trigger("meeting.canceled", `{}`))
	_, _, ok := e.check("meeting.booked", `{}`)
	require.False(t, ok)
	e.requireValid(t, "meeting.booked", `[]`)
	require.True(t, e.has("acme", "meeting.canceled"))
	require.True(t, e.has("beta", "meeting.canceled"), "triggers are everybody's")

	e.catalogue.Reset([]*configv1.Resource{trigger("meeting.canceled", `{}`)}, 3)
	require.False(t, e.has("acme", "meeting.booked"), "a snapshot replaces everything")
}

func TestSchemaThatCannotBeCompiledRefusesNothing(t *testing.T) {
	t.Parallel()
	for name, broken := range map[string]string{
		"no JSON": `{`, "empty": ``, "no schema": `{"type": 5}`, "an absent place": `{"$ref": "#/$defs/nowhere"}`, "a broken pattern": `{"pattern": "("}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := setup(t, trigger("meeting.booked", broken))
			require.True(t, e.has("acme", "meeting.booked"))
			e.requireValid(t, "meeting.booked", `{"anything":1}`)
			require.Contains(t, e.log.String(), "meeting.booked", "whoever operates this is told")

			e.change(2, trigger("meeting.booked", `false`))
			_, _, ok := e.check("meeting.booked", `{}`)
			require.False(t, ok)
			e.change(3, trigger("meeting.booked", broken))
			e.requireValid(t, "meeting.booked", `{}`)
		})
	}
}

// A schema is somebody's input: it must not make this process read files or call addresses.
func TestSchemaRefersOnlyToItself(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var accepting sync.WaitGroup
	accepting.Go(func() {
		if conn, err := listener.Accept(); err == nil {
			t.Error("the schema was asked for")
			_ = conn.Close()
		}
	})
	for _, reference := range []string{"http://" + listener.Addr().String() + "/x.json", "file:///etc/hostname"} {
		e := setup(t, trigger("meeting.booked", fmt.Sprintf(`{"$ref": %q}`, reference)))
		require.Contains(t, e.log.String(), "may refer only to itself")
		e.requireValid(t, "meeting.booked", `{}`)
	}
	require.NoError(t, listener.Close())
	accepting.Wait()
}

func (e *env) match(organization, trigger string) []string {
	return e.index.Match(organization, &core.Event{Type: trigger}).Webhooks
}

func (e *env) revision() int64 { return e.index.Match("acme", &core.Event{}).Revision }

func TestWebhooksReachTheIndex(t *testing.T) {
	t.Parallel()
	e := setup(t, organization("acme", true), organization("beta", true),
		webhook("w1", "acme", active, "meeting.booked"), webhook("w2", "acme", paused, "meeting.booked"), webhook("w3", "beta", active, "meeting.booked"))
	require.Equal(t, []string{"w1"}, e.match("acme", "meeting.booked"))
	require.Equal(t, []string{"w3"}, e.match("beta", "meeting.booked"))
	require.EqualValues(t, 1, e.revision())

	e.change(2, webhook("w2", "acme", active, "meeting.booked", "meeting.canceled"), deletedWebhook("w3"))
	require.Equal(t, []string{"w1", "w2"}, e.match("acme", "meeting.booked"))
	require.Empty(t, e.match("beta", "meeting.booked"))
	require.EqualValues(t, 2, e.revision())

	require.Equal(t, []string{"w2"}, e.match("acme", "meeting.canceled"))

	e.change(3) // about nothing that matters here
	require.EqualValues(t, 3, e.revision())
	e.change(4, webhook("w2", "acme", disabled, "meeting.booked"))
	require.Equal(t, []string{"w1", "w2"}, e.match("acme", "meeting.booked"), "what is for w2 becomes a dead letter")

	e.catalogue.Reset(nil, 9)
	require.Empty(t, e.match("acme", "meeting.booked"))
}

func TestPlanReachesTheIndex(t *testing.T) {
	t.Parallel()
	e := setup(t, organization("acme", false), webhook("w1", "acme", active, "meeting.booked"))
	require.Empty(t, e.match("acme", "meeting.booked"))
	e.change(2, organization("acme", true))
	require.Equal(t, []string{"w1"}, e.match("acme", "meeting.booked"))
	e.change(3, organization("acme", false))
	require.Empty(t, e.match("acme", "meeting.booked"))
}

func TestScopeTypesAndFilterReachTheIndex(t *testing.T) {
	t.Parallel()
	w := webhook("w1", "acme", active, "meeting.*")
	w.GetWebhook().Teams, w.GetWebhook().EventTypes = []string{"sales", "core"}, []string{"intro", "demo"}
	w.GetWebhook().Filter = `event.data.minutes > 30 && event.id != "2"`
	broken := webhook("w2", "acme", active, "meeting.booked")
	broken.GetWebhook().Filter = `event.data.minutes >`
	e := setup(t, organization("acme", true), w, broken)
	match := func(id, teams, eventType, data string) core.Match {
		event, err := core.Parse(fmt.Appendf(nil, `{"specversion":"1.0","id":%q,"source":"/s","type":"meeting.booked","mwteams":%q,"mweventtype":%q,"data":%s}`,
			id, teams, eventType, data))
		require.NoError(t, err)
		return e.index.Match("acme", event)
	}
	matched := match("1", "other,core", "intro", `{"minutes":31}`)
	require.Equal(t, []string{"w1"}, matched.Webhooks)
	require.EqualValues(t, 1, matched.Revision)
	require.Len(t, matched.Failed, 1)
	require.Equal(t, "w2", matched.Failed[0].Webhook)
	require.Error(t, matched.Failed[0].Err)
	require.Empty(t, match("1", "other", "intro", `{"minutes":31}`).Webhooks)
	require.Empty(t, match("1", "core", "other", `{"minutes":31}`).Webhooks)
	require.Empty(t, match("1", "core", "", `{"minutes":31}`).Webhooks)
	require.Empty(t, match("1", "core", "demo", `{"minutes":30}`).Webhooks)
	require.Empty(t, match("2", "core", "demo", `{"minutes":31}`).Webhooks)
	matched = match("1", "core", "demo", `{}`)
	require.Empty(t, matched.Webhooks)
	require.Len(t, matched.Failed, 2, "a field that the filter needs is missing")
}

func TestTriggersOfOrganizationsAreTheirOwn(t *testing.T) {
	t.Parallel()
	e := setup(t, trigger("meeting.booked", `{}`), ownTrigger("acme", "custom.door", `{"type":"object"}`), ownTrigger("beta", "custom.door", `{"type":"array"}`))
	require.True(t, e.has("acme", "custom.door"))
	require.False(t, e.has("gamma", "custom.door"))
	require.True(t, e.has("gamma", "meeting.booked"))
	for organization, want := range map[string]bool{"acme": true, "beta": false} {
		_, _, ok := check(e.catalogue, organization, "custom.door", `{}`)
		require.Equal(t, want, ok, organization)
	}
	e.change(2, deletedTrigger("acme", "custom.door"), deletedTrigger("beta", "meeting.booked"))
	require.False(t, e.has("acme", "custom.door"))
	require.True(t, e.has("beta", "custom.door"))
	require.True(t, e.has("beta", "meeting.booked"), "another organization's word does not count")
	e.change(3, deletedTrigger("", "meeting.booked"))
	require.False(t, e.has("beta", "meeting.booked"))
}

func TestDeletedOrganizationTakesAllThatIsItsOwn(t *testing.T) {
	t.Parallel()
	e := setup(t, organization("acme", true), organization("beta", true), trigger("meeting.booked", `{}`),
		ownTrigger("acme", "custom.door", `{}`), ownTrigger("beta", "custom.door", `{}`),
		webhook("w1", "acme", active, "meeting.*", "custom.door"), webhook("w2", "beta", active, "meeting.booked"))
	e.change(2, deletedOrganization("acme"))
	require.Empty(t, e.match("acme", "meeting.booked"))
	require.False(t, e.index.HasWebhook("acme", "w1"))
	require.False(t, e.has("acme", "custom.door"))
	require.Equal(t, []string{"w2"}, e.match("beta", "meeting.booked"))
	require.True(t, e.has("beta", "custom.door"))
	require.True(t, e.has("beta", "meeting.booked"))
}

func TestWhatATriggerIsLike(t *testing.T) {
	t.Parallel()
	created := time.Date(2026, 1, 31, 12, 0, 2, 0, time.UTC)
	operational, own := trigger("webhook.disabled", `{}`), ownTrigger("acme", "custom.room", `{}`)
	operational.GetTrigger().Operational, operational.GetTrigger().CreateTime = true, timestamppb.New(created)
	own.GetTrigger().SchemaWarnOnly, own.GetTrigger().CreateTime = true, timestamppb.New(created)
	e := setup(t, operational, own, trigger("meeting.booked", `{}`))
	for id, want := range map[string]core.Trigger{
		"webhook.disabled": {Operational: true, Start: created.Add(-core.ConfigurationDelay)},
		"custom.room":      {WarnOnly: true}, // the lane of all organizations' triggers has no start
		"meeting.booked":   {},
	} {
		got, ok := e.catalogue.Trigger("acme", id)
		require.True(t, ok)
		require.NotNil(t, got.Schema)
		got.Schema = nil
		require.Equal(t, want, got, id)
	}
}

func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	e := setup(t, trigger("meeting.booked", booked))
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 200 {
				e.check("meeting.booked", `{"title":"x","attendees":[{"email":"a@example.com"}]}`)
				e.has("acme", "meeting.booked")
			}
		})
	}
	for revision := range int64(100) {
		e.change(revision, trigger("meeting.booked", booked))
	}
	all.Wait()
	e.requireValid(t, "meeting.booked", `{"title":"x","attendees":[]}`)
}
