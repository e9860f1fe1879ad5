package catalogue_test

import (
	"testing"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/dialect"
	"github.com/meetwire/meetwire/services/subscription/internal/catalogue"
)

// Whoever writes a receiver is shown the schema and the sample of each trigger in its dialect: they must agree.
func TestSamplesInEveryDialectSatisfyItsSchema(t *testing.T) {
	t.Parallel()
	all, err := catalogue.Triggers()
	require.NoError(t, err)
	for _, name := range dialect.Names() {
		secret, err := dialect.NewSecret(name)
		require.NoError(t, err)
		renderer, err := dialect.New(dialect.Config{Name: name, Secrets: []string{secret}, UserAgent: "Meetwire/1.2.3"})
		require.NoError(t, err)
		for _, trigger := range all {
			t.Run(name+"/"+trigger.ID, func(t *testing.T) {
				t.Parallel()
				at := time.Date(2026, 3, 10, 9, 12, 46, 0, time.UTC)
				event, err := dialect.SampleEvent("acme", trigger.ID, trigger.Sample, at)
				require.NoError(t, err)
				rendered, err := renderer.Render(event, at)
				require.NoError(t, err)
				schema := bodySchema(t, name, trigger.ID, trigger.Schema)
				require.NoError(t, schema.Validate(parse(t, rendered.Body)))
				requireEveryMemberMatters(t, schema, rendered.Body)
			})
		}
	}
}

// bodySchema is the compiled schema of the bodies of a trigger in a dialect.
func bodySchema(t *testing.T, name dialect.Name, trigger string, data []byte) *jsonschema.Schema {
	t.Helper()
	text, err := dialect.Schema(name, trigger, data)
	require.NoError(t, err)
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	compiler.UseLoader(noLoader{}) // it must stand by itself
	require.NoError(t, compiler.AddResource("mem:///body.json", parse(t, text)))
	schema, err := compiler.Compile("mem:///body.json")
	require.NoError(t, err)
	return schema
}

// What may be left out of an event may also be null, and our extensions may be empty.
func TestBodiesOfEventsThatSayLittleSatisfyTheSchema(t *testing.T) {
	t.Parallel()
	accepted := time.Date(2026, 3, 10, 9, 12, 46, 0, time.UTC)
	for _, name := range dialect.Names() {
		secret, err := dialect.NewSecret(name)
		require.NoError(t, err)
		renderer, err := dialect.New(dialect.Config{Name: name, Secrets: []string{secret}, UserAgent: "Meetwire/1.2.3"})
		require.NoError(t, err)
		schema := bodySchema(t, name, "custom.thing", []byte(`{"type":"object"}`))
		rendered, err := renderer.Render(&dialect.Event{
			Delivery: dialect.SampleDelivery, Trigger: "custom.thing", AcceptedAt: accepted,
			Document: []byte(`{"specversion":"1.0","id":"1","source":"/s","type":"custom.thing","time":null,"subject":null,` +
				`"datacontenttype":null,"dataschema":null,"mwteams":"","mweventtype":"","data":{}}`),
		}, accepted)
		require.NoError(t, err)
		require.NoError(t, schema.Validate(parse(t, rendered.Body)), "%s: %s", name, rendered.Body)
	}
}

// requireEveryMemberMatters checks that the schema refuses a body in which a member of the outermost object is missing
// or has become a list.
func requireEveryMemberMatters(t *testing.T, schema *jsonschema.Schema, body []byte) {
	t.Helper()
	for name := range object(parse(t, body)) {
		changed := object(parse(t, body))
		changed[name] = []any{"x"}
		require.Error(t, schema.Validate(changed), name)
		delete(changed, name)
		switch name {
		case "time", "datacontenttype": // optional in a CloudEvent
			require.NoError(t, schema.Validate(changed), name)
		default:
			require.Error(t, schema.Validate(changed), name)
		}
	}
}
