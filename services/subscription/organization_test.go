package subscription_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/meetwire/meetwire/pkg/secret"
	accessv1 "github.com/meetwire/meetwire/proto/gen/meetwire/access/v1"
	subscriptionv1 "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
)

func TestOrganizationIsCreatedAndRead(t *testing.T) {
	t.Parallel()
	i := setup(t)
	operator := i.operator(t)
	created, err := operator.organizations.CreateOrganization(t.Context(), &subscriptionv1.CreateOrganizationRequest{
		OrganizationId: "acme", Organization: &subscriptionv1.Organization{DisplayName: "Ακμή 会议 ✨", AllowHttp: true},
	})
	require.NoError(t, err)
	require.Equal(t, "organizations/acme", created.GetName())
	require.Equal(t, "Ακμή 会议 ✨", created.GetDisplayName())
	require.True(t, created.GetAllowHttp())
	require.NotNil(t, created.GetCreateTime())

	for _, role := range []accessv1.Role{accessv1.Role_ROLE_ADMIN, accessv1.Role_ROLE_VIEWER} {
		read, err := i.as(t, operator.key(t, "acme", role)).organizations.GetOrganization(t.Context(),
			&subscriptionv1.GetOrganizationRequest{Name: "organizations/acme"})
		require.NoError(t, err)
		require.True(t, proto.Equal(created, read), "%v", read)
	}
	_, err = operator.organizations.GetOrganization(t.Context(), &subscriptionv1.GetOrganizationRequest{Name: "organizations/nobody"})
	requireCode(t, err, codes.NotFound)
}

func TestOrganizationRefusesWhatIsInvalid(t *testing.T) {
	t.Parallel()
	i := setup(t)
	operator := i.operator(t)
	create := func(slug, name string) error {
		_, err := operator.organizations.CreateOrganization(t.Context(), &subscriptionv1.CreateOrganizationRequest{
			OrganizationId: slug, Organization: &subscriptionv1.Organization{DisplayName: name},
		})
		return err
	}
	for _, slug := range []string{"", "-", "Acme", "a_b", "a/b", "a\x00b", "ä", strings.Repeat("a", 64)} {
		requireField(t, create(slug, "x"), "organization_id", "")
	}
	requireField(t, create("-", "x"), "organization_id", "all organizations")
	for name, says := range map[string]string{"": "1", "   ": "200", "a\x00b": "control", strings.Repeat("é", 201): "200"} {
		requireField(t, create("acme", name), "organization.display_name", says)
	}
	_, err := operator.organizations.CreateOrganization(t.Context(), &subscriptionv1.CreateOrganizationRequest{OrganizationId: "acme"})
	requireField(t, err, "organization", "")

	require.NoError(t, create("acme", strings.Repeat("é", 200)))
	s := requireCode(t, create("acme", "again"), codes.AlreadyExists)
	require.Contains(t, s.Message(), "organizations/acme")
}

func TestSlugIsNotUsedAgainAfterItsOrganizationIsGone(t *testing.T) {
	t.Parallel()
	i := setup(t)
	operator := i.operator(t)
	operator.organization(t, "acme", false)
	_, err := i.pool.Exec(t.Context(), "UPDATE subscription.organization SET delete_time = now() WHERE id = 'acme'")
	require.NoError(t, err)

	_, err = operator.organizations.GetOrganization(t.Context(), &subscriptionv1.GetOrganizationRequest{Name: "organizations/acme"})
	requireCode(t, err, codes.NotFound)
	_, err = operator.organizations.CreateOrganization(t.Context(), &subscriptionv1.CreateOrganizationRequest{
		OrganizationId: "acme", Organization: &subscriptionv1.Organization{DisplayName: "again"},
	})
	requireCode(t, err, codes.AlreadyExists)
	_, err = operator.webhooks.CreateWebhook(t.Context(), &subscriptionv1.CreateWebhookRequest{Parent: "organizations/acme", Webhook: booking()})
	requireCode(t, err, codes.NotFound)
}

