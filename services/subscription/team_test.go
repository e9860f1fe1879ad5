package subscription_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	accessv1 "github.com/meetwire/meetwire/proto/gen/meetwire/access/v1"
	subscriptionv1 "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
)

// team makes a team.
func (c *caller) team(t *testing.T, organization, id string) *subscriptionv1.Team {
	t.Helper()
	team, err := c.teams.CreateTeam(t.Context(), &subscriptionv1.CreateTeamRequest{
		Parent: "organizations/" + organization, TeamId: id, Team: &subscriptionv1.Team{DisplayName: "Team " + id},
	})
	require.NoError(t, err)
	return team
}

func TestTeamIsCreatedReadChangedAndDeleted(t *testing.T) {
	t.Parallel()
	i := setupTenant(t)
	created := i.admin.team(t, "acme", "north_1")
	require.Equal(t, "organizations/acme/teams/north_1", created.GetName())
	got, err := i.viewer.teams.GetTeam(t.Context(), &subscriptionv1.GetTeamRequest{Name: created.GetName()})
	require.NoError(t, err)
	require.True(t, proto.Equal(created, got))

	revision := i.revision(t)
	changed, err := i.admin.teams.UpdateTeam(t.Context(), &subscriptionv1.UpdateTeamRequest{
		Team: &subscriptionv1.Team{Name: created.GetName(), DisplayName: "North", Etag: created.GetEtag()},
	})
	require.NoError(t, err)
	require.Equal(t, "North", changed.GetDisplayName())
	require.NotEqual(t, created.GetEtag(), changed.GetEtag())
	require.Equal(t, revision, i.revision(t), "the other services know nothing of teams")
	same, err := i.admin.teams.UpdateTeam(t.Context(), &subscriptionv1.UpdateTeamRequest{Team: changed, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"*"}}})
	require.NoError(t, err)
	require.True(t, proto.Equal(changed, same))
	_, err = i.admin.teams.UpdateTeam(t.Context(), &subscriptionv1.UpdateTeamRequest{
		Team: &subscriptionv1.Team{Name: created.GetName(), DisplayName: "South", Etag: created.GetEtag()},
	})
	requireCode(t, err, codes.Aborted)
	_, err = i.admin.teams.UpdateTeam(t.Context(), &subscriptionv1.UpdateTeamRequest{
		Team: &subscriptionv1.Team{Name: created.GetName()}, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"members"}},
	})
	requireField(t, err, "update_mask", "display_name")

	_, err = i.admin.teams.DeleteTeam(t.Context(), &subscriptionv1.DeleteTeamRequest{Name: created.GetName(), Etag: created.GetEtag()})
	requireCode(t, err, codes.Aborted)
	_, err = i.admin.teams.DeleteTeam(t.Context(), &subscriptionv1.DeleteTeamRequest{Name: created.GetName(), Etag: changed.GetEtag()})
	require.NoError(t, err)
	for _, call := range []func() error{
		func() error {
			_, err := i.admin.teams.GetTeam(t.Context(), &subscriptionv1.GetTeamRequest{Name: created.GetName()})
			return err
		},
		func() error {
			_, err := i.admin.teams.DeleteTeam(t.Context(), &subscriptionv1.DeleteTeamRequest{Name: created.GetName()})
			return err
		},
		func() error {
			_, err := i.admin.teams.UpdateTeam(t.Context(), &subscriptionv1.UpdateTeamRequest{Team: changed})
			return err
		},
	} {
		requireCode(t, call(), codes.NotFound)
	}
	require.Equal(t, []string{"delete teams", "update teams", "create teams"}, actions(i.admin.entries(t, "acme", ""))[:3])
	again := i.admin.team(t, "acme", "north_1")
	require.NotEqual(t, created.GetEtag(), again.GetEtag(), "it is another one")
}

func TestTeamRefusesWhatIsInvalid(t *testing.T) {
	t.Parallel()
	i := setupTenant(t)
	create := func(c *caller, organization, id, name string) error {
		_, err := c.teams.CreateTeam(t.Context(), &subscriptionv1.CreateTeamRequest{
			Parent: "organizations/" + organization, TeamId: id, Team: &subscriptionv1.Team{DisplayName: name},
		})
		return err
	}
	for _, id := range []string{"", "_a", "-a", "A", "a.b", "a b", "ä", strings.Repeat("a", 64)} {
		requireField(t, create(i.admin, "acme", id, "x"), "team_id", "")
	}
	requireField(t, create(i.admin, "acme", "a", " "), "team.display_name", "200")
	require.NoError(t, create(i.admin, "acme", "a", "A"))
	requireCode(t, create(i.admin, "acme", "a", "A"), codes.AlreadyExists)
	requireCode(t, create(i.operator, "nobody", "a", "A"), codes.NotFound)
	requireCode(t, create(i.viewer, "acme", "b", "B"), codes.PermissionDenied)
	i.operator.organization(t, "other", false)
	requireCode(t, create(i.admin, "other", "b", "B"), codes.PermissionDenied)
	require.NoError(t, create(i.operator, "other", "a", "A"), "ids belong to their organization")
}

