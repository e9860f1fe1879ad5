package rpc_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/api/httpbody"
	"google.golang.org/grpc"
	channelzv1 "google.golang.org/grpc/channelz/grpc_channelz_v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/rpc"
	"github.com/meetwire/meetwire/pkg/secret"
	accessv1 "github.com/meetwire/meetwire/proto/gen/meetwire/access/v1"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	ingestv1 "github.com/meetwire/meetwire/proto/gen/meetwire/ingest/v1"
	subscriptionv1 "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
)

// calls makes one call of each kind about an organization.
func calls(w *world) map[string]func(ctx context.Context, organization string) error {
	return map[string]func(context.Context, string) error{
		"create": func(ctx context.Context, organization string) error {
			_, err := w.webhooks.CreateWebhook(ctx, &subscriptionv1.CreateWebhookRequest{
				Parent: "organizations/" + organization, Webhook: &subscriptionv1.Webhook{DisplayName: "x", TargetUrl: "https://example.com"},
			})
			return err
		},
		"update": func(ctx context.Context, organization string) error {
			_, err := w.webhooks.UpdateWebhook(ctx, &subscriptionv1.UpdateWebhookRequest{
				Webhook: &subscriptionv1.Webhook{Name: "organizations/" + organization + "/webhooks/0b3c7f6e-0000-4000-8000-000000000001"},
			})
			return err
		},
		"list": func(ctx context.Context, organization string) error {
			_, err := w.webhooks.ListWebhooks(ctx, &subscriptionv1.ListWebhooksRequest{Parent: "organizations/" + organization})
			return err
		},
		"publish": func(ctx context.Context, organization string) error {
			_, err := w.events.PublishEvent(ctx, &ingestv1.PublishEventRequest{
				Parent: "organizations/" + organization, Event: &httpbody.HttpBody{Data: []byte("{}")},
			})
			return err
		},
		"watch": func(ctx context.Context, _ string) error {
			stream, err := w.config.WatchConfig(ctx, &configv1.WatchConfigRequest{})
			if err != nil {
				return err
			}
			_, err = stream.Recv()
			return err
		},
	}
}

func TestAccess(t *testing.T) {
	t.Parallel()
	const (
		ok     = ""
		role   = "ROLE_NOT_ALLOWED"
		other  = "OTHER_ORGANIZATION"
		denied = fault.PermissionDenied
	)
	w := setup(t)
	credentials := map[string]string{
		"operator":  w.keys.add(t, accessv1.Role_ROLE_OPERATOR, ""),
		"admin":     w.keys.add(t, accessv1.Role_ROLE_ADMIN, "acme"),
		"viewer":    w.keys.add(t, accessv1.Role_ROLE_VIEWER, "acme"),
		"publisher": w.keys.add(t, accessv1.Role_ROLE_PUBLISHER, "acme"),
		"service":   serviceToken,
	}
	wants := map[string]map[string][3]string{ // by caller and method: in its own organization, in another, in all
		"operator": {
			"create": {ok, ok, ok}, "update": {ok, ok, ok}, "list": {ok, ok, ok}, "publish": {ok, ok, ok}, "watch": {role, role, role},
		},
		"admin": {
			"create": {ok, other, other}, "update": {ok, other, other}, "list": {ok, other, other},
			"publish": {ok, other, other}, "watch": {role, role, role},
		},
		"viewer": {
			"create": {role, role, role}, "update": {role, role, role}, "list": {ok, other, other},
			"publish": {role, role, role}, "watch": {role, role, role},
		},
		"publisher": {
			"create": {role, role, role}, "update": {role, role, role}, "list": {role, role, role},
			"publish": {ok, other, other}, "watch": {role, role, role},
		},
		"service": {
			"create": {role, role, role}, "update": {role, role, role}, "list": {role, role, role},
			"publish": {role, role, role}, "watch": {ok, ok, ok},
		},
	}
	made := calls(w)
	for caller, methods := range wants {
		for method, reasons := range methods {
			for i, organization := range []string{"acme", "globex", "-"} {
				err := made[method](as(t, credentials[caller]), organization)
				reached := w.takeCallers()
				if reasons[i] == ok {
					require.NoError(t, err, "%s %s %s", caller, method, organization)
					require.Len(t, reached, 1)
					continue
				}
				f := requireFault(t, err, denied, reasons[i])
				require.NotContains(t, f.Message, organization+" ", "nothing is said of an organization")
				require.Empty(t, reached, "%s %s %s reached the handler", caller, method, organization)
			}
		}
	}
	require.Empty(t, w.log.lines(t), "what callers do wrong is not logged")
}

