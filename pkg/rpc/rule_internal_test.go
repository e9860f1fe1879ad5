package rpc

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/meetwire/meetwire/pkg/fault"
	accessv1 "github.com/meetwire/meetwire/proto/gen/meetwire/access/v1"
	_ "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	_ "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	_ "github.com/meetwire/meetwire/proto/gen/meetwire/ingest/v1"
	subscriptionv1 "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
)

// Every method of ours can be called by somebody, and no method lets a caller of one organization in without
// looking at which organization the request is about.
func TestEveryMethodHasARule(t *testing.T) {
	t.Parallel()
	methods := 0
	protoregistry.GlobalFiles.RangeFiles(func(file protoreflect.FileDescriptor) bool {
		if !strings.HasPrefix(string(file.Package()), "meetwire.") {
			return true
		}
		for i := range file.Services().Len() {
			service := file.Services().Get(i)
			for j := range service.Methods().Len() {
				method := service.Methods().Get(j)
				methods++
				r := ruleOf("/" + string(service.FullName()) + "/" + string(method.Name()))
				require.False(t, r.open, method.FullName())
				if belongsToNobody(method.FullName()) {
					continue
				}
				require.NotZero(t, r.roles, method.FullName())
				ofOneOrganization := slices.ContainsFunc([]accessv1.Role{
					accessv1.Role_ROLE_ADMIN, accessv1.Role_ROLE_VIEWER, accessv1.Role_ROLE_PUBLISHER,
				}, r.allows)
				if ofOneOrganization {
					require.NotEmpty(t, r.field, method.FullName())
				}
			}
		}
		return true
	})
	require.GreaterOrEqual(t, methods, 20)
}

// belongsToNobody reports whether a method returns only what is no organization's: such a one may be called without
// saying which organization it is about. Whoever adds one to this list has looked at what it returns.
func belongsToNobody(method protoreflect.FullName) bool {
	switch method {
	case "meetwire.subscription.v1.PlanService.GetPlan", "meetwire.subscription.v1.PlanService.ListPlans",
		"meetwire.subscription.v1.TriggerService.ListCatalogue":
		return true
	}
	return false
}

func TestRuleOfAPublicMethod(t *testing.T) {
	t.Parallel()
	r := ruleOf("/meetwire.subscription.v1.TriggerService/ListCatalogue")
	require.True(t, r.public)
	require.False(t, r.open, "its requests are checked")
	require.Zero(t, r.roles)
}

func TestRuleOf(t *testing.T) {
	t.Parallel()
	r := ruleOf("/meetwire.subscription.v1.WebhookService/UpdateWebhook")
	require.True(t, r.allows(accessv1.Role_ROLE_OPERATOR))
	require.True(t, r.allows(accessv1.Role_ROLE_ADMIN))
	for _, role := range []accessv1.Role{0, accessv1.Role_ROLE_VIEWER, accessv1.Role_ROLE_PUBLISHER, accessv1.Role_ROLE_SERVICE, 63, 64, 99} {
		require.False(t, r.allows(role), role)
	}
	require.Equal(t, "a/b", r.resourceName((&subscriptionv1.UpdateWebhookRequest{
		Webhook: &subscriptionv1.Webhook{Name: "a/b"},
	}).ProtoReflect()))
	require.Empty(t, r.resourceName((&subscriptionv1.UpdateWebhookRequest{}).ProtoReflect()))

	for _, method := range []string{
		"", "/", "x", "/meetwire.subscription.v1.WebhookService", "/meetwire.subscription.v1.WebhookService/", "/x.y/z",
		"/meetwire.subscription.v1.WebhookService/Nothing", "/meetwire.subscription.v1.Webhook/UpdateWebhook",
		"/grpc.health.v1.Healthy/Check",
	} {
		r := ruleOf(method)
		require.Zero(t, r.roles, method)
		require.False(t, r.open, method)
	}
	require.True(t, ruleOf("/grpc.health.v1.Health/Check").open)
}

