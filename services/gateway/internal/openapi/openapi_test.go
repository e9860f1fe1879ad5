package openapi_test

import (
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi2"
	"github.com/getkin/kin-openapi/openapi2conv"
	"github.com/getkin/kin-openapi/openapi3"
	"github.com/stretchr/testify/require"

	contracts "github.com/meetwire/meetwire/proto"
	_ "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1" // the contracts of all services
	_ "github.com/meetwire/meetwire/proto/gen/meetwire/ingest/v1"
	_ "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
	"github.com/meetwire/meetwire/services/gateway/internal/openapi"
)

// served returns the document as the gateway serves it, and the same as OpenAPI 3.
func served(t *testing.T) (*openapi2.T, *openapi3.T) {
	t.Helper()
	text, err := openapi.Document(contracts.OpenAPI, contracts.Examples)
	require.NoError(t, err)
	var document openapi2.T
	require.NoError(t, json.Unmarshal(text, &document))
	converted, err := openapi2conv.ToV3(&document)
	require.NoError(t, err)
	return &document, converted
}

func TestDocumentIsValid(t *testing.T) {
	t.Parallel()
	document, converted := served(t)
	require.NoError(t, converted.Validate(t.Context()))
	require.Equal(t, "2.0", document.Swagger)
	require.Len(t, document.SecurityDefinitions, 1)
	require.NotEmpty(t, document.Security)

	ids := map[string]bool{}
	var public []string
	for path, item := range document.Paths {
		require.NotContains(t, path, "=")
		for verb, operation := range item.Operations() {
			where := verb + " " + path
			require.NotEmpty(t, operation.OperationID, where)
			require.False(t, ids[operation.OperationID], operation.OperationID)
			ids[operation.OperationID] = true
			require.NotEmpty(t, operation.Summary+operation.Description, where)
			success := 0
			for status := range operation.Responses.Map() {
				if strings.HasPrefix(status, "2") {
					success++
				}
			}
			want := 1
			if strings.HasPrefix(operation.OperationID, "EventService_Publish") {
				want = 2 // whether something was stored
			}
			require.Equal(t, want, success, where)
			require.NotNil(t, operation.Responses.Value("default"), where)
			if operation.Security != nil {
				require.Empty(t, *operation.Security, where)
				public = append(public, operation.OperationID)
			}
			for _, parameter := range operation.Parameters {
				if parameter.In == "path" {
					require.Contains(t, path, "{"+parameter.Name+"}", where)
				}
			}
		}
	}
	require.Equal(t, []string{"TriggerService_ListCatalogue"}, public, "everything else needs a key")
}

// Every answer with a body has an example, and its schema accepts it.
func TestExamplesSatisfyTheirSchemas(t *testing.T) {
	t.Parallel()
	document, converted := served(t)
	var examples map[string]openapi.Example
	require.NoError(t, json.Unmarshal(contracts.Examples, &examples))
	seen := map[string]bool{}
	for path, item := range converted.Paths.Map() {
		for verb, operation := range item.Operations() {
			id := operation.OperationID
			for status, response := range operation.Responses.Map() {
				if !strings.HasPrefix(status, "2") {
					continue
				}
				schema := response.Value.Content.Get("application/json").Schema.Value
				if schema.Title == "" && len(schema.Properties) == 0 || strings.HasPrefix(schema.Title, "Stream result of") {
					_, answers := examples[id]
					seen[id] = seen[id] || answers
					continue // nothing is answered, or what comes as it happens
				}
				example, ok := examples[id]
				if ok && status == "200" && example.Status == http.StatusAccepted {
					continue // the same, when nothing was stored
				}
				require.True(t, ok, "%s has no example: run the end-to-end tests with -update", id)
				require.Equal(t, status, strconv.Itoa(example.Status), id)
				var body any
				require.NoError(t, json.Unmarshal(example.Body, &body))
				require.NoError(t, schema.VisitJSON(body), id)
				requireKnown(t, id, schema, body)
				seen[id] = true
				merged := document.Paths[path].Operations()[verb].Responses.Value(status).Examples["application/json"]
				require.Equal(t, body, merged, id)
			}
		}
	}
	for id := range examples {
		require.True(t, seen[id], "%s is no operation", id)
	}
}

// requireKnown asserts that an example has no field that its schema does not have.
func requireKnown(t *testing.T, path string, schema *openapi3.Schema, body any) {
	t.Helper()
	switch body := body.(type) {
	case map[string]any:
		if len(schema.Properties) == 0 && schema.AdditionalProperties.Schema == nil {
			return // anything, such as what an entry of the audit log is about
		}
		for name, value := range body {
			property := schema.Properties[name]
			switch {
			case property != nil:
				requireKnown(t, path+"."+name, property.Value, value)
			default:
				require.NotNil(t, schema.AdditionalProperties.Schema, "%s.%s is not in the schema", path, name)
			}
		}
	case []any:
		for _, value := range body {
			requireKnown(t, path+"[]", schema.Items.Value, value)
		}
	}
}

func TestExamplesOfNothingAreRefused(t *testing.T) {
	t.Parallel()
	_, err := openapi.Document(contracts.OpenAPI, []byte(`{"Nobody_Nothing":{"status":200,"body":{}}}`))
	require.ErrorContains(t, err, "Nobody_Nothing")
	_, err = openapi.Document(contracts.OpenAPI, []byte(`{"PlanService_ListPlans":{"status":`+strconv.Itoa(http.StatusTeapot)+`,"body":{}}}`))
	require.ErrorContains(t, err, "PlanService_ListPlans")
	_, err = openapi.Document([]byte("{"), []byte("{}"))
	require.Error(t, err)
	_, err = openapi.Document(contracts.OpenAPI, []byte("["))
	require.Error(t, err)
}
