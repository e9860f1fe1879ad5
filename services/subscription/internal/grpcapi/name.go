package grpcapi

import "github.com/meetwire/meetwire/pkg/aip"

// parseOrganization returns the slug within the name of an organization.
func parseOrganization(field, name string) (string, error) {
	ids, err := aip.ParseNameField(field, name, "organizations/{organization}")
	if err != nil {
		return "", err
	}
	return ids[0], nil
}

// parseChild returns the slug and the id within the name of something that belongs to an organization.
func parseChild(field, collection, name string) (organization, id string, err error) {
	ids, err := aip.ParseNameField(field, name, "organizations/{organization}/"+collection+"/{id}")
	if err != nil {
		return "", "", err
	}
	return ids[0], ids[1], nil
}
