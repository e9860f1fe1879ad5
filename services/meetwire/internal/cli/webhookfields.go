package cli

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
	"google.golang.org/protobuf/types/known/durationpb"

	subscriptionv1 "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
)

// webhookFields are the fields of a webhook that can be set. A list that is given replaces the one that is there; an
// empty text among its values makes it empty.
type webhookFields struct {
	URL            *string           `help:"Where events are sent." name:"url"`
	Triggers       []string          `help:"Triggers, and groups of them such as meeting.*." name:"trigger" sep:","`
	Description    *string           `help:"Text for people."`
	EventTypes     []string          `help:"Slugs of event types; none: all." name:"event-type" sep:","`
	Teams          []string          `help:"Ids of teams; none: all members." name:"team" sep:","`
	Filter         *string           `help:"CEL expression over event."`
	Dialect        *string           `help:"How requests look: standard, cloudevents, ace, avoma, orufy, harmonizely or axcelerate."`
	Encoding       *string           `help:"Encoding of the signature, where the dialect leaves it open." name:"signature-encoding"`
	ClientID       *int64            `help:"clientId of the dialect axcelerate." name:"client-id"`
	SecretSource   string            `help:"Whose secret signs: own, organization or none." enum:",own,organization,none" default:""`
	HeadersFile    string            `help:"YAML file with headers, name: value; - reads from standard input. Arguments could be seen by others." placeholder:"FILE"`
	Retries        string            `help:"Preset of the retry policy: standard, exponential or none." enum:",standard,exponential,none" default:""`
	MaxRetries     *int32            `help:"How many times a failed attempt is repeated, 0 to 30: a policy of its own." xor:"retries"`
	FirstDelay     *time.Duration    `help:"Wait before the first retry of a policy of its own."`
	Factor         *float64          `help:"What each wait of a policy of its own is multiplied by."`
	MaxDelay       *time.Duration    `help:"Greatest wait of a policy of its own."`
	Jitter         *float64          `help:"Part of the wait by which it varies, 0 to 0.5."`
	GiveUpAge      *time.Duration    `help:"Age of an event from which it is not tried again."`
	MaxFailures    *int32            `help:"Disable it after this many failed attempts in a row."`
	WithoutSuccess *time.Duration    `help:"Disable it after this long without a success."`
	NeverDisable   *bool             `help:"Never disable it."`
	Timeout        *time.Duration    `help:"How long one attempt may take, 1s to 30s."`
	Concurrency    *int32            `help:"How many attempts may be under way at once."`
	RateLimit      *float64          `help:"How many attempts may begin per second; 0: no limit."`
	AlertEmails    []string          `help:"Who is told of lasting failures." name:"alert-email" sep:","`
	Metadata       map[string]string `help:"Key and value, to find it again."`
}

// apply puts what is given into a webhook and returns the paths of it.
func (f webhookFields) apply(s *Session, to *subscriptionv1.Webhook) ([]string, error) {
	var m mask
	set(&m, "target_url", f.URL, &to.TargetUrl)
	set(&m, "description", f.Description, &to.Description)
	set(&m, "filter", f.Filter, &to.Filter)
	set(&m, "dialect", f.Dialect, &to.Dialect)
	set(&m, "max_concurrency", f.Concurrency, &to.MaxConcurrency)
	set(&m, "rate_limit", f.RateLimit, &to.RateLimit)
	setList(&m, "triggers", f.Triggers, &to.Triggers)
	setList(&m, "event_types", f.EventTypes, &to.EventTypes)
	setList(&m, "alert_emails", f.AlertEmails, &to.AlertEmails)
	if f.Timeout != nil {
		to.Timeout = durationpb.New(*f.Timeout)
		m.add("timeout")
	}
	if len(f.Metadata) > 0 {
		to.Metadata = f.Metadata
		m.add("metadata")
	}
	if f.SecretSource != "" {
		to.SecretSource = subscriptionv1.Webhook_SecretSource(
			subscriptionv1.Webhook_SecretSource_value["SECRET_SOURCE_"+strings.ToUpper(f.SecretSource)])
		m.add("secret_source")
	}
	f.applyOptions(&m, to)
	f.applyThreshold(&m, to)
	if err := f.applyRetries(&m, to); err != nil {
		return nil, err
	}
	if err := f.applyTeams(s, &m, to); err != nil {
		return nil, err
	}
	return m.paths, f.applyHeaders(s, &m, to)
}

