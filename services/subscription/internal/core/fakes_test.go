package core_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
)

// memoryStore has one webhook at most.
type memoryStore struct {
	organizations map[string]core.Organization
	triggers      []core.TriggerFacts
	teams         []string
	others        [][]string
	webhook       *core.Webhook
	revision      int64
	writes        int
	last          core.WebhookStep
}

// memoryView implements core.WebhookView.
type memoryView struct {
	*memoryStore

	organization core.Organization
}

func (v memoryView) Organization() core.Organization { return v.organization }

func (v memoryView) Triggers(context.Context, []string) ([]core.TriggerFacts, error) {
	return v.triggers, nil
}

func (v memoryView) Teams(_ context.Context, ids []string) (map[string]bool, error) {
	known := map[string]bool{}
	for _, id := range ids {
		known[id] = slices.Contains(v.teams, id)
	}
	return known, nil
}

func (v memoryView) TriggersOfOthers(context.Context, string) ([][]string, error) {
	return v.others, nil
}

func (m *memoryStore) view(id string) (memoryView, error) {
	o, ok := m.organizations[id]
	if !ok {
		return memoryView{}, core.NoOrganization(id)
	}
	return memoryView{memoryStore: m, organization: o}, nil
}

func (m *memoryStore) InsertWebhook(ctx context.Context, organization, _ string, _ core.Request,
	make func(context.Context, core.WebhookView) (core.WebhookStep, error),
) (core.Webhook, error) {
	view, err := m.view(organization)
	if err != nil {
		return core.Webhook{}, err
	}
	step, err := make(ctx, view)
	return m.store(step), err
}

func (m *memoryStore) store(step core.WebhookStep) core.Webhook {
	m.last = step
	if !step.Write {
		return step.Webhook
	}
	m.revision++
	m.writes++
	w := step.Webhook
	w.Revision = m.revision
	m.webhook = &w
	return w
}

func (m *memoryStore) UpdateWebhook(ctx context.Context, organization, id string, _ bool,
	change func(context.Context, core.WebhookView, core.Webhook) (core.WebhookStep, error),
) (core.Webhook, *core.Operation, error) {
	view, err := m.view(organization)
	if err != nil {
		return core.Webhook{}, nil, err
	}
	if m.webhook == nil || m.webhook.Organization != organization || m.webhook.ID != id {
		return core.Webhook{}, nil, core.NoWebhook(organization, id)
	}
	step, err := change(ctx, view, *m.webhook)
	if err != nil {
		return core.Webhook{}, nil, err
	}
	return m.store(step), step.Operation, nil
}

func (m *memoryStore) DeleteWebhook(_ context.Context, organization, id string, check func(core.Webhook) error) error {
	if m.webhook == nil || m.webhook.Organization != organization || m.webhook.ID != id {
		return core.NoWebhook(organization, id)
	}
	if err := check(*m.webhook); err != nil {
		return err
	}
	m.webhook = nil
	return nil
}

func (m *memoryStore) Webhook(_ context.Context, organization, id string) (core.Webhook, error) {
	if m.webhook == nil {
		return core.Webhook{}, core.NoWebhook(organization, id)
	}
	return *m.webhook, nil
}

// plainSealer seals so that a test can see what was sealed.
type plainSealer struct{ err error }

func (p *plainSealer) Seal(text, associated string) ([]byte, error) {
	return []byte(associated + "|" + text), p.err
}

func (p *plainSealer) Open(sealed []byte, associated string) (string, error) {
	text, ok := strings.CutPrefix(string(sealed), associated+"|")
	if !ok {
		return "", errors.New("sealed for something else")
	}
	return text, nil
}

// someDialects has one dialect of each kind.
type someDialects struct{}

func (someDialects) Names() []string { return []string{"standard", "text", "shared"} }

func (someDialects) Dialect(name string) (core.Dialect, bool) {
	week := core.FailureThreshold{WithoutSuccess: 5 * 24 * time.Hour}
	switch name {
	case "standard":
		return core.Dialect{Name: name, SecretRequired: true, ManySignatures: true, Retry: core.PresetStandard, Failures: week}, true
	case "text":
		return core.Dialect{Name: name, HTTPAllowed: true, Retry: core.PresetExponential, Failures: core.FailureThreshold{Off: true}}, true
	case "shared":
		return core.Dialect{Name: name, SecretRequired: true, OrganizationSecret: true, HTTPSOnly: true, Retry: core.PresetStandard, Failures: week}, true
	}
	return core.Dialect{}, false
}

func (someDialects) CheckOptions(dialect string, o core.DialectOptions) []fault.Field {
	if o.ClientID != 0 && dialect != "text" {
		return []fault.Field{{Path: "client_id", Rule: "unused", Message: "must be 0"}}
	}
	return nil
}

func (someDialects) CheckSecret(dialect, secret string) string {
	if secret == "" || dialect == "standard" && !strings.HasPrefix(secret, "whsec_") {
		return "must begin with whsec_"
	}
	return ""
}

func (someDialects) NewSecret(dialect string) (string, error) {
	if dialect == "standard" {
		return secretOf(32), nil
	}
	return "made", nil
}

// someFilters finds fault with one filter.
type someFilters struct{}

func (someFilters) Check(source string) string {
	if source == "bad" {
		return "line 1, column 1: undeclared reference"
	}
	return ""
}

func (someFilters) Matches(context.Context, string, []byte) (bool, error) { return true, nil }
