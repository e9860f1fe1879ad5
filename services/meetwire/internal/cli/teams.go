package cli

import (
	"fmt"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	subscriptionv1 "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
)

type teams struct {
	List   teamsList   `cmd:"" help:"List teams."`
	Get    teamsGet    `cmd:"" help:"Show a team."`
	Create teamsCreate `cmd:"" help:"Create a team."`
	Update teamsUpdate `cmd:"" help:"Rename a team."`
	Delete teamsDelete `cmd:"" help:"Delete a team that no webhook asks for."`
}

func teamColumns() []column {
	return []column{{"team", "name"}, {"name", "display_name"}, {"created", "create_time"}}
}

func (s *Session) teamClient() (subscriptionv1.TeamServiceClient, error) {
	conn, err := s.conn()
	return subscriptionv1.NewTeamServiceClient(conn), err
}

type teamsList struct{ page }

// Run implements the command.
func (c *teamsList) Run(s *Session) error {
	parent, err := s.organization()
	if err != nil {
		return err
	}
	client, err := s.teamClient()
	if err != nil {
		return err
	}
	answer, err := client.ListTeams(s.ctx, &subscriptionv1.ListTeamsRequest{
		Parent: parent, PageSize: int32(c.Limit), PageToken: c.PageToken, //nolint:gosec // G115: checked by the API
	})
	if err != nil {
		return err
	}
	return tablePage(s, answer.GetTeams(), answer, teamColumns())
}

type teamsGet struct {
	Team string `arg:"" help:"Id."`
}

// Run implements the command.
func (c *teamsGet) Run(s *Session) error {
	name, err := s.name("teams", c.Team)
	if err != nil {
		return err
	}
	client, err := s.teamClient()
	if err != nil {
		return err
	}
	answer, err := client.GetTeam(s.ctx, &subscriptionv1.GetTeamRequest{Name: name})
	if err != nil {
		return err
	}
	return s.show(answer, teamColumns())
}

type teamsCreate struct {
	Team        string `arg:"" help:"Id: 1 to 63 characters of a-z, 0-9, _ and -."`
	DisplayName string `help:"Name for people. Default: the id."`
}

// Run implements the command.
func (c *teamsCreate) Run(s *Session) error {
	parent, err := s.organization()
	if err != nil {
		return err
	}
	client, err := s.teamClient()
	if err != nil {
		return err
	}
	if c.DisplayName == "" {
		c.DisplayName = c.Team
	}
	answer, err := client.CreateTeam(s.ctx, &subscriptionv1.CreateTeamRequest{
		Parent: parent, TeamId: c.Team, Team: &subscriptionv1.Team{DisplayName: c.DisplayName}, RequestId: uuid.NewString(),
	})
	if err != nil {
		return err
	}
	return s.show(answer, teamColumns())
}

type teamsUpdate struct {
	Team        string `arg:"" help:"Id."`
	DisplayName string `help:"Name for people." required:""`
}

// Run implements the command.
func (c *teamsUpdate) Run(s *Session) error {
	name, err := s.name("teams", c.Team)
	if err != nil {
		return err
	}
	client, err := s.teamClient()
	if err != nil {
		return err
	}
	answer, err := client.UpdateTeam(s.ctx, &subscriptionv1.UpdateTeamRequest{
		Team:       &subscriptionv1.Team{Name: name, DisplayName: c.DisplayName},
		UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"display_name"}},
	})
	if err != nil {
		return err
	}
	return s.show(answer, teamColumns())
}

type teamsDelete struct {
	confirmation

	Team string `arg:"" help:"Id."`
}

// Run implements the command.
func (c *teamsDelete) Run(s *Session) error {
	name, err := s.name("teams", c.Team)
	if err != nil {
		return err
	}
	client, err := s.teamClient()
	if err != nil {
		return err
	}
	if err := c.confirm(s, "delete "+name, c.Team); err != nil {
		return err
	}
	if _, err := client.DeleteTeam(s.ctx, &subscriptionv1.DeleteTeamRequest{Name: name}); err != nil {
		return err
	}
	return s.say("deleted %s", name)
}