func TestTeamIsCreatedOnceByARepeatedRequest(t *testing.T) {
	t.Parallel()
	i := setupTenant(t)
	req := &subscriptionv1.CreateTeamRequest{
		Parent: "organizations/acme", TeamId: "a", Team: &subscriptionv1.Team{DisplayName: "A"}, RequestId: uuid.NewString(),
	}
	first, err := i.admin.teams.CreateTeam(t.Context(), req)
	require.NoError(t, err)
	second, err := i.admin.teams.CreateTeam(t.Context(), req)
	require.NoError(t, err)
	require.True(t, proto.Equal(first, second))
	req.TeamId = "b"
	_, err = i.admin.teams.CreateTeam(t.Context(), req)
	requireField(t, err, "request_id", "different")
}

func TestTeamsAreListedByID(t *testing.T) {
	t.Parallel()
	i := setupTenant(t)
	want := []string{"0", "a", "a-b", "a0", "a_b", "z"}
	for n := range want {
		i.admin.team(t, "acme", want[(n*5)%len(want)])
	}
	var got []string
	req := &subscriptionv1.ListTeamsRequest{Parent: "organizations/acme", PageSize: 4}
	for {
		answer, err := i.viewer.teams.ListTeams(t.Context(), req)
		require.NoError(t, err)
		for _, team := range answer.GetTeams() {
			got = append(got, idIn(team.GetName()))
		}
		if req.PageToken = answer.GetNextPageToken(); req.GetPageToken() == "" {
			break
		}
	}
	require.Equal(t, want, got)
	_, err := i.operator.teams.ListTeams(t.Context(), &subscriptionv1.ListTeamsRequest{Parent: "organizations/nobody"})
	requireCode(t, err, codes.NotFound)
}

func TestTeamThatWebhooksAskForStays(t *testing.T) {
	t.Parallel()
	i := setupTenant(t)
	team := i.admin.team(t, "acme", "north")
	var names []string
	for n := range 7 {
		w := booking()
		w.DisplayName, w.Teams = fmt.Sprint("hook ", n), []string{team.GetName()}
		names = append(names, i.admin.webhook(t, "acme", w).GetName())
	}
	_, err := i.admin.teams.DeleteTeam(t.Context(), &subscriptionv1.DeleteTeamRequest{Name: team.GetName()})
	s := requireCode(t, err, codes.FailedPrecondition)
	require.Contains(t, s.Message(), "7 webhooks")
	require.Contains(t, s.Message(), names[4])
	require.NotContains(t, s.Message(), names[5])
	require.Contains(t, s.Message(), "2 more")
	for _, name := range names {
		_, err := i.admin.webhooks.DeleteWebhook(t.Context(), &subscriptionv1.DeleteWebhookRequest{Name: name})
		require.NoError(t, err)
	}
	_, err = i.admin.teams.DeleteTeam(t.Context(), &subscriptionv1.DeleteTeamRequest{Name: team.GetName()})
	require.NoError(t, err)
	w := booking()
	w.Teams = []string{team.GetName()}
	_, err = i.admin.webhooks.CreateWebhook(t.Context(), &subscriptionv1.CreateWebhookRequest{Parent: "organizations/acme", Webhook: w})
	requireField(t, err, "webhook.teams[0]", "north")
}

func TestTeamsOfOthersAreOutOfReach(t *testing.T) {
	t.Parallel()
	i := setupTenant(t)
	i.operator.organization(t, "other", false)
	i.operator.team(t, "other", "north")
	stranger := i.as(t, i.operator.key(t, "acme", accessv1.Role_ROLE_VIEWER))
	_, err := stranger.teams.GetTeam(t.Context(), &subscriptionv1.GetTeamRequest{Name: "organizations/other/teams/north"})
	requireCode(t, err, codes.PermissionDenied)
	_, err = stranger.teams.ListTeams(t.Context(), &subscriptionv1.ListTeamsRequest{Parent: "organizations/other"})
	requireCode(t, err, codes.PermissionDenied)
}
