package grpcapi

import (
	"github.com/google/uuid"

	"github.com/meetwire/meetwire/pkg/aip"
	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/fault"
)

// organizationName returns the slug in `organizations/{organization}`.
func organizationName(field, name string) (string, error) {
	ids, err := aip.ParseNameField(field, name, "organizations/{organization}")
	if err != nil {
		return "", err
	}
	if ids[0] == "-" {
		return "", invalidName(field, "must name one organization")
	}
	if !bus.IsOrganization(ids[0]) {
		return "", invalidName(field, "must have an organization of 1 to 63 characters of a-z, 0-9 and -")
	}
	return ids[0], nil
}

// anyParent is organizationName for the field `parent`, and bus.AnyToken for `organizations/-`, which pkg/rpc lets through
// for operators alone.
func anyParent(name string) (string, error) {
	if name == "organizations/-" {
		return bus.AnyToken, nil
	}
	return organizationName("parent", name)
}

// resourceName returns the slug and the id in `organizations/{organization}/<collection>/{id}`. The slug and the id
// become parts of NATS subjects, where other characters would select something else.
func resourceName(field, name, collection string) (organization string, id uuid.UUID, err error) {
	ids, err := aip.ParseNameField(field, name, "organizations/{organization}/"+collection+"/{id}")
	if err != nil {
		return "", uuid.Nil, err
	}
	if organization, err = organizationName(field, "organizations/"+ids[0]); err != nil {
		return "", uuid.Nil, err
	}
	// uuid.Parse also reads other ways of writing a UUID, and a name has only one.
	if id, err = uuid.Parse(ids[1]); err != nil || id.String() != ids[1] {
		return "", uuid.Nil, invalidName(field, "must have the form organizations/{organization}/"+collection+"/{id} with a UUID in small letters")
	}
	return organization, id, nil
}

func deliveryName(organization, delivery string) string {
	return "organizations/" + organization + "/deliveries/" + delivery
}

func webhookName(organization, webhook string) string {
	return "organizations/" + organization + "/webhooks/" + webhook
}

func invalidName(field, message string) error {
	return fault.Invalid(fault.Field{Path: field, Rule: "resource_name", Message: message})
}
