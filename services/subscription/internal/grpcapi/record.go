package grpcapi

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	"github.com/meetwire/meetwire/pkg/audit"
	"github.com/meetwire/meetwire/pkg/fault"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
)

// Limits of what is recorded.
const (
	maxRecordedText  = 1024     // of the resource and what the caller says of itself, in characters
	maxRecordedBytes = 64 << 10 // of the details as JSON
)

var actorPattern = regexp.MustCompile(`^apiKeys/[0-9a-z]{1,32}$`)

// RecordAction implements ConfigService.
func (s *Config) RecordAction(ctx context.Context, req *configv1.RecordActionRequest) (*configv1.RecordActionResponse, error) {
	entry, err := recorded(req)
	if err != nil {
		return nil, err
	}
	if err := s.store.RecordAction(ctx, entry); err != nil {
		return nil, err
	}
	return &configv1.RecordActionResponse{}, nil
}

// recorded returns the entry that a request asks for, or what is wrong with it.
func recorded(req *configv1.RecordActionRequest) (core.AuditEntry, error) {
	if !valid(req.GetTime()) {
		return core.AuditEntry{}, invalidTime("time")
	}
	entry := core.AuditEntry{
		ID: strings.ToLower(req.GetId()), Organization: req.GetOrganization(), Time: core.Stored(req.GetTime().AsTime()),
		Action: core.Action(req.GetAction()), Resource: req.GetResource(),
		Actor: core.Actor{
			Name: req.GetActor(), Role: core.Role(req.GetRole()), Address: recordable(req.GetAddress()),
			ForwardedFor: recordable(req.GetForwardedFor()), UserAgent: recordable(req.GetUserAgent()),
		},
	}
	switch {
	case !entry.Action.Known():
		return entry, invalid("action", "enum", "must be an action that the audit log knows, such as replay or erase")
	case entry.Actor.Name != audit.System && !actorPattern.MatchString(entry.Actor.Name):
		return entry, invalid("actor", "format", "must be system, or apiKeys/ and the id within a key")
	case entry.Resource != recordable(entry.Resource):
		return entry, invalid("resource", "format", fmt.Sprintf("must be printable text of at most %d characters", maxRecordedText))
	case entry.Organization != "" && !within(entry.Resource, entry.Organization):
		return entry, invalid("resource", "prefix", "must be organizations/"+entry.Organization+" or something in it")
	}
	if req.GetDetails() == nil {
		return entry, nil
	}
	details, ok := storableValue(req.GetDetails().AsMap()).(map[string]any)
	encoded, err := json.Marshal(details)
	if !ok || err != nil {
		return entry, invalid("details", "format", "must be a JSON object")
	}
	if len(encoded) > maxRecordedBytes {
		return entry, invalid("details", "max_bytes", fmt.Sprintf("must be at most %d bytes as JSON; it has %d", maxRecordedBytes, len(encoded)))
	}
	entry.After = details
	return entry, nil
}

func invalid(path, rule, message string) error {
	return fault.Invalid(fault.Field{Path: path, Rule: rule, Message: message})
}

// within reports whether a resource is an organization or something in it.
func within(resource, organization string) bool {
	name := "organizations/" + organization
	return resource == name || strings.HasPrefix(resource, name+"/")
}

// recordable is a text without what is no text, cut off where it is too long.
func recordable(text string) string {
	runes := []rune(strings.Map(printable, text))
	return string(runes[:min(len(runes), maxRecordedText)])
}

// storableValue is a JSON value without NUL, which Postgres does not take.
func storableValue(value any) any {
	switch v := value.(type) {
	case string:
		return strings.ReplaceAll(v, "\x00", "\ufffd")
	case []any:
		for i := range v {
			v[i] = storableValue(v[i])
		}
		return v
	case map[string]any:
		clean := make(map[string]any, len(v))
		for key, inner := range v {
			clean[strings.ReplaceAll(key, "\x00", "\ufffd")] = storableValue(inner)
		}
		return clean
	default:
		return v
	}
}