type keys struct {
	List   keysList   `cmd:"" help:"List API keys."`
	Get    keysGet    `cmd:"" help:"Show what is known of an API key, not the key itself."`
	Create keysCreate `cmd:"" help:"Create an API key. It is shown once."`
	Revoke keysRevoke `cmd:"" help:"Revoke an API key: it is refused everywhere within a second."`
}

func keyColumns() []column {
	return []column{
		{"key", "name"},
		{"name", "display_name"},
		{"role", "role"},
		{"created", "create_time"},
		{"expires", "expire_time"},
		{"last used", "last_use_time"},
	}
}

func (s *Session) keyClient() (subscriptionv1.ApiKeyServiceClient, error) {
	conn, err := s.conn()
	return subscriptionv1.NewApiKeyServiceClient(conn), err
}

type keysList struct{ page }

// Run implements the command.
func (c *keysList) Run(s *Session) error {
	parent, err := s.organization()
	if err != nil {
		return err
	}
	client, err := s.keyClient()
	if err != nil {
		return err
	}
	answer, err := client.ListApiKeys(s.ctx, &subscriptionv1.ListApiKeysRequest{
		Parent: parent, PageSize: int32(c.Limit), PageToken: c.PageToken, //nolint:gosec // G115: checked by the API
	})
	if err != nil {
		return err
	}
	return tablePage(s, answer.GetApiKeys(), answer, keyColumns())
}

type keysGet struct {
	Key string `arg:"" help:"Id: the part of a key between its underscores."`
}

// Run implements the command.
func (c *keysGet) Run(s *Session) error {
	name, err := s.name("apiKeys", c.Key)
	if err != nil {
		return err
	}
	client, err := s.keyClient()
	if err != nil {
		return err
	}
	answer, err := client.GetApiKey(s.ctx, &subscriptionv1.GetApiKeyRequest{Name: name})
	if err != nil {
		return err
	}
	return s.show(answer, keyColumns())
}

type keysCreate struct {
	DisplayName string    `arg:"" help:"Name for people."`
	Role        string    `help:"What it may do: ${enum}." enum:"admin,viewer,publisher" required:""`
	ExpireTime  *timeFlag `help:"When it stops being valid, such as 2027-01-31T12:00:00Z. Default: never."`
}

// Run implements the command.
func (c *keysCreate) Run(s *Session) error {
	parent, err := s.organization()
	if err != nil {
		return err
	}
	client, err := s.keyClient()
	if err != nil {
		return err
	}
	key := &subscriptionv1.ApiKey{DisplayName: c.DisplayName, Role: roleOf(c.Role), ExpireTime: c.ExpireTime.timestamp()}
	answer, err := client.CreateApiKey(s.ctx, &subscriptionv1.CreateApiKeyRequest{Parent: parent, ApiKey: key})
	if err != nil {
		return err
	}
	if err := s.show(answer, append(keyColumns(), column{"API key", "key"})); err != nil {
		return err
	}
	return s.warn("The API key is not shown again.")
}

// warn tells people something that is no part of the answer.
func (s *Session) warn(text string) error {
	if _, err := fmt.Fprintln(s.terminal.Err, text); err != nil {
		return fmt.Errorf("write a warning: %w", err)
	}
	return nil
}

type keysRevoke struct {
	confirmation

	Key string `arg:"" help:"Id: the part of a key between its underscores."`
}

// Run implements the command.
func (c *keysRevoke) Run(s *Session) error {
	name, err := s.name("apiKeys", c.Key)
	if err != nil {
		return err
	}
	client, err := s.keyClient()
	if err != nil {
		return err
	}
	if err := c.confirm(s, "revoke "+name, c.Key); err != nil {
		return err
	}
	if _, err := client.DeleteApiKey(s.ctx, &subscriptionv1.DeleteApiKeyRequest{Name: name}); err != nil {
		return err
	}
	return s.say("revoked %s", name)
}