func TestOrganizationIsCreatedOnceByManyAtOnce(t *testing.T) {
	t.Parallel()
	i := setup(t)
	operator := i.operator(t)
	before := i.revision(t)
	errs := make([]error, 10)
	var callers sync.WaitGroup
	for n := range errs {
		callers.Go(func() {
			_, errs[n] = operator.organizations.CreateOrganization(t.Context(), &subscriptionv1.CreateOrganizationRequest{
				OrganizationId: "acme", Organization: &subscriptionv1.Organization{DisplayName: fmt.Sprint(n)},
			})
		})
	}
	callers.Wait()
	created := 0
	for _, err := range errs {
		if err == nil {
			created++
			continue
		}
		requireCode(t, err, codes.AlreadyExists)
	}
	require.Equal(t, 1, created)
	require.Equal(t, before+1, i.revision(t), "what was refused is not in the feed")
}

func TestOrganizationsAreListedBySlug(t *testing.T) {
	t.Parallel()
	i := setup(t)
	operator := i.operator(t)
	want := []string{"-a", "0", "a", "a-b", "a0", "ab", "z"}
	for n := range want {
		operator.organization(t, want[(n*3)%len(want)], false)
	}
	var got []string
	req := &subscriptionv1.ListOrganizationsRequest{PageSize: 3}
	for pages := 1; ; pages++ {
		answer, err := operator.organizations.ListOrganizations(t.Context(), req)
		require.NoError(t, err)
		for _, o := range answer.GetOrganizations() {
			got = append(got, strings.TrimPrefix(o.GetName(), "organizations/"))
		}
		if req.PageToken = answer.GetNextPageToken(); req.GetPageToken() == "" {
			require.Equal(t, 3, pages)
			break
		}
	}
	require.Equal(t, want, got)

	for _, token := range []string{"x", "e30", strings.Repeat("A", 5000), "\x00"} {
		_, err := operator.organizations.ListOrganizations(t.Context(), &subscriptionv1.ListOrganizationsRequest{PageToken: token})
		requireField(t, err, "page_token", "")
	}
	for _, size := range []int32{-1, 1001} {
		_, err := operator.organizations.ListOrganizations(t.Context(), &subscriptionv1.ListOrganizationsRequest{PageSize: size})
		requireField(t, err, "page_size", "")
	}
}

func TestOrganizationsAreForOperators(t *testing.T) {
	t.Parallel()
	i := setup(t)
	operator := i.operator(t)
	operator.organization(t, "acme", false)
	operator.organization(t, "other", false)
	admin := i.as(t, operator.key(t, "acme", accessv1.Role_ROLE_ADMIN))

	_, err := admin.organizations.CreateOrganization(t.Context(), &subscriptionv1.CreateOrganizationRequest{
		OrganizationId: "mine", Organization: &subscriptionv1.Organization{DisplayName: "x"},
	})
	requireCode(t, err, codes.PermissionDenied)
	_, err = admin.organizations.ListOrganizations(t.Context(), &subscriptionv1.ListOrganizationsRequest{})
	requireCode(t, err, codes.PermissionDenied)
	for _, name := range []string{"organizations/other", "organizations/nobody"} {
		_, err = admin.organizations.GetOrganization(t.Context(), &subscriptionv1.GetOrganizationRequest{Name: name})
		requireCode(t, err, codes.PermissionDenied)
	}
	for _, credential := range []secret.String{secret.New(""), secret.New("mwk_x"), secret.New(i.operatorKey.Reveal() + "x")} {
		_, err = i.as(t, credential).organizations.ListOrganizations(t.Context(), &subscriptionv1.ListOrganizationsRequest{})
		requireCode(t, err, codes.Unauthenticated)
	}
	_, err = i.as(t, i.serviceToken).organizations.ListOrganizations(t.Context(), &subscriptionv1.ListOrganizationsRequest{})
	requireCode(t, err, codes.PermissionDenied)
}