// A rule that makes no sense closes its method.
func TestRulesThatMakeNoSense(t *testing.T) {
	t.Parallel()
	operator := []accessv1.Role{accessv1.Role_ROLE_OPERATOR}
	for name, declared := range map[string]*accessv1.Rule{
		"no roles":           {},
		"unspecified role":   {Roles: []accessv1.Role{accessv1.Role_ROLE_OPERATOR, accessv1.Role_ROLE_UNSPECIFIED}},
		"unknown role":       {Roles: []accessv1.Role{99}},
		"negative role":      {Roles: []accessv1.Role{-1}},
		"no such field":      {Roles: operator, OrganizationField: "nothing"},
		"no such inner one":  {Roles: operator, OrganizationField: "webhook.nothing"},
		"field of a string":  {Roles: operator, OrganizationField: "parent.name"},
		"field not a string": {Roles: operator, OrganizationField: "webhook"},
		"field of a list":    {Roles: operator, OrganizationField: "webhook.triggers"},
		"empty segment":      {Roles: operator, OrganizationField: "webhook."},
	} {
		require.Zero(t, compileRule(methodWith(t, declared)).roles, name)
	}
	for name, declared := range map[string]*accessv1.Rule{
		"public and for roles":              {Public: true, Roles: operator},
		"public and about one organization": {Public: true, OrganizationField: "webhook.name"},
	} {
		require.Equal(t, rule{}, compileRule(methodWith(t, declared)), name)
	}
	require.NotZero(t, compileRule(methodWith(t, &accessv1.Rule{Roles: operator, OrganizationField: "webhook.name"})).roles)
}

// Only an operator may ask about all organizations at once; a service may not, wherever a rule lets it in.
func TestAllOrganizationsAreForOperators(t *testing.T) {
	t.Parallel()
	r := ruleOf("/meetwire.subscription.v1.WebhookService/ListWebhooks")
	for _, test := range []struct {
		caller       Caller
		organization string
		allowed      bool
	}{
		{Caller{Role: accessv1.Role_ROLE_OPERATOR}, "-", true},
		{Caller{Role: accessv1.Role_ROLE_OPERATOR}, "acme", true},
		{Caller{Role: accessv1.Role_ROLE_SERVICE}, "-", false},
		{Caller{Role: accessv1.Role_ROLE_SERVICE}, "acme", true},
		{Caller{Role: accessv1.Role_ROLE_ADMIN, Organization: "acme"}, "-", false},
		{Caller{Role: accessv1.Role_ROLE_ADMIN, Organization: "acme"}, "acme", true},
		{Caller{Role: accessv1.Role_ROLE_ADMIN, Organization: "acme"}, "acme-2", false},
		{Caller{Role: accessv1.Role_ROLE_ADMIN, Organization: "acme-2"}, "acme", false},
	} {
		err := checkOrganization(test.caller, &r, &subscriptionv1.ListWebhooksRequest{Parent: "organizations/" + test.organization})
		require.Equal(t, test.allowed, err == nil, "%+v %s", test.caller, test.organization)
		require.Equal(t, !test.allowed, fault.Is(err, fault.PermissionDenied))
	}
}

// methodWith describes a method that takes a CreateWebhookRequest.
func methodWith(t *testing.T, declared *accessv1.Rule) protoreflect.MethodDescriptor {
	t.Helper()
	options := &descriptorpb.MethodOptions{}
	proto.SetExtension(options, accessv1.E_Rule, declared)
	request := "." + string((&subscriptionv1.CreateWebhookRequest{}).ProtoReflect().Descriptor().FullName())
	file, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name:       proto.String("test.proto"),
		Package:    proto.String("test"),
		Syntax:     proto.String("proto3"),
		Dependency: []string{subscriptionv1.File_meetwire_subscription_v1_webhook_proto.Path()},
		Service: []*descriptorpb.ServiceDescriptorProto{{
			Name: proto.String("Service"),
			Method: []*descriptorpb.MethodDescriptorProto{{
				Name: proto.String("Do"), InputType: &request, OutputType: &request, Options: options,
			}},
		}},
	}, protoregistry.GlobalFiles)
	require.NoError(t, err)
	return file.Services().Get(0).Methods().Get(0)
}
