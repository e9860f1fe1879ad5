package cli

import (
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/meetwire/meetwire/pkg/secret"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	subscriptionv1 "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
)

const hook = "organizations/acme/webhooks/3f0c5d52-6a4e-4f0e-9d7c-0f5a8a3d6a11"

func TestCallsAreWrittenAsTheContractSays(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		method string
		in     proto.Message
		want   call
	}{
		"a name in the path": {
			"WebhookService/GetWebhook", &subscriptionv1.GetWebhookRequest{Name: hook},
			call{method: "GET", uri: "/v1/" + hook},
		},
		"the rest in the query": {
			"WebhookService/ListWebhooks",
			&subscriptionv1.ListWebhooksRequest{Parent: "organizations/acme", PageSize: 5, Filter: `trigger="a.b" AND x=1&y`, OrderBy: "create_time desc"},
			call{method: "GET", uri: "/v1/organizations/acme/webhooks?filter=trigger%3D%22a.b%22+AND+x%3D1%26y&order_by=create_time+desc&page_size=5"},
		},
		"lists in the query": {
			"WebhookService/BatchGetWebhooks", &subscriptionv1.BatchGetWebhooksRequest{Parent: "organizations/acme", Names: []string{"a", "b"}},
			call{method: "GET", uri: "/v1/organizations/acme/webhooks:batchGet?names=a&names=b"},
		},
		"a verb behind the name, and a body": {
			"WebhookService/RotateWebhookSecret",
			&subscriptionv1.RotateWebhookSecretRequest{Name: hook, GracePeriod: durationpb.New(3600e9)},
			call{method: "POST", uri: "/v1/" + hook + ":rotateSecret", body: `{"name":"` + hook + `","gracePeriod":"3600s"}`},
		},
		"a field as the body": {
			"TeamService/CreateTeam",
			&subscriptionv1.CreateTeamRequest{Parent: "organizations/acme", TeamId: "sales", Team: &subscriptionv1.Team{DisplayName: "Sales"}, RequestId: "r"},
			call{method: "POST", uri: "/v1/organizations/acme/teams?request_id=r&team_id=sales", body: `{"displayName":"Sales"}`},
		},
		"an inner name in the path, and a mask": {
			"WebhookService/UpdateWebhook",
			&subscriptionv1.UpdateWebhookRequest{
				Webhook:    &subscriptionv1.Webhook{Name: hook, TargetUrl: "https://example.com"},
				UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"target_url", "retry_policy.max_retries"}}, ValidateOnly: true,
			},
			call{
				method: "PATCH", uri: "/v1/" + hook + "?update_mask=target_url%2Cretry_policy.max_retries&validate_only=true",
				body: `{"name":"` + hook + `","targetUrl":"https://example.com"}`,
			},
		},
		"a deletion with an etag": {
			"WebhookService/DeleteWebhook", &subscriptionv1.DeleteWebhookRequest{Name: hook, Etag: "a b"},
			call{method: "DELETE", uri: "/v1/" + hook + "?etag=a+b"},
		},
		"nothing at all": {
			"KeysetService/ReencryptSecrets", &subscriptionv1.ReencryptSecretsRequest{},
			call{method: "POST", uri: "/v1/keyset:reencrypt", body: `{}`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, calls := server(t, http.StatusOK, "{}")
			conn, err := newConn(url+"/", secret.New(testKey))
			require.NoError(t, err)
			require.NoError(t, conn.Invoke(t.Context(), "/meetwire.subscription.v1."+c.method, c.in, output(t, c.method)))
			require.Len(t, *calls, 1)
			got := (*calls)[0]
			require.Equal(t, c.want.method, got.method)
			require.Equal(t, c.want.uri, got.uri)
			require.Equal(t, "Bearer "+testKey, got.authorization)
			require.True(t, strings.HasPrefix(got.agent, "meetwire/"))
			if c.want.body == "" {
				require.Empty(t, got.body)
			} else {
				require.JSONEq(t, c.want.body, got.body)
			}
		})
	}
}

// output makes the message that a method answers with.
func output(t *testing.T, method string) proto.Message {
	t.Helper()
	found, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName("meetwire.subscription.v1." + strings.ReplaceAll(method, "/", ".")))
	require.NoError(t, err)
	kind, err := protoregistry.GlobalTypes.FindMessageByName(found.(protoreflect.MethodDescriptor).Output().FullName())
	require.NoError(t, err)
	return kind.New().Interface()
}

