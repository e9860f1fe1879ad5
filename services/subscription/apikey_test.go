package subscription_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/meetwire/meetwire/pkg/secret"
	accessv1 "github.com/meetwire/meetwire/proto/gen/meetwire/access/v1"
	subscriptionv1 "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
)

func TestAPIKeyWorksUntilItIsRevoked(t *testing.T) {
	t.Parallel()
	i := setup(t)
	operator := i.operator(t)
	operator.organization(t, "acme", false)
	k, err := operator.apiKeys.CreateApiKey(t.Context(), &subscriptionv1.CreateApiKeyRequest{
		Parent: "organizations/acme",
		ApiKey: &subscriptionv1.ApiKey{DisplayName: "CI ✨", Role: accessv1.Role_ROLE_ADMIN},
	})
	require.NoError(t, err)
	require.Regexp(t, `^organizations/acme/apiKeys/[0-9a-z]{16}$`, k.GetName())
	require.Regexp(t, `^mwk_[0-9a-z]{16}_[0-9A-Za-z_-]{43}$`, k.GetKey())

	admin := i.as(t, secret.New(k.GetKey()))
	get := &subscriptionv1.GetOrganizationRequest{Name: "organizations/acme"}
	_, err = admin.organizations.GetOrganization(t.Context(), get)
	require.NoError(t, err)

	listed, err := admin.apiKeys.ListApiKeys(t.Context(), &subscriptionv1.ListApiKeysRequest{Parent: "organizations/acme"})
	require.NoError(t, err)
	require.Len(t, listed.GetApiKeys(), 1, "the operator's key is nobody's")
	require.Equal(t, "CI ✨", listed.GetApiKeys()[0].GetDisplayName())
	require.Equal(t, accessv1.Role_ROLE_ADMIN, listed.GetApiKeys()[0].GetRole())
	require.Equal(t, k.GetCreateTime().AsTime(), listed.GetApiKeys()[0].GetCreateTime().AsTime())
	require.Empty(t, listed.GetApiKeys()[0].GetKey())

	_, err = admin.apiKeys.DeleteApiKey(t.Context(), &subscriptionv1.DeleteApiKeyRequest{Name: k.GetName()})
	require.NoError(t, err, "a key may revoke itself")
	_, err = admin.organizations.GetOrganization(t.Context(), get)
	requireCode(t, err, codes.Unauthenticated)
	_, err = operator.apiKeys.DeleteApiKey(t.Context(), &subscriptionv1.DeleteApiKeyRequest{Name: k.GetName()})
	requireCode(t, err, codes.NotFound)
}

func TestAPIKeyRefusesWhatIsInvalid(t *testing.T) {
	t.Parallel()
	i := setup(t)
	operator := i.operator(t)
	operator.organization(t, "acme", false)
	create := func(parent, name string, role accessv1.Role) error {
		_, err := operator.apiKeys.CreateApiKey(t.Context(), &subscriptionv1.CreateApiKeyRequest{
			Parent: parent, ApiKey: &subscriptionv1.ApiKey{DisplayName: name, Role: role},
		})
		return err
	}
	before := i.revision(t)
	for _, role := range []accessv1.Role{0, accessv1.Role_ROLE_OPERATOR, accessv1.Role_ROLE_SERVICE, 17, -1} {
		requireField(t, create("organizations/acme", "x", role), "api_key.role", "")
	}
	for name, says := range map[string]string{"": "1", " ": "200", "\x00": "control", strings.Repeat("x", 201): "200"} {
		requireField(t, create("organizations/acme", name, accessv1.Role_ROLE_VIEWER), "api_key.display_name", says)
	}
	requireField(t, create("acme", "x", accessv1.Role_ROLE_VIEWER), "parent", "")
	requireCode(t, create("organizations/nobody", "x", accessv1.Role_ROLE_VIEWER), codes.NotFound)
	_, err := operator.apiKeys.ListApiKeys(t.Context(), &subscriptionv1.ListApiKeysRequest{Parent: "organizations/nobody"})
	requireCode(t, err, codes.NotFound)
	require.Equal(t, before, i.revision(t))
}

func TestAPIKeysOfOthersAreOutOfReach(t *testing.T) {
	t.Parallel()
	i := setup(t)
	operator := i.operator(t)
	operator.organization(t, "acme", false)
	operator.organization(t, "other", false)
	admin := i.as(t, operator.key(t, "acme", accessv1.Role_ROLE_ADMIN))
	others := operator.key(t, "other", accessv1.Role_ROLE_ADMIN)
	id := strings.Split(others.Reveal(), "_")[1]
	operatorID := strings.Split(i.operatorKey.Reveal(), "_")[1]

	_, err := admin.apiKeys.DeleteApiKey(t.Context(), &subscriptionv1.DeleteApiKeyRequest{Name: "organizations/other/apiKeys/" + id})
	requireCode(t, err, codes.PermissionDenied)
	for _, name := range []string{"organizations/acme/apiKeys/" + id, "organizations/acme/apiKeys/" + operatorID} {
		_, err = admin.apiKeys.DeleteApiKey(t.Context(), &subscriptionv1.DeleteApiKeyRequest{Name: name})
		requireCode(t, err, codes.NotFound)
		_, err = operator.apiKeys.DeleteApiKey(t.Context(), &subscriptionv1.DeleteApiKeyRequest{Name: name})
		requireCode(t, err, codes.NotFound)
	}
	_, err = i.as(t, others).organizations.GetOrganization(t.Context(), &subscriptionv1.GetOrganizationRequest{Name: "organizations/other"})
	require.NoError(t, err, "it still works")

	for _, role := range []accessv1.Role{accessv1.Role_ROLE_VIEWER, accessv1.Role_ROLE_PUBLISHER} {
		low := i.as(t, operator.key(t, "acme", role))
		_, err = low.apiKeys.ListApiKeys(t.Context(), &subscriptionv1.ListApiKeysRequest{Parent: "organizations/acme"})
		requireCode(t, err, codes.PermissionDenied)
	}
}

