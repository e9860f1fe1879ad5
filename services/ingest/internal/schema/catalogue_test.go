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

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

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

func webhook(id, organization string, paused bool, triggers ...string) *configv1.Resource {
	return &configv1.Resource{Resource: &configv1.Resource_Webhook{Webhook: &configv1.Webhook{
		Id: id, Organization: organization, Paused: paused, Triggers: triggers,
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

// requireValid asserts that data satisfies a trigger's schema.
func (e *env) requireValid(t *testing.T, trigger, data string) {
	t.Helper()
	pointer, problem, ok := e.catalogue.CheckData(trigger, json.RawMessage(data))
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
		pointer, problem, ok := e.catalogue.CheckData("meeting.booked", json.RawMessage(c.data))
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
			pointer, problem, ok := e.catalogue.CheckData("meeting.booked", json.RawMessage(fmt.Sprintf(data, number)))
			require.False(t, ok)
			require.Equal(t, place, pointer)
			require.Contains(t, problem, "308")
		}
		_, _, ok := e.catalogue.CheckData("any.thing", json.RawMessage("["+number+","+number+"]"))
		require.False(t, ok)
		_, _, ok = e.catalogue.CheckData("any.thing", json.RawMessage(number))
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
	require.False(t, e.catalogue.HasTrigger("acme", "meeting.canceled"))

	e.change(2, trigger("meeting.booked", `{"type":"array"}`), trigger("meeting.canceled", `{}`))
	_, _, ok := e.catalogue.CheckData("meeting.booked", json.RawMessage(`{}`))
	require.False(t, ok)
	e.requireValid(t, "meeting.booked", `[]`)
	require.True(t, e.catalogue.HasTrigger("acme", "meeting.canceled"))
	require.True(t, e.catalogue.HasTrigger("beta", "meeting.canceled"), "triggers are everybody's")

	e.catalogue.Reset([]*configv1.Resource{trigger("meeting.canceled", `{}`)}, 3)
	require.False(t, e.catalogue.HasTrigger("acme", "meeting.booked"), "a snapshot replaces everything")
}

func TestSchemaThatCannotBeCompiledRefusesNothing(t *testing.T) {
	t.Parallel()
	for name, broken := range map[string]string{
		"no JSON": `{`, "empty": ``, "no schema": `{"type": 5}`, "an absent place": `{"$ref": "#/$defs/nowhere"}`, "a broken pattern": `{"pattern": "("}`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := setup(t, trigger("meeting.booked", broken))
			require.True(t, e.catalogue.HasTrigger("acme", "meeting.booked"))
			e.requireValid(t, "meeting.booked", `{"anything":1}`)
			require.Contains(t, e.log.String(), "meeting.booked", "whoever operates this is told")

			e.change(2, trigger("meeting.booked", `false`))
			_, _, ok := e.catalogue.CheckData("meeting.booked", json.RawMessage(`{}`))
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

func TestWebhooksReachTheIndex(t *testing.T) {
	t.Parallel()
	e := setup(t, webhook("w1", "acme", false, "meeting.booked"), webhook("w2", "acme", true, "meeting.booked"), webhook("w3", "beta", false, "meeting.booked"))
	match := func(organization string) []string {
		ids, _ := e.index.Match(organization, "meeting.booked")
		return ids
	}
	require.Equal(t, []string{"w1"}, match("acme"))
	require.Equal(t, []string{"w3"}, match("beta"))
	_, revision := e.index.Match("acme", "meeting.booked")
	require.EqualValues(t, 1, revision)

	e.change(2, webhook("w2", "acme", false, "meeting.booked", "meeting.canceled"), deletedWebhook("w3"))
	require.Equal(t, []string{"w1", "w2"}, match("acme"))
	require.Empty(t, match("beta"))
	_, revision = e.index.Match("acme", "meeting.booked")
	require.EqualValues(t, 2, revision)

	e.change(3) // about nothing that matters here
	_, revision = e.index.Match("acme", "meeting.booked")
	require.EqualValues(t, 3, revision)

	e.catalogue.Reset(nil, 9)
	require.Empty(t, match("acme"))
}

func TestConcurrentUse(t *testing.T) {
	t.Parallel()
	e := setup(t, trigger("meeting.booked", booked))
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 200 {
				e.catalogue.CheckData("meeting.booked", json.RawMessage(`{"title":"x","attendees":[{"email":"a@example.com"}]}`))
				e.catalogue.HasTrigger("acme", "meeting.booked")
			}
		})
	}
	for revision := range int64(100) {
		e.change(revision, trigger("meeting.booked", booked))
	}
	all.Wait()
	e.requireValid(t, "meeting.booked", `{"title":"x","attendees":[]}`)
}

func FuzzCheckData(f *testing.F) {
	f.Add([]byte(`{"title":"x","attendees":[{"email":"a@example.com","age":1e1000001}],"minutes":1e309}`))
	f.Add([]byte(`{"title":"x","attendees":[1,1.0]}`))
	f.Add([]byte(`nul`))
	catalogue := schema.New(core.NewIndex(), slog.New(slog.DiscardHandler))
	catalogue.Reset([]*configv1.Resource{trigger("meeting.booked", booked)}, 1)
	f.Fuzz(func(t *testing.T, data []byte) {
		pointer, problem, ok := catalogue.CheckData("meeting.booked", data)
		require.Equal(t, ok, problem == "")
		if !ok && pointer != "" {
			require.True(t, strings.HasPrefix(pointer, "/"))
		}
	})
}
