package core

import (
	"regexp"
	"time"

	"github.com/meetwire/meetwire/pkg/fault"
)

// AnyOrganization stands for all organizations in a resource name, so no organization may be called that.
const AnyOrganization = "-"

var slugPattern = regexp.MustCompile(`^[a-z0-9-]{1,63}$`)

// Organization is a tenant.
type Organization struct {
	ID          string // the slug
	DisplayName string
	AllowHTTP   bool // whether its webhooks may be called over plain http
	CreateTime  time.Time
}

// NewOrganization returns an organization that satisfies every rule, or fault.InvalidArgument.
func NewOrganization(id, displayName string, allowHTTP bool, now time.Time) (Organization, error) {
	var fields []fault.Field
	switch {
	case !IsSlug(id):
		fields = field("organization_id", ruleFormat, "must be 1 to 63 characters of a-z, 0-9 and '-'")
	case id == AnyOrganization:
		fields = field("organization_id", ruleFormat, "must not be %q, which stands for all organizations", AnyOrganization)
	}
	fields = append(fields, checkDisplayName("organization.display_name", displayName)...)
	if err := invalid(fields); err != nil {
		return Organization{}, err
	}
	return Organization{ID: id, DisplayName: displayName, AllowHTTP: allowHTTP, CreateTime: Stored(now)}, nil
}

// IsSlug reports whether s can be the slug of an organization: 1 to 63 characters of a-z, 0-9 and '-'.
func IsSlug(s string) bool { return slugPattern.MatchString(s) }

// NoOrganization is the fault of an organization that is not there.
func NoOrganization(id string) error {
	return fault.New(fault.NotFound, "ORGANIZATION_NOT_FOUND", "organizations/%s does not exist", id)
}

// OrganizationExists is the fault of a slug that is, or was, in use.
func OrganizationExists(id string) error {
	err := fault.New(fault.AlreadyExists, "ORGANIZATION_EXISTS",
		"organizations/%s exists or existed: a slug can be used only once", id)
	err.Fields = field("organization_id", ruleUnique, "is in use, or was: a slug can be used only once")
	return err
}