// setList copies a list that is given, without empty texts.
func setList(m *mask, path string, from []string, to *[]string) {
	if len(from) == 0 {
		return
	}
	*to = slices.DeleteFunc(slices.Clone(from), func(item string) bool { return item == "" })
	m.add(path)
}

func (f webhookFields) applyOptions(m *mask, to *subscriptionv1.Webhook) {
	options := &subscriptionv1.DialectOptions{}
	set(m, "dialect_options.signature_encoding", f.Encoding, &options.SignatureEncoding)
	set(m, "dialect_options.client_id", f.ClientID, &options.ClientId)
	if f.Encoding != nil || f.ClientID != nil {
		to.DialectOptions = options
	}
}

func (f webhookFields) applyThreshold(m *mask, to *subscriptionv1.Webhook) {
	if f.MaxFailures == nil && f.WithoutSuccess == nil && f.NeverDisable == nil {
		return
	}
	to.FailureThreshold = &subscriptionv1.FailureThreshold{WithoutSuccess: duration(f.WithoutSuccess)}
	if f.MaxFailures != nil {
		to.FailureThreshold.ConsecutiveFailures = *f.MaxFailures
	}
	if f.NeverDisable != nil {
		to.FailureThreshold.Off = *f.NeverDisable
	}
	m.add("failure_threshold")
}

// errPresetAndOwn is returned for a policy that is both.
var errPresetAndOwn = usageError("--retries names a preset: leave out --max-retries, --first-delay, --factor, --max-delay and --jitter")

func (f webhookFields) applyRetries(m *mask, to *subscriptionv1.Webhook) error {
	own := f.MaxRetries != nil || f.FirstDelay != nil || f.Factor != nil || f.MaxDelay != nil || f.Jitter != nil
	if f.Retries != "" && own {
		return errPresetAndOwn
	}
	policy := &subscriptionv1.RetryPolicy{FirstDelay: duration(f.FirstDelay), MaxDelay: duration(f.MaxDelay), GiveUpAge: duration(f.GiveUpAge)}
	if f.Retries != "" {
		policy.Preset = subscriptionv1.RetryPolicy_Preset(subscriptionv1.RetryPolicy_Preset_value["PRESET_"+strings.ToUpper(f.Retries)])
		m.add("retry_policy.preset")
	}
	set(m, "retry_policy.max_retries", f.MaxRetries, &policy.MaxRetries)
	set(m, "retry_policy.factor", f.Factor, &policy.Factor)
	set(m, "retry_policy.jitter", f.Jitter, &policy.Jitter)
	for path, given := range map[string]*time.Duration{
		"retry_policy.first_delay": f.FirstDelay, "retry_policy.max_delay": f.MaxDelay, "retry_policy.give_up_age": f.GiveUpAge,
	} {
		if given != nil {
			m.add(path)
		}
	}
	if own || f.Retries != "" || f.GiveUpAge != nil {
		to.RetryPolicy = policy
	}
	return nil
}

func (f webhookFields) applyTeams(s *Session, m *mask, to *subscriptionv1.Webhook) error {
	var ids []string
	setList(m, "teams", f.Teams, &ids)
	var err error
	to.Teams, err = s.names("teams", ids)
	return err
}

func (f webhookFields) applyHeaders(s *Session, m *mask, to *subscriptionv1.Webhook) error {
	if f.HeadersFile == "" {
		return nil
	}
	text, err := s.readFile(f.HeadersFile)
	if err != nil {
		return err
	}
	var headers map[string]string
	if err := yaml.Unmarshal(text, &headers); err != nil {
		return fmt.Errorf("%s must be YAML of the form `Name: value`", f.HeadersFile) // the cause would show a value
	}
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		to.Headers = append(to.Headers, &subscriptionv1.Header{Name: name, Value: headers[name]})
	}
	m.add("headers")
	return nil
}
