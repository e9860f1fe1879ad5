package core

import (
	"context"
	"net"
	"net/url"
	"strings"
)

// MaxDuplicates is the greatest number of duplicates that are named.
const MaxDuplicates = 100

// duplicateBatch is how many webhooks are looked at at once.
const duplicateBatch = 500

// Duplicate is a webhook that sends triggers to a URL already.
type Duplicate struct {
	Webhook  Webhook
	Triggers []string // which of the triggers and groups overlap with what it asks for
}

// WebhooksAtHost finds webhooks by the host of their URLs.
type WebhooksAtHost interface {
	// Organization returns an organization, or fault.NotFound. fault.Unavailable while the store is away.
	Organization(ctx context.Context, id string) (Organization, error)
	// WebhooksAtHost returns at most limit webhooks of an organization whose URL may be one with a host, which is in lower
	// case, that come after another one, oldest first; with their ids, URLs, triggers and ages at least. The zero value is
	// before the first. fault.Unavailable while the store is away.
	WebhooksAtHost(ctx context.Context, organization, host string, after Webhook, limit int) ([]Webhook, error)
}

// FindDuplicates returns the webhooks that send some of the triggers to a URL already, oldest first, at most 100.
func FindDuplicates(ctx context.Context, store WebhooksAtHost, organization, target string, triggers []string) ([]Duplicate, error) {
	// Any scheme will do: there is nothing to find where http is not allowed.
	target, fields := ParseTargetURL(target, true)
	for i := range fields {
		fields[i].Path = "target_url"
	}
	fields = append(fields, checkPatterns("triggers", triggers)...)
	if err := invalid(fields); err != nil {
		return nil, err
	}
	if _, err := store.Organization(ctx, organization); err != nil {
		return nil, err
	}
	wanted, host := comparableURL(target)
	var found []Duplicate
	var after Webhook
	for {
		batch, err := store.WebhooksAtHost(ctx, organization, host, after, duplicateBatch)
		if err != nil {
			return nil, err
		}
		for _, w := range batch {
			after = w
			if same, _ := comparableURL(w.TargetURL); same != wanted {
				continue
			}
			shared := sharedTriggers(triggers, w.Triggers)
			if len(shared) == 0 {
				continue
			}
			if found = append(found, Duplicate{Webhook: w, Triggers: shared}); len(found) == MaxDuplicates {
				return found, nil
			}
		}
		if len(batch) < duplicateBatch {
			return found, nil
		}
	}
}

// sharedTriggers returns which of the asked patterns overlap with one of the others.
func sharedTriggers(asked, others []string) []string {
	var shared []string
	for _, a := range asked {
		for _, b := range others {
			if overlap(a, b) {
				shared = append(shared, a)
				break
			}
		}
	}
	return shared
}

// comparableURL returns a text that is the same for two URLs that ParseTargetURL accepts exactly when a request to both
// is the same, whatever the spelling of their scheme, their host and their port; and the host.
func comparableURL(raw string) (text, host string) {
	parsed, err := url.Parse(raw)
	if err != nil {
		return raw, raw
	}
	host = strings.ToLower(parsed.Hostname())
	parsed.Scheme = strings.ToLower(parsed.Scheme)
	port := parsed.Port()
	if port == map[string]string{"http": "80", "https": "443"}[parsed.Scheme] {
		port = ""
	}
	switch {
	case port != "":
		parsed.Host = net.JoinHostPort(host, port)
	case strings.Contains(host, ":"):
		parsed.Host = "[" + host + "]"
	default:
		parsed.Host = host
	}
	if parsed.Path == "" {
		parsed.Path = "/"
	}
	return parsed.String(), host
}
