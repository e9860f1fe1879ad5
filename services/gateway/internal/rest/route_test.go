package rest_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// route is what a contract says of a method.
type route struct {
	service, method string // of gRPC
	verb, path      string // of HTTP, with names in place of patterns
}

var pattern = regexp.MustCompile(`\{[a-z_.]+=([^}]*)\}`)

// routes returns all methods of the contracts that are served over REST.
func routes(t *testing.T) []route {
	t.Helper()
	var all []route
	protoregistry.GlobalFiles.RangeFiles(func(file protoreflect.FileDescriptor) bool {
		if !strings.HasPrefix(string(file.Package()), "meetwire.") {
			return true
		}
		for i := range file.Services().Len() {
			service := file.Services().Get(i)
			for j := range service.Methods().Len() {
				method := service.Methods().Get(j)
				rule, ok := proto.GetExtension(method.Options(), annotations.E_Http).(*annotations.HttpRule)
				if !ok || rule == nil {
					continue
				}
				r := route{service: string(service.FullName()), method: string(method.Name())}
				switch p := rule.GetPattern().(type) {
				case *annotations.HttpRule_Get:
					r.verb, r.path = http.MethodGet, p.Get
				case *annotations.HttpRule_Post:
					r.verb, r.path = http.MethodPost, p.Post
				case *annotations.HttpRule_Patch:
					r.verb, r.path = http.MethodPatch, p.Patch
				case *annotations.HttpRule_Delete:
					r.verb, r.path = http.MethodDelete, p.Delete
				default:
					require.Fail(t, "a route that this test does not know", "%v", rule)
				}
				r.path = pattern.ReplaceAllStringFunc(r.path, func(variable string) string {
					return strings.ReplaceAll(pattern.FindStringSubmatch(variable)[1], "*", "x1")
				})
				all = append(all, r)
			}
		}
		return true
	})
	require.Greater(t, len(all), 15)
	return all
}

// backendOf returns the backend that serves a service.
func (e *env) backendOf(t *testing.T, service string) *backend {
	t.Helper()
	switch {
	case strings.HasPrefix(service, "meetwire.subscription."):
		return e.subscription
	case strings.HasPrefix(service, "meetwire.ingest."):
		return e.ingest
	case strings.HasPrefix(service, "meetwire.delivery."):
		return e.delivery
	}
	require.Fail(t, "nobody serves "+service)
	return nil
}

func TestEveryRouteLeadsToItsMethod(t *testing.T) {
	t.Parallel()
	e := setup(t)
	for _, r := range routes(t) {
		if strings.HasPrefix(r.service, "meetwire.operation.") {
			continue // every service is asked
		}
		body := ""
		if r.verb == http.MethodPost || r.verb == http.MethodPatch {
			body = "{}"
		}
		got := e.do(t, r.verb, r.path, body)
		require.Less(t, got.status, 300, "%s %s: %s", r.verb, r.path, got.body)
		require.Equal(t, "/"+r.service+"/"+r.method, e.backendOf(t, r.service).only(t).method)
		// A misspelled filter must not return everything.
		f := requireFailure(t, e.do(t, r.verb, r.path+"?fliter=x", body), 400, 3, "INVALID_FIELD")
		require.Contains(t, f.Message, "fliter")
	}
	for _, b := range []*backend{e.subscription, e.ingest, e.delivery} {
		b.requireNotCalled(t)
	}
}

func TestOpenAPIHasEveryRoute(t *testing.T) {
	t.Parallel()
	e := setup(t)
	got := e.do(t, "GET", "/openapi.json", "")
	require.Equal(t, http.StatusOK, got.status)
	var document struct {
		Swagger     string
		Paths       map[string]map[string]struct{ OperationID string }
		Definitions map[string]any
	}
	require.NoError(t, json.Unmarshal(got.body, &document))
	require.Equal(t, "2.0", document.Swagger)
	require.NotEmpty(t, document.Definitions)
	verbs := make(map[string]string)
	for path, operations := range document.Paths {
		require.True(t, strings.HasPrefix(path, "/v1/"), path)
		for verb, operation := range operations {
			require.Empty(t, verbs[operation.OperationID], "twice")
			verbs[operation.OperationID] = strings.ToUpper(verb)
		}
	}
	all := routes(t)
	for _, r := range all {
		require.Equal(t, r.verb, verbs[r.service[strings.LastIndex(r.service, ".")+1:]+"_"+r.method], r.path)
	}
	require.Len(t, verbs, len(all), "and nothing else")
}

func TestPathsThatDoNotExist(t *testing.T) {
	t.Parallel()
	e := setup(t)
	for _, path := range []string{
		"/", "/v1", "/v1/", "/v2/organizations", "/v1/organizations/acme/nothing", "/v1/organizations/acme/webhooks/w1/x", "/metrics",
		"/debug/pprof/", "/openapi.yaml",
	} {
		for _, verb := range []string{"GET", "POST"} {
			requireFailure(t, e.do(t, verb, path, "", "Content-Type", "application/json"), 404, 5, "ROUTE_NOT_FOUND")
		}
	}
	// The methods of gRPC are no paths of REST, and internal services have none at all.
	requireFailure(t, e.do(t, "POST", "/meetwire.config.v1.ConfigService/WatchConfig", "{}"), 404, 5, "ROUTE_NOT_FOUND")
}

func TestMethodsThatAPathDoesNotTake(t *testing.T) {
	t.Parallel()
	e := setup(t)
	for path, verbs := range map[string][]string{
		eventsPath:                        {"PUT", "DELETE", "PATCH"},
		webhooksPath:                      {"DELETE", "PUT"},
		"/v1/organizations":               {"DELETE", "PATCH"},
		"/v1/organizations/acme":          {"PUT", "POST"},
		webhooksPath + "/w1":              {"PUT", "POST"},
		"/v1/organizations/acme/triggers": {"DELETE", "PATCH"},
		"/v1/catalogue":                   {"POST", "DELETE"},
		"/v1/plans":                       {"POST"},
		"/v1/organizations/acme/deadLetters/d1:resurrect": {"POST"},
	} {
		for _, verb := range verbs {
			requireFailure(t, e.do(t, verb, path, "", "Content-Type", "application/json"), 405, 3, "METHOD_NOT_ALLOWED")
		}
	}
	for _, path := range []string{"/healthz", "/readyz", "/openapi.json"} {
		got := e.do(t, "POST", path, "", "Content-Type", "application/json")
		require.Equal(t, http.StatusNotFound, got.status)
	}
}

func TestHealthAndReadiness(t *testing.T) {
	t.Parallel()
	e := setup(t)
	got := e.do(t, "GET", "/healthz", "")
	require.Equal(t, http.StatusOK, got.status)
	require.JSONEq(t, `{"healthy":true}`, string(got.body))
	got = e.do(t, "GET", "/readyz", "")
	require.Equal(t, http.StatusOK, got.status)
	require.JSONEq(t, `{"ready":true}`, string(got.body))

	e.notReady = errors.Join(errors.New("ingest: not reachable"), errors.New("delivery: not ready"))
	got = e.do(t, "GET", "/readyz", "")
	require.Equal(t, http.StatusServiceUnavailable, got.status)
	require.JSONEq(t, `{"ready":false,"error":"ingest: not reachable\ndelivery: not ready"}`, string(got.body))
	require.Equal(t, http.StatusOK, e.do(t, "GET", "/healthz", "").status, "this process is well")
}