func TestCallerFrom(t *testing.T) {
	t.Parallel()
	w := setup(t)
	key := w.keys.add(t, accessv1.Role_ROLE_VIEWER, "acme")
	id, _ := sumOf(t, key)
	_, err := w.webhooks.GetWebhook(as(t, key), &subscriptionv1.GetWebhookRequest{Name: webhookName})
	require.NoError(t, err)
	require.Equal(t, []rpc.Caller{{KeyID: id, Role: accessv1.Role_ROLE_VIEWER, Organization: "acme"}}, w.takeCallers())

	require.NoError(t, calls(w)["watch"](as(t, serviceToken), ""))
	require.Equal(t, []rpc.Caller{{Role: accessv1.Role_ROLE_SERVICE}}, w.takeCallers())

	_, ok := rpc.CallerFrom(t.Context())
	require.False(t, ok)
}

func TestCredentialsThatAreNotValid(t *testing.T) {
	t.Parallel()
	w := setup(t)
	key := w.keys.add(t, accessv1.Role_ROLE_ADMIN, "acme")
	_, unknown, _, err := rpc.NewKey()
	require.NoError(t, err)

	texts := map[string]bool{}
	for name, headers := range map[string][]string{
		"unknown id":          {"Bearer " + unknown.Reveal()},
		"wrong secret":        {"Bearer " + otherSecret(t, key)},
		"malformed":           {"Bearer mwk_nonsense"},
		"no scheme":           {key},
		"other scheme":        {"Basic " + key},
		"nothing":             {"Bearer "},
		"empty":               {""},
		"wrong service token": {"Bearer " + serviceToken + "x"},
		"trailing space":      {"Bearer " + serviceToken + " "},
		"two":                 {"Bearer " + key, "Bearer " + key},
	} {
		ctx := metadata.NewOutgoingContext(t.Context(), metadata.MD{"authorization": headers})
		for method, call := range calls(w) {
			f := requireFault(t, call(ctx, "acme"), fault.Unauthenticated, "UNAUTHENTICATED")
			texts[f.Message] = true
			require.Empty(t, w.takeCallers(), "%s reached %s", name, method)
		}
	}
	require.Len(t, texts, 1, "one text, so that nobody learns which ids exist")

	for _, call := range calls(w) {
		requireFault(t, call(t.Context(), "acme"), fault.Unauthenticated, "UNAUTHENTICATED")
	}
	require.Empty(t, w.takeCallers())
}

func TestBearerSchemeInAnyCase(t *testing.T) {
	t.Parallel()
	w := setup(t)
	key := w.keys.add(t, accessv1.Role_ROLE_ADMIN, "acme")
	for _, scheme := range []string{"bearer", "BEARER", "Bearer "} {
		ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", scheme+" "+key)
		require.NoError(t, calls(w)["list"](ctx, "acme"))
	}
}

func TestRevokedKey(t *testing.T) {
	t.Parallel()
	w := setup(t)
	key := w.keys.add(t, accessv1.Role_ROLE_ADMIN, "acme")
	require.NoError(t, calls(w)["list"](as(t, key), "acme"))
	w.keys.fail(fault.New(fault.NotFound, "KEY_NOT_FOUND", "no such key"))
	requireFault(t, calls(w)["list"](as(t, key), "acme"), fault.Unauthenticated, "UNAUTHENTICATED")
}

func TestKeysThatCannotBeLookedUp(t *testing.T) {
	t.Parallel()
	w := setup(t)
	key := w.keys.add(t, accessv1.Role_ROLE_ADMIN, "acme")

	w.keys.fail(fault.New(fault.Unavailable, "CONFIGURATION_STALE", "keys cannot be checked at the moment"))
	requireFault(t, calls(w)["list"](as(t, key), "acme"), fault.Unavailable, "CONFIGURATION_STALE")
	requireFault(t, calls(w)["watch"](as(t, key), "acme"), fault.Unavailable, "CONFIGURATION_STALE")
	require.NoError(t, calls(w)["watch"](as(t, serviceToken), ""), "services need no keys")

	w.keys.fail(errors.New("dial 10.1.2.3: refused"))
	f := requireFault(t, calls(w)["list"](as(t, key), "acme"), fault.Internal, "INTERNAL")
	require.Equal(t, "internal error", f.Message)
}

