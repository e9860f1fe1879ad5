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
	ExpireTime   time.Time // when it stops being valid; zero: never
	LastUseTime  time.Time // as far as is known; zero: never used
}

// Expired reports whether the key is not valid any more because of its age.
func (k APIKey) Expired(now time.Time) bool {
	return !k.ExpireTime.IsZero() && !now.Before(k.ExpireTime)
}

// Document returns the key as the audit log shows it. When it was used is not part of what people change.
func (k APIKey) Document() Document {
	d := Document{
		"name": k.Name(), "displayName": k.DisplayName, "role": roleNames()[k.Role],
		"createTime": k.CreateTime.Format(time.RFC3339Nano),
	}
	if !k.ExpireTime.IsZero() {
		d["expireTime"] = k.ExpireTime.Format(time.RFC3339Nano)
	}
	return d
}

// Name returns the resource name of the key.
func (k APIKey) Name() string {
	organization := k.Organization
	if organization == "" {
		organization = AnyOrganization
	}
	return "organizations/" + organization + "/apiKeys/" + k.ID
}

// roleNames returns the names that the API has for the roles.
func roleNames() map[Role]string {
	return map[Role]string{
		RoleOperator: "ROLE_OPERATOR", RoleAdmin: "ROLE_ADMIN", RoleViewer: "ROLE_VIEWER", RolePublisher: "ROLE_PUBLISHER",
	}
}

// APIKeyWish is what a caller wants a new key to be.
type APIKeyWish struct {
	DisplayName string
	Role        Role
	ExpireTime  *time.Time // nil: never
}

// latestExpireTime is the last moment that both the API and Postgres can tell.
var latestExpireTime = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)

// NewAPIKey returns a key of an organization that satisfies every rule, or fault.InvalidArgument.
func NewAPIKey(id string, secretSHA256 [32]byte, organization string, wish APIKeyWish, now time.Time) (APIKey, error) {
	fields := checkDisplayName("api_key.display_name", wish.DisplayName)
	if role := wish.Role; role != RoleAdmin && role != RoleViewer && role != RolePublisher {
		fields = append(fields, field("api_key.role", ruleRange, "must be ROLE_ADMIN, ROLE_VIEWER or ROLE_PUBLISHER")...)
	}
	k := APIKey{
		ID: id, Organization: organization, DisplayName: wish.DisplayName, Role: wish.Role,
		SecretSHA256: secretSHA256, CreateTime: Stored(now),
	}
	if wish.ExpireTime != nil {
		k.ExpireTime = Stored(*wish.ExpireTime)
		if !k.ExpireTime.After(k.CreateTime) || k.ExpireTime.After(latestExpireTime) {
			fields = append(fields, field("api_key.expire_time", ruleRange, "must be in the future and before the year 10000")...)
		}
	}
	if err := invalid(fields); err != nil {
		return APIKey{}, err
	}
	return k, nil
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