// What is typed for an id must not become another path.
func TestNamesStayWithinTheirPath(t *testing.T) {
	t.Parallel()
	url, calls := server(t, http.StatusOK, "{}")
	conn, err := newConn(url, secret.New(testKey))
	require.NoError(t, err)
	client := subscriptionv1.NewWebhookServiceClient(conn)
	for _, name := range []string{
		"", "x", "organizations/acme/webhooks/", "organizations/acme/webhooks/..", "organizations//webhooks/x", "organizations/acme/webhooks/a/b",
		"organizations/acme/webhooks/../../beta",
	} {
		_, err := client.GetWebhook(t.Context(), &subscriptionv1.GetWebhookRequest{Name: name})
		require.Error(t, err, name)
	}
	require.Empty(t, *calls)
	_, err = client.GetWebhook(t.Context(), &subscriptionv1.GetWebhookRequest{Name: "organizations/acme/webhooks/a?b#c d%2F"})
	require.NoError(t, err)
	require.Equal(t, "/v1/organizations/acme/webhooks/a%3Fb%23c%20d%252F", (*calls)[0].uri)
}

func TestErrorsAreExplained(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		status int
		body   string
		want   string
	}{
		"a field": {400, `{"code":3,"message":"page_size: must be at most 1000","details":[
			{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"INVALID_FIELD","domain":"meetwire"},
			{"@type":"type.googleapis.com/google.rpc.BadRequest","fieldViolations":[{"field":"page_size","description":"must be at most 1000"}]}]}`,
			"page_size: must be at most 1000 (INVALID_FIELD)"},
		"two fields": {400, `{"code":3,"message":"2 fields are invalid","details":[
			{"@type":"type.googleapis.com/google.rpc.BadRequest","fieldViolations":[{"field":"a","description":"is wrong"},{"field":"b","description":"too"}]}]}`,
			"2 fields are invalid\n  a: is wrong\n  b: too (Bad Request)"},
		"a detail that is not known": {404, `{"code":5,"message":"gone","details":[]}`, "gone (Not Found)"},
		"no error of Meetwire":       {502, `<html>bad gateway</html>`, "the server answers 502 Bad Gateway"},
		"nothing":                    {500, ``, "the server answers 500 Internal Server Error"},
		"a redirect":                 {302, ``, "the server answers 302 Found"},
		"control characters":         {404, "{\"code\":5,\"message\":\"a\\u001b[31mb\"}", "a\uFFFD[31mb (Not Found)"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url, _ := server(t, c.status, c.body)
			conn, err := newConn(url, secret.New(testKey))
			require.NoError(t, err)
			_, err = subscriptionv1.NewWebhookServiceClient(conn).ListWebhooks(t.Context(), &subscriptionv1.ListWebhooksRequest{Parent: "organizations/acme"})
			require.Error(t, err)
			require.Equal(t, c.want, Explain(err))
			require.Equal(t, "file: line 3: "+c.want, Explain(fmt.Errorf("file: line 3: %w", err)), "what was said on the way stays")
			requireNoKey(t, Explain(err)+err.Error())
		})
	}
}

func TestServersThatAreNotMeetwire(t *testing.T) {
	t.Parallel()
	for _, wrong := range []string{"", "127.0.0.1:8080", "ftp://example.com", "http://user:password@example.com", "http://", "http://x?y", "http://x#y", "://"} {
		_, err := newConn(wrong, secret.New(testKey))
		require.ErrorContains(t, err, "--server", wrong)
		require.NotContains(t, err.Error(), "password")
	}
	url, _ := server(t, http.StatusOK, "<html>")
	conn, err := newConn(url, secret.New(testKey))
	require.NoError(t, err)
	in := &subscriptionv1.GetWebhookRequest{Name: hook}
	require.ErrorContains(t, conn.Invoke(t.Context(), "/meetwire.subscription.v1.WebhookService/GetWebhook", in, &subscriptionv1.Webhook{}), "right --server")
	require.ErrorIs(t, conn.Invoke(t.Context(), "/meetwire.delivery.v1.InternalService/Purge", in, &deliveryv1.Delivery{}), errNoMethod)
	_, err = conn.NewStream(t.Context(), nil, "")
	require.ErrorIs(t, err, errNoMethod)

	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	conn, err = newConn("http://"+listener.Addr().String(), secret.New(testKey))
	require.NoError(t, err)
	err = conn.Invoke(t.Context(), "/meetwire.subscription.v1.WebhookService/GetWebhook", in, &subscriptionv1.Webhook{})
	var refused net.Error
	require.ErrorAs(t, err, &refused)
	require.Equal(t, 1, strings.Count(err.Error(), "http://"), "it is told once")
}
