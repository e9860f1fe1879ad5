package subscription_test

import (
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	accessv1 "github.com/meetwire/meetwire/proto/gen/meetwire/access/v1"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	operationv1 "github.com/meetwire/meetwire/proto/gen/meetwire/operation/v1"
	subscriptionv1 "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
)

// erasure is an action that another service reports.
func erasure(t *testing.T) *configv1.RecordActionRequest {
	t.Helper()
	details, err := structpb.NewStruct(map[string]any{"subject": "b\x00k_1", "list": []any{"\x00", 1.0}})
	require.NoError(t, err)
	return &configv1.RecordActionRequest{
		Id: uuid.NewString(), Time: timestamppb.New(time.Now()), Organization: "acme",
		Actor: "apiKeys/k1", Role: accessv1.Role_ROLE_ADMIN, Address: "192.0.2.1", ForwardedFor: "2001:db8::1\n", UserAgent: "curl",
		Action: "erase", Resource: "organizations/acme/events/7", Details: details,
	}
}

func TestActionsOfOtherServicesAreInTheAuditLog(t *testing.T) {
	t.Parallel()
	i := setup(t)
	operator := i.operator(t)
	operator.organization(t, "acme", false)
	service := i.as(t, i.serviceToken)
	begun := erasure(t)
	for range 3 {
		_, err := service.config.RecordAction(t.Context(), begun)
		require.NoError(t, err)
	}
	entries := operator.entries(t, "acme", "action = erase")
	require.Len(t, entries, 1, "once, however often it is repeated")
	e := entries[0]
	require.Equal(t, "organizations/acme/auditLogEntries/"+begun.GetId(), e.GetName())
	require.Equal(t, begun.GetTime().AsTime().Truncate(time.Microsecond), e.GetCreateTime().AsTime())
	require.Equal(t, "apiKeys/k1", e.GetActor())
	require.Equal(t, accessv1.Role_ROLE_ADMIN, e.GetRole())
	require.Equal(t, "192.0.2.1", e.GetAddress())
	require.Equal(t, "2001:db8::1", e.GetForwardedFor())
	require.Equal(t, "curl", e.GetUserAgent())
	require.Equal(t, "organizations/acme/events/7", e.GetResource())
	require.Nil(t, e.GetBefore())
	require.Equal(t, map[string]any{"subject": "b\ufffdk_1", "list": []any{"\ufffd", 1.0}}, e.GetAfter().AsMap())
	for _, action := range []string{"replay", "backfill", "resubmit", "resend", "retry", "purge", "cancel", "resume"} {
		other := erasure(t)
		other.Action, other.Organization, other.Resource, other.Actor, other.Details = action, "", "organizations/-", "system", nil
		_, err := service.config.RecordAction(t.Context(), other)
		require.NoError(t, err, action)
	}
	require.Len(t, operator.entries(t, "-", "resource = \"organizations/-\""), 8)
}

func TestActionsThatCannotBeRecorded(t *testing.T) {
	t.Parallel()
	i := setup(t)
	operator := i.operator(t)
	operator.organization(t, "acme", false)
	operator.organization(t, "gone", false)
	_, err := operator.organizations.DeleteOrganization(t.Context(), &subscriptionv1.DeleteOrganizationRequest{Name: "organizations/gone"})
	require.NoError(t, err)
	service := i.as(t, i.serviceToken)
	large, err := structpb.NewStruct(map[string]any{"text": strings.Repeat("x", 64<<10)})
	require.NoError(t, err)
	for field, change := range map[string][]func(r *configv1.RecordActionRequest){
		"id":           {func(r *configv1.RecordActionRequest) { r.Id = "" }, func(r *configv1.RecordActionRequest) { r.Id = "x" }},
		"time":         {func(r *configv1.RecordActionRequest) { r.Time = nil }, func(r *configv1.RecordActionRequest) { r.Time = &timestamppb.Timestamp{Seconds: 1 << 60} }},
		"organization": {func(r *configv1.RecordActionRequest) { r.Organization = "A b" }},
		"actor": {
			func(r *configv1.RecordActionRequest) { r.Actor = "" }, func(r *configv1.RecordActionRequest) { r.Actor = "root" },
			func(r *configv1.RecordActionRequest) { r.Actor = "apiKeys/é" },
		},
		"action": {func(r *configv1.RecordActionRequest) { r.Action = "" }, func(r *configv1.RecordActionRequest) { r.Action = "Erase" }},
		"resource": {
			func(r *configv1.RecordActionRequest) { r.Resource = "" }, func(r *configv1.RecordActionRequest) { r.Resource = "organizations/acmes" },
			func(r *configv1.RecordActionRequest) { r.Resource = "organizations/acme/\x00" },
			func(r *configv1.RecordActionRequest) { r.Resource = "organizations/acme/" + strings.Repeat("x", 1024) },
		},
		"details": {func(r *configv1.RecordActionRequest) { r.Details = large }},
	} {
		for n, change := range change {
			r := erasure(t)
			change(r)
			_, err := service.config.RecordAction(t.Context(), r)
			require.Equal(t, codes.InvalidArgument, status.Code(err), "%s %d: %v", field, n, err)
			requireField(t, err, field, "")
		}
	}
	for _, organization := range []string{"gone", "never"} {
		r := erasure(t)
		r.Organization, r.Resource = organization, "organizations/"+organization
		_, err := service.config.RecordAction(t.Context(), r)
		requireCode(t, err, codes.NotFound)
	}
	for _, c := range []*caller{operator, i.as(t, operator.key(t, "acme", accessv1.Role_ROLE_ADMIN))} {
		_, err := c.config.RecordAction(t.Context(), erasure(t))
		requireCode(t, err, codes.PermissionDenied)
	}
	require.False(t, slices.Contains(actions(operator.entries(t, "-", "")), "erase events"))
}

func TestOperationIsWatched(t *testing.T) {
	t.Parallel()
	i := setup(t)
	operator := i.operator(t)
	operator.organization(t, "acme", false)
	begun, err := operator.keyset.ReencryptSecrets(t.Context(), &subscriptionv1.ReencryptSecretsRequest{})
	require.NoError(t, err)
	stream, err := operator.operations.WatchOperation(t.Context(), &operationv1.WatchOperationRequest{Name: begun.GetName()})
	require.NoError(t, err)
	var last *operationv1.Operation
	for {
		next, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		require.False(t, proto.Equal(last, next), "it is told when something has changed")
		last = next
	}
	require.Equal(t, operationv1.Operation_STATE_SUCCEEDED, last.GetState())
	admin := i.as(t, operator.key(t, "acme", accessv1.Role_ROLE_ADMIN))
	stream, err = admin.operations.WatchOperation(t.Context(), &operationv1.WatchOperationRequest{Name: begun.GetName()})
	require.NoError(t, err)
	_, err = stream.Recv()
	requireCode(t, err, codes.PermissionDenied)
}