// A key that was damaged where it is stored must not become one for every organization.
func TestInconsistentKeys(t *testing.T) {
	t.Parallel()
	w := setup(t)
	text := w.keys.add(t, accessv1.Role_ROLE_ADMIN, "acme")
	id, sum := sumOf(t, text)
	for name, key := range map[string]rpc.Key{
		"admin of nothing":     {ID: id, Role: accessv1.Role_ROLE_ADMIN},
		"admin of everything":  {ID: id, Role: accessv1.Role_ROLE_ADMIN, Organization: "-"},
		"service":              {ID: id, Role: accessv1.Role_ROLE_SERVICE},
		"no role":              {ID: id, Organization: "acme"},
		"operator of one":      {ID: id, Role: accessv1.Role_ROLE_OPERATOR, Organization: "acme"},
		"unknown role":         {ID: id, Role: 99, Organization: "acme"},
		"organization no slug": {ID: id, Role: accessv1.Role_ROLE_ADMIN, Organization: "acme/x"},
	} {
		key.SecretSHA256 = sum
		w.keys.put(key)
		for method, call := range calls(w) {
			for _, organization := range []string{"acme", "globex", "-"} {
				requireFault(t, call(as(t, text), organization), fault.Internal, "KEY_INCONSISTENT")
				require.Empty(t, w.takeCallers(), "%s reached %s", name, method)
			}
		}
	}
}

func TestMalformedOrganizationIsInvalid(t *testing.T) {
	t.Parallel()
	w := setup(t)
	for _, key := range []string{
		w.keys.add(t, accessv1.Role_ROLE_OPERATOR, ""), w.keys.add(t, accessv1.Role_ROLE_ADMIN, "acme"),
	} {
		for _, parent := range []string{
			"", "acme", "organizations", "organizations/", "organizations//acme", "/organizations/acme", "organizations/ACME",
			"organizations/a_b", "organizations/" + string(make([]byte, 64)), "teams/acme", "organizations/.",
		} {
			_, err := w.webhooks.ListWebhooks(as(t, key), &subscriptionv1.ListWebhooksRequest{Parent: parent})
			f := requireFault(t, err, fault.InvalidArgument, "INVALID_FIELD")
			require.Equal(t, "parent", f.Fields[0].Path)
		}
		for _, request := range []*subscriptionv1.UpdateWebhookRequest{{}, {Webhook: &subscriptionv1.Webhook{}}} {
			_, err := w.webhooks.UpdateWebhook(as(t, key), request)
			f := requireFault(t, err, fault.InvalidArgument, "INVALID_FIELD")
			require.Equal(t, "webhook.name", f.Fields[0].Path)
		}
	}
	require.Empty(t, w.takeCallers())
}

// A caller that may not ask about an organization learns nothing else about the request.
func TestAccessComesBeforeValidation(t *testing.T) {
	t.Parallel()
	w := setup(t)
	key := w.keys.add(t, accessv1.Role_ROLE_ADMIN, "acme")
	_, err := w.webhooks.ListWebhooks(as(t, key), &subscriptionv1.ListWebhooksRequest{Parent: "organizations/globex", PageSize: 1001})
	requireFault(t, err, fault.PermissionDenied, "OTHER_ORGANIZATION")
	_, err = w.webhooks.ListWebhooks(t.Context(), &subscriptionv1.ListWebhooksRequest{PageSize: 1001})
	requireFault(t, err, fault.Unauthenticated, "UNAUTHENTICATED")
}

func TestMethodsWithoutARuleAreRefused(t *testing.T) {
	t.Parallel()
	w := setupWith(t, func(server *grpc.Server) {
		channelzv1.RegisterChannelzServer(server, channelzv1.UnimplementedChannelzServer{}) // described, without rules
		server.RegisterService(&grpc.ServiceDesc{
			ServiceName: "meetwire.unknown.v1.Nowhere", // not described at all
			HandlerType: (*any)(nil),
			Methods: []grpc.MethodDesc{{MethodName: "Do", Handler: func(_ any, ctx context.Context, decode func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
				request := new(emptypb.Empty)
				if err := decode(request); err != nil {
					return nil, err
				}
				info := &grpc.UnaryServerInfo{FullMethod: "/meetwire.unknown.v1.Nowhere/Do"}
				return interceptor(ctx, request, info, func(context.Context, any) (any, error) { return request, nil })
			}}},
		}, struct{}{})
	})
	for _, credential := range []string{w.keys.add(t, accessv1.Role_ROLE_OPERATOR, ""), serviceToken} {
		_, err := channelzv1.NewChannelzClient(w.conn).GetServers(as(t, credential), &channelzv1.GetServersRequest{})
		requireFault(t, err, fault.PermissionDenied, "METHOD_NOT_OPEN")
		err = w.conn.Invoke(as(t, credential), "/meetwire.unknown.v1.Nowhere/Do", &emptypb.Empty{}, &emptypb.Empty{})
		requireFault(t, err, fault.PermissionDenied, "METHOD_NOT_OPEN")
	}
	require.Zero(t, w.keys.asked)
}

