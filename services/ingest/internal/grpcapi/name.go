package grpcapi

import (
	"strconv"

	"github.com/meetwire/meetwire/pkg/aip"
	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/fault"
)

// organizationName returns the slug in `organizations/{organization}`, which becomes a part of NATS subjects.
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

// eventName returns the slug and the sequence in `organizations/{organization}/events/{event}`.
func eventName(field, name string) (organization string, sequence int64, err error) {
	ids, err := aip.ParseNameField(field, name, "organizations/{organization}/events/{event}")
	if err != nil {
		return "", 0, err
	}
	if organization, err = organizationName(field, "organizations/"+ids[0]); err != nil {
		return "", 0, err
	}
	sequence, err = strconv.ParseInt(ids[1], 10, 64)
	if err != nil || sequence < 1 || strconv.FormatInt(sequence, 10) != ids[1] {
		return "", 0, invalidName(field, "must have the sequence of an event, a number from 1 to 9223372036854775807")
	}
	return organization, sequence, nil
}

func invalidName(field, message string) error {
	return fault.Invalid(fault.Field{Path: field, Rule: "resource_name", Message: message})
}
