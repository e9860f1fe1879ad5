package core

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/meetwire/meetwire/pkg/fault"
)

// MaxNamed is how many of those that stand in the way an error names.
const MaxNamed = 5

var teamPattern = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,62}$`)

// Team is a part of an organization's members.
type Team struct {
	Organization string // slug
	ID           string
	DisplayName  string
	Version      int64 // counts its changes
	CreateTime   time.Time
	UpdateTime   time.Time
}

// IsTeam reports whether s can be the id of a team: 1 to 63 characters of a-z, 0-9, '_' and '-', the first a letter or
// a digit.
func IsTeam(s string) bool { return teamPattern.MatchString(s) }

// TeamName returns the resource name of a team.
func TeamName(organization, id string) string {
	return "organizations/" + organization + "/teams/" + id
}

// Name returns the resource name.
func (t Team) Name() string { return TeamName(t.Organization, t.ID) }

// ETag returns a text that changes with every change of the team.
func (t Team) ETag() string { return etagOf(t.Name(), t.CreateTime, t.Version) }

// CheckETag returns fault.Aborted when an etag is given and is not the current one.
func (t Team) CheckETag(etag string) error { return checkETag(etag, t.ETag(), t.Name()) }

// Document returns the team as the audit log shows it.
func (t Team) Document() Document { return Document{"name": t.Name(), "displayName": t.DisplayName} }

// NoTeam is the fault of a team that is not there.
func NoTeam(organization, id string) error {
	return fault.New(fault.NotFound, "TEAM_NOT_FOUND", "%s does not exist", TeamName(organization, id))
}

// TeamExists is the fault of a team's id that is in use.
func TeamExists(organization, id string) error {
	err := fault.New(fault.AlreadyExists, "TEAM_EXISTS", "%s exists", TeamName(organization, id))
	err.Fields = field("team_id", ruleUnique, "is in use")
	return err
}

// InUse is webhooks that stand in the way of a change.
type InUse struct {
	Count int64
	First []string // names for people and resource names of the first of them
}

// Add notes one of the first of them; total is how many there are in all.
func (u *InUse) Add(organization, id, displayName string, total int64) {
	u.Count = total
	u.First = append(u.First, fmt.Sprintf("%q (organizations/%s/webhooks/%s)", displayName, organization, id))
}

// fault returns fault.FailedPrecondition when there are any. what is what they do, such as "ask for it".
func (u InUse) fault(reason, resource, what string) error {
	if u.Count == 0 {
		return nil
	}
	more := ""
	if n := u.Count - int64(len(u.First)); n > 0 {
		more = fmt.Sprintf(" and %d more", n)
	}
	return fault.New(fault.FailedPrecondition, reason, "%s: %d webhooks %s: %s%s",
		resource, u.Count, what, strings.Join(u.First, ", "), more)
}

// TeamStore keeps teams. Besides what each method names, all return fault.Unavailable while the store is away, and
// fault.NotFound when the organization does not exist.
type TeamStore interface {
	// InsertTeam stores a new one. fault.AlreadyExists when its id is in use; *RepeatedRequestError when the request was
	// made before.
	InsertTeam(ctx context.Context, t Team, request Request) error
	// Team returns one, or fault.NotFound.
	Team(ctx context.Context, organization, id string) (Team, error)
	// UpdateTeam gives the current state to change, which nobody else can change meanwhile, and stores what comes back,
	// unless changed is false. An error of change comes back as it is.
	UpdateTeam(ctx context.Context, organization, id string, change func(Team) (next Team, changed bool, err error)) (Team, error)
	// DeleteTeam removes a team when check accepts its state and the webhooks that ask for it.
	DeleteTeam(ctx context.Context, organization, id string, check func(Team, InUse) error) error
}

// Teams makes, changes and deletes teams by their rules.
type Teams struct {
	store TeamStore
	now   func() time.Time
}

// NewTeams returns the steps over a store.
func NewTeams(store TeamStore, now func() time.Time) *Teams { return &Teams{store: store, now: now} }

// Create makes a team. A request that was made before makes nothing, and returns what it has made.
func (s *Teams) Create(ctx context.Context, organization, id, displayName string, request Request) (Team, error) {
	var fields []fault.Field
	if !IsTeam(id) {
		fields = field("team_id", ruleFormat, "must be 1 to 63 characters of a-z, 0-9, '_' and '-', the first a letter or a digit")
	}
	fields = append(fields, checkDisplayName("team.display_name", displayName)...)
	if err := invalid(fields); err != nil {
		return Team{}, err
	}
	now := Stored(s.now())
	t := Team{Organization: organization, ID: id, DisplayName: displayName, Version: 1, CreateTime: now, UpdateTime: now}
	err := s.store.InsertTeam(ctx, t, request)
	if made, ok := repeated(err); ok {
		return s.store.Team(ctx, organization, made)
	}
	if err != nil {
		return Team{}, err
	}
	return t, nil
}

// Update changes the name for people, unless it is nil. A change that changes nothing leaves the team as it is.
func (s *Teams) Update(ctx context.Context, organization, id, etag string, displayName *string) (Team, error) {
	if displayName != nil {
		if err := invalid(checkDisplayName("team.display_name", *displayName)); err != nil {
			return Team{}, err
		}
	}
	return s.store.UpdateTeam(ctx, organization, id, func(current Team) (Team, bool, error) {
		if err := current.CheckETag(etag); err != nil {
			return Team{}, false, err
		}
		next := current
		if displayName != nil {
			next.DisplayName = *displayName
		}
		if next == current {
			return current, false, nil
		}
		next.Version++
		next.UpdateTime = Stored(s.now())
		return next, true, nil
	})
}

// Delete removes a team that no webhook asks for.
func (s *Teams) Delete(ctx context.Context, organization, id, etag string) error {
	return s.store.DeleteTeam(ctx, organization, id, func(current Team, asked InUse) error {
		if err := current.CheckETag(etag); err != nil {
			return err
		}
		return asked.fault("TEAM_IN_USE", current.Name()+" cannot be deleted", "ask for it")
	})
}
