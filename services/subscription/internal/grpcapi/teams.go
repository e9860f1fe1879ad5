package grpcapi

import (
	"context"

	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	subscriptionv1 "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
)

// TeamReader reads teams. All methods return fault.Unavailable while the store is away.
type TeamReader interface {
	// Organization returns an organization, or fault.NotFound.
	Organization(ctx context.Context, id string) (core.Organization, error)
	// Team returns a team of an organization, or fault.NotFound.
	Team(ctx context.Context, organization, id string) (core.Team, error)
	// Teams returns at most limit teams of an organization whose id comes after the given one, in their order.
	Teams(ctx context.Context, organization, after string, limit int) ([]core.Team, error)
}

// Teams implements TeamService.
type Teams struct {
	subscriptionv1.UnimplementedTeamServiceServer

	steps  *core.Teams
	reader TeamReader
}

// NewTeams returns the service over the steps that change teams and a reader of them.
func NewTeams(steps *core.Teams, reader TeamReader) *Teams {
	return &Teams{steps: steps, reader: reader}
}

// CreateTeam implements TeamService.
func (s *Teams) CreateTeam(ctx context.Context, req *subscriptionv1.CreateTeamRequest) (*subscriptionv1.Team, error) {
	organization, err := parseOrganization("parent", req.GetParent())
	if err != nil {
		return nil, err
	}
	request, err := requestOf("CreateTeam", req)
	if err != nil {
		return nil, err
	}
	t, err := s.steps.Create(ctx, organization, req.GetTeamId(), req.GetTeam().GetDisplayName(), request)
	if err != nil {
		return nil, err
	}
	return teamMessage(t), nil
}

// GetTeam implements TeamService.
func (s *Teams) GetTeam(ctx context.Context, req *subscriptionv1.GetTeamRequest) (*subscriptionv1.Team, error) {
	organization, id, err := parseChild("name", "teams", req.GetName())
	if err != nil {
		return nil, err
	}
	t, err := s.reader.Team(ctx, organization, id)
	if err != nil {
		return nil, err
	}
	return teamMessage(t), nil
}

// ListTeams implements TeamService.
func (s *Teams) ListTeams(ctx context.Context, req *subscriptionv1.ListTeamsRequest) (*subscriptionv1.ListTeamsResponse, error) {
	organization, err := parseOrganization("parent", req.GetParent())
	if err != nil {
		return nil, err
	}
	if _, err := s.reader.Organization(ctx, organization); err != nil {
		return nil, err
	}
	teams, next, err := list(req,
		func(after teamCursor, limit int) ([]core.Team, error) {
			return s.reader.Teams(ctx, organization, after.ID, limit)
		},
		func(t core.Team) teamCursor { return teamCursor{ID: t.ID} })
	if err != nil {
		return nil, err
	}
	return &subscriptionv1.ListTeamsResponse{Teams: messages(teams, teamMessage), NextPageToken: next}, nil
}

// UpdateTeam implements TeamService.
func (s *Teams) UpdateTeam(ctx context.Context, req *subscriptionv1.UpdateTeamRequest) (*subscriptionv1.Team, error) {
	wanted := req.GetTeam()
	organization, id, err := parseChild("team.name", "teams", wanted.GetName())
	if err != nil {
		return nil, err
	}
	changed, err := changedFields(wanted, req.GetUpdateMask().GetPaths(), "display_name")
	if err != nil {
		return nil, err
	}
	var displayName *string
	if changed["display_name"] {
		displayName = &wanted.DisplayName
	}
	t, err := s.steps.Update(ctx, organization, id, wanted.GetEtag(), displayName)
	if err != nil {
		return nil, err
	}
	return teamMessage(t), nil
}

// DeleteTeam implements TeamService.
func (s *Teams) DeleteTeam(ctx context.Context, req *subscriptionv1.DeleteTeamRequest) (*emptypb.Empty, error) {
	organization, id, err := parseChild("name", "teams", req.GetName())
	if err != nil {
		return nil, err
	}
	if err := s.steps.Delete(ctx, organization, id, req.GetEtag()); err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, nil
}

// teamCursor is a place in a list that is ordered by the id of a team.
type teamCursor struct {
	ID string `json:"id"`
}

func (c teamCursor) valid() bool { return core.IsTeam(c.ID) }

func teamMessage(t core.Team) *subscriptionv1.Team {
	return &subscriptionv1.Team{
		Name: t.Name(), DisplayName: t.DisplayName, Etag: t.ETag(),
		CreateTime: timestamppb.New(t.CreateTime), UpdateTime: timestamppb.New(t.UpdateTime),
	}
}
