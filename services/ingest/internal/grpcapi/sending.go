package grpcapi

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/meetwire/meetwire/pkg/aip"
	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/filter"
	"github.com/meetwire/meetwire/services/ingest/internal/core"
	"github.com/meetwire/meetwire/services/ingest/internal/operations"
)

// sending is what a backfill or a replay of many events is asked for.
type sending struct {
	kind, action, target  string
	organization, webhook string
	field                 string // that names the webhook
	start, end            *timestamppb.Timestamp
	triggers              []string
	subject, filter       string
	rate                  float64
	dryRun                bool
	requestID             string
	request               proto.Message
}

// check returns what is to be done. Errors: fault.InvalidArgument with all fields at fault, fault.NotFound.
func (s *sending) check(catalogue core.Catalogue, now time.Time) (operations.Send, error) {
	asked := operations.Send{Webhook: s.webhook, Triggers: s.triggers, Subject: s.subject, Filter: s.filter, End: now}
	if !catalogue.HasOrganization(s.organization) {
		return asked, core.UnknownOrganization(s.organization)
	}
	var wrong []fault.Field
	if s.start.CheckValid() != nil {
		wrong = append(wrong, fault.Field{Path: "start_time", Rule: "timestamp", Message: "must be a time from year 1 to 9999"})
	}
	asked.Start = s.start.AsTime()
	if s.end != nil {
		if s.end.CheckValid() != nil {
			wrong = append(wrong, fault.Field{Path: "end_time", Rule: "timestamp", Message: "must be a time from year 1 to 9999"})
		} else if end := s.end.AsTime(); end.Before(now) { // what has not happened yet is for the live fan-out
			asked.End = end
		}
	}
	if len(wrong) == 0 && !asked.Start.Before(asked.End) {
		message := "must be before end_time"
		if s.end == nil || !s.end.AsTime().Before(now) {
			message = "must not be in the future"
			if s.end != nil && !asked.Start.Before(s.end.AsTime()) {
				message = "must be before end_time"
			}
		}
		wrong = append(wrong, fault.Field{Path: "start_time", Rule: "before_end_time", Message: message})
	}
	for i, trigger := range s.triggers {
		if message := checkTrigger(catalogue, s.organization, trigger); message != "" {
			wrong = append(wrong, fault.Field{Path: fmt.Sprintf("triggers[%d]", i), Rule: "trigger", Message: message})
		}
	}
	if s.filter != "" {
		if _, err := filter.Compile(s.filter); err != nil {
			wrong = append(wrong, fault.Field{Path: "filter", Rule: "cel", Message: err.Error()})
		}
	}
	if len(wrong) > 0 {
		return asked, fault.Invalid(wrong...)
	}
	return asked, nil
}

// groupPattern is what a group of triggers is, see core.Covers.
var groupPattern = regexp.MustCompile(`^[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*){0,2}\.\*$`)

// checkTrigger returns what is wrong with a trigger or a group of them.
func checkTrigger(catalogue core.Catalogue, organization, trigger string) string {
	if strings.HasSuffix(trigger, ".*") {
		if !groupPattern.MatchString(trigger) {
			return "must be a group of triggers such as meeting.*"
		}
		return ""
	}
	if !bus.IsTrigger(trigger) {
		return "must be the id of a trigger such as meeting.booked, or a group of them such as meeting.*"
	}
	if _, ok := catalogue.Trigger(organization, trigger); !ok {
		return "is not a trigger of this organization"
	}
	return ""
}

// webhookOf returns the id in the name of a webhook of an organization.
func webhookOf(name, organization string) (string, error) {
	ids, err := aip.ParseNameField("webhook", name, "organizations/{organization}/webhooks/{webhook}")
	if err != nil {
		return "", err
	}
	if ids[0] != organization {
		return "", invalidName("webhook", "must be a webhook of the same organization")
	}
	return ids[1], nil
}