func TestAPIKeysAreListedOldestFirst(t *testing.T) {
	t.Parallel()
	i := setup(t)
	operator := i.operator(t)
	operator.organization(t, "acme", false)
	var want []string
	for n := range 7 {
		name := fmt.Sprintf("key %d", n)
		want = append(want, name)
		_, err := operator.apiKeys.CreateApiKey(t.Context(), &subscriptionv1.CreateApiKeyRequest{
			Parent: "organizations/acme",
			ApiKey: &subscriptionv1.ApiKey{DisplayName: name, Role: accessv1.Role_ROLE_PUBLISHER},
		})
		require.NoError(t, err)
	}
	var got []string
	req := &subscriptionv1.ListApiKeysRequest{Parent: "organizations/acme", PageSize: 2}
	for {
		answer, err := operator.apiKeys.ListApiKeys(t.Context(), req)
		require.NoError(t, err)
		require.LessOrEqual(t, len(answer.GetApiKeys()), 2)
		for _, k := range answer.GetApiKeys() {
			got = append(got, k.GetDisplayName())
		}
		if req.PageToken = answer.GetNextPageToken(); req.GetPageToken() == "" {
			break
		}
	}
	require.Equal(t, want, got)
}

func TestAPIKeyExpires(t *testing.T) {
	t.Parallel()
	i := setup(t)
	operator := i.operator(t)
	operator.organization(t, "acme", false)
	create := func(expires *timestamppb.Timestamp) (*subscriptionv1.ApiKey, error) {
		return operator.apiKeys.CreateApiKey(t.Context(), &subscriptionv1.CreateApiKeyRequest{
			Parent: "organizations/acme",
			ApiKey: &subscriptionv1.ApiKey{DisplayName: "CI", Role: accessv1.Role_ROLE_ADMIN, ExpireTime: expires},
		})
	}
	for _, at := range []*timestamppb.Timestamp{
		{}, {Seconds: -62135596800}, {Seconds: -62135596801}, {Seconds: 253402300800}, {Nanos: -1},
		timestamppb.New(time.Now().Add(-time.Second)),
	} {
		_, err := create(at)
		requireField(t, err, "api_key.expire_time", "")
	}
	s := i.watch(t, i.revision(t))
	expires := time.Now().Add(6 * time.Second).UTC().Truncate(time.Microsecond)
	k, err := create(timestamppb.New(expires))
	require.NoError(t, err)
	require.Equal(t, expires, k.GetExpireTime().AsTime())
	require.Equal(t, expires, s.change(t).GetResources()[0].GetApiKey().GetExpireTime().AsTime())
	got, err := operator.apiKeys.GetApiKey(t.Context(), &subscriptionv1.GetApiKeyRequest{Name: k.GetName()})
	require.NoError(t, err)
	require.Equal(t, expires, got.GetExpireTime().AsTime())
	admin := i.as(t, secret.New(k.GetKey()))
	get := &subscriptionv1.GetOrganizationRequest{Name: "organizations/acme"}
	_, err = admin.organizations.GetOrganization(t.Context(), get)
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		_, err := admin.organizations.GetOrganization(t.Context(), get)
		return status.Code(err) == codes.Unauthenticated && !time.Now().Before(expires)
	}, patience, poll)
	_, err = operator.apiKeys.GetApiKey(t.Context(), &subscriptionv1.GetApiKeyRequest{Name: k.GetName()})
	require.NoError(t, err, "it is still listed")
}

func TestRepeatedRequestMakesOneAPIKey(t *testing.T) {
	t.Parallel()
	i := setup(t)
	operator := i.operator(t)
	operator.organization(t, "acme", false)
	req := &subscriptionv1.CreateApiKeyRequest{
		Parent: "organizations/acme", RequestId: uuid.NewString(),
		ApiKey: &subscriptionv1.ApiKey{DisplayName: "CI", Role: accessv1.Role_ROLE_VIEWER},
	}
	var answers sync.Map
	var calls sync.WaitGroup
	for range 10 {
		calls.Go(func() {
			k, err := operator.apiKeys.CreateApiKey(t.Context(), req)
			if assert.NoError(t, err) {
				answers.Store(k.GetKey(), k.GetName())
			}
		})
	}
	calls.Wait()
	names, keys := map[any]bool{}, 0
	answers.Range(func(key, name any) bool {
		names[name] = true
		if key != "" {
			keys++
		}
		return true
	})
	require.Len(t, names, 1)
	require.Equal(t, 1, keys, "the key itself is shown once")
	req.ApiKey.DisplayName = "other"
	_, err := operator.apiKeys.CreateApiKey(t.Context(), req)
	requireField(t, err, "request_id", "24 hours")
	listed, err := operator.apiKeys.ListApiKeys(t.Context(), &subscriptionv1.ListApiKeysRequest{Parent: "organizations/acme"})
	require.NoError(t, err)
	require.Len(t, listed.GetApiKeys(), 1)
	require.Len(t, operator.entries(t, "acme", "resource = \""+listed.GetApiKeys()[0].GetName()+"\""), 1)
}