func TestServerWithoutServiceTokenKnowsNoServices(t *testing.T) {
	t.Parallel()
	w := setup(t, func(c *rpc.ServerConfig) { c.ServiceToken = secret.String{} })
	for _, credential := range []string{serviceToken, "x", secret.String{}.String()} {
		requireFault(t, calls(w)["watch"](as(t, credential), ""), fault.Unauthenticated, "UNAUTHENTICATED")
	}
}

func TestServerWithoutKeys(t *testing.T) {
	t.Parallel()
	w := setup(t, func(c *rpc.ServerConfig) { c.Keys = nil })
	requireFault(t, calls(w)["list"](as(t, w.keys.add(t, accessv1.Role_ROLE_ADMIN, "acme")), "acme"), fault.Unauthenticated, "UNAUTHENTICATED")
	require.NoError(t, calls(w)["watch"](as(t, serviceToken), ""))
}

func TestDialWithServiceToken(t *testing.T) {
	t.Parallel()
	w := setup(t)
	conn := dial(t, w.address, rpc.WithServiceToken(secret.New(serviceToken)))
	stream, err := configv1.NewConfigServiceClient(conn).WatchConfig(t.Context(), &configv1.WatchConfigRequest{AfterRevision: 3})
	require.NoError(t, err)
	response, err := stream.Recv()
	require.NoError(t, err)
	require.EqualValues(t, 3, response.GetHeartbeat().GetRevision())
}

// catalogue is a public method.
type catalogue struct {
	subscriptionv1.UnimplementedTriggerServiceServer

	callers int
}

func (c *catalogue) ListCatalogue(ctx context.Context, _ *subscriptionv1.ListCatalogueRequest) (*subscriptionv1.ListCatalogueResponse, error) {
	if _, ok := rpc.CallerFrom(ctx); ok {
		c.callers++
	}
	return &subscriptionv1.ListCatalogueResponse{Dialect: "standard"}, nil
}

func TestPublicMethodNeedsNoKeyAndIsChecked(t *testing.T) {
	t.Parallel()
	service := &catalogue{}
	w := setupWith(t, func(server *grpc.Server) { subscriptionv1.RegisterTriggerServiceServer(server, service) })
	client := subscriptionv1.NewTriggerServiceClient(w.conn)
	for _, ctx := range []context.Context{
		t.Context(), as(t, w.keys.add(t, accessv1.Role_ROLE_PUBLISHER, "acme")), as(t, "nonsense"),
	} {
		answer, err := client.ListCatalogue(ctx, &subscriptionv1.ListCatalogueRequest{})
		require.NoError(t, err)
		require.Equal(t, "standard", answer.GetDialect())
	}
	require.Zero(t, service.callers, "the caller of a public method is nobody")
	_, err := client.ListCatalogue(t.Context(), &subscriptionv1.ListCatalogueRequest{Dialect: strings.Repeat("x", 33)})
	require.Equal(t, codes.InvalidArgument, status.Code(err))
}

func TestContextOfTheHandler(t *testing.T) {
	t.Parallel()
	type mark struct{}
	w := setup(t, func(c *rpc.ServerConfig) {
		c.Context = func(ctx context.Context) context.Context {
			caller, _ := rpc.CallerFrom(ctx)
			return context.WithValue(ctx, mark{}, caller.Organization)
		}
	})
	seen := make(chan any, 2)
	w.get = func(ctx context.Context, _ *subscriptionv1.GetWebhookRequest) (*subscriptionv1.Webhook, error) {
		seen <- ctx.Value(mark{})
		return &subscriptionv1.Webhook{}, nil
	}
	w.watch = func(_ *configv1.WatchConfigRequest, stream grpc.ServerStreamingServer[configv1.WatchConfigResponse]) error {
		seen <- stream.Context().Value(mark{})
		return stream.Send(&configv1.WatchConfigResponse{})
	}
	_, err := w.webhooks.GetWebhook(as(t, w.keys.add(t, accessv1.Role_ROLE_VIEWER, "acme")), &subscriptionv1.GetWebhookRequest{Name: webhookName})
	require.NoError(t, err)
	require.Equal(t, "acme", <-seen)
	require.NoError(t, calls(w)["watch"](as(t, serviceToken), ""))
	require.Empty(t, <-seen)
}
