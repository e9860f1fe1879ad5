package core

import (
	"time"

	"github.com/meetwire/meetwire/pkg/fault"
)

// Role is what an API key may do. The numbers are those of the API, and are stored.
type Role int32

// The roles that an API key can have.
const (
	RoleOperator  Role = 1 // acts on every organization
	RoleAdmin     Role = 2 // does everything within its organization
	RoleViewer    Role = 3 // reads everything within its organization, except secrets
	RolePublisher Role = 4 // publishes events of its organization
)

// BootstrapDisplayName is the name of the operator's key that comes from the configuration of the installation.
const BootstrapDisplayName = "Operator key of the installation"

// APIKey is a credential. The key itself is not part of it, and is kept nowhere.
type APIKey struct {
	ID           string // the id within the key
	Organization string // slug; empty for an operator's key
	DisplayName  string
	Role         Role
	SecretSHA256 [32]byte
	Bootstrap    bool // it comes from the configuration of the installation
	CreateTime   time.Time
}

// NewAPIKey returns a key of an organization that satisfies every rule, or fault.InvalidArgument.
func NewAPIKey(id string, secretSHA256 [32]byte, organization, displayName string, role Role, now time.Time) (APIKey, error) {
	fields := checkDisplayName("api_key.display_name", displayName)
	if role != RoleAdmin && role != RoleViewer && role != RolePublisher {
		fields = append(fields, field("api_key.role", ruleRange, "must be ROLE_ADMIN, ROLE_VIEWER or ROLE_PUBLISHER")...)
	}
	if err := invalid(fields); err != nil {
		return APIKey{}, err
	}
	return APIKey{
		ID: id, Organization: organization, DisplayName: displayName, Role: role,
		SecretSHA256: secretSHA256, CreateTime: Stored(now),
	}, nil
}

// NewBootstrapKey returns the operator's key that comes from the configuration of the installation.
func NewBootstrapKey(id string, secretSHA256 [32]byte, now time.Time) APIKey {
	return APIKey{
		ID: id, DisplayName: BootstrapDisplayName, Role: RoleOperator,
		SecretSHA256: secretSHA256, Bootstrap: true, CreateTime: Stored(now),
	}
}

// NoAPIKey is the fault of a key that is not there, or is another organization's.
func NoAPIKey(organization, id string) error {
	return fault.New(fault.NotFound, "API_KEY_NOT_FOUND", "organizations/%s/apiKeys/%s does not exist", organization, id)
}
