package subscription_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"github.com/meetwire/meetwire/pkg/dialect"
	"github.com/meetwire/meetwire/pkg/secret"
	subscriptionv1 "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
)

// requireSatisfies asserts that a text satisfies a JSON Schema.
func requireSatisfies(t *testing.T, schema, text string) {
	t.Helper()
	document, err := jsonschema.UnmarshalJSON(strings.NewReader(schema))
	require.NoError(t, err)
	value, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	require.NoError(t, err)
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	require.NoError(t, compiler.AddResource("body.json", document))
	compiled, err := compiler.Compile("body.json")
	require.NoError(t, err)
	require.NoError(t, compiled.Validate(value), text)
}

func TestCatalogueNeedsNoKey(t *testing.T) {
	t.Parallel()
	i := setupTenant(t)
	i.admin.trigger(t, "acme", "custom.thing")
	nobody := i.as(t, secret.New(""))
	for _, name := range append(dialect.Names(), "") {
		catalogue, err := nobody.triggers.ListCatalogue(t.Context(), &subscriptionv1.ListCatalogueRequest{Dialect: name})
		require.NoError(t, err)
		if name == "" {
			name = "standard"
		}
		require.Equal(t, name, catalogue.GetDialect())
		require.Equal(t, dialect.Names(), catalogue.GetDialects())
		require.True(t, slices.IsSortedFunc(catalogue.GetEntries(), func(a, b *subscriptionv1.ListCatalogueResponse_Entry) int {
			return strings.Compare(a.GetGroup()+"/"+a.GetTrigger(), b.GetGroup()+"/"+b.GetTrigger())
		}))
		seen := make(map[string]bool)
		for _, e := range catalogue.GetEntries() {
			seen[e.GetTrigger()] = true
			require.NotEmpty(t, e.GetDescription())
			require.Equal(t, dialect.TriggerName(name, e.GetTrigger()), e.GetDialectTrigger())
			require.NotEmpty(t, e.GetContentType())
			requireSatisfies(t, e.GetSchema(), e.GetSample())
		}
		require.True(t, seen["meeting.booked"])
		require.True(t, seen["webhook.disabled"])
		require.False(t, seen["custom.thing"], "nothing of an organization is public")
	}
	_, err := nobody.triggers.ListCatalogue(t.Context(), &subscriptionv1.ListCatalogueRequest{Dialect: "morse"})
	requireField(t, err, "dialect", "standard, cloudevents")
	_, err = nobody.triggers.ListTriggers(t.Context(), &subscriptionv1.ListTriggersRequest{Parent: "organizations/acme"})
	requireCode(t, err, codes.Unauthenticated)
}

func TestSampleIsShownAsADialectHasIt(t *testing.T) {
	t.Parallel()
	i := setupTenant(t)
	i.admin.trigger(t, "acme", "custom.thing")
	for _, name := range dialect.Names() {
		for _, id := range []string{"meeting.booked", "custom.thing"} {
			trigger := "organizations/acme/triggers/" + id
			sample, err := i.viewer.triggers.GetTriggerSample(t.Context(), &subscriptionv1.GetTriggerSampleRequest{Name: trigger, Dialect: name})
			require.NoError(t, err, name)
			require.Equal(t, dialect.TriggerName(name, id), sample.GetDialectTrigger())
			schema, err := i.viewer.triggers.GetTriggerSchema(t.Context(), &subscriptionv1.GetTriggerSchemaRequest{Name: trigger, Dialect: name})
			require.NoError(t, err, name)
			requireSatisfies(t, schema.GetSchema(), sample.GetBody())
		}
	}
	sample, err := i.viewer.triggers.GetTriggerSample(t.Context(), &subscriptionv1.GetTriggerSampleRequest{Name: "organizations/acme/triggers/custom.thing"})
	require.NoError(t, err)
	var body struct {
		Type string
		Data json.RawMessage
	}
	require.NoError(t, json.Unmarshal([]byte(sample.GetBody()), &body))
	require.Equal(t, "custom.thing", body.Type)
	require.JSONEq(t, thingSample, string(body.Data))

	_, err = i.viewer.triggers.GetTriggerSample(t.Context(), &subscriptionv1.GetTriggerSampleRequest{Name: "organizations/acme/triggers/custom.nothing"})
	requireCode(t, err, codes.NotFound)
	_, err = i.viewer.triggers.GetTriggerSchema(t.Context(), &subscriptionv1.GetTriggerSchemaRequest{Name: "organizations/acme/triggers/meeting.booked", Dialect: "morse"})
	requireField(t, err, "dialect", "one of")
}
