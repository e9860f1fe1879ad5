// Package plans owns the configuration of plans: its form, its limits, and the plans that come with the program. It must
// not know which organization has which.
package plans

import (
	"bytes"
	_ "embed" // of the shipped plans
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/meetwire/meetwire/services/subscription/internal/core"
)

// Limits of what can be configured.
const (
	MaxPlans     = 100
	MaxWebhooks  = 1_000_000
	MinRetention = time.Hour
	MaxRetention = 10 * 365 * 24 * time.Hour
	maxFileBytes = 1 << 20
)

// Default is the plan of new organizations where nothing else is configured.
const Default = "enterprise"

//go:embed plans.yaml
var shipped []byte

// document is the form of the configuration.
type document struct {
	Plans []plan `yaml:"plans"`
}

type plan struct {
	Name              string        `yaml:"name"`
	WebhooksAvailable *bool         `yaml:"webhooks_available"`
	MaxPerTrigger     int           `yaml:"max_webhooks_per_trigger"`
	MaxWebhooks       int           `yaml:"max_webhooks"`
	RecordRetention   time.Duration `yaml:"record_retention"`
}

// Load returns the configured plans: source is the path of a file with YAML or JSON, JSON itself, or empty for those that
// come with the program; byDefault is the name of the plan that new organizations get, empty for Default. The error says
// everything that is wrong.
func Load(source, byDefault string) (core.Plans, error) {
	if byDefault == "" {
		byDefault = Default
	}
	text, err := read(source)
	if err != nil {
		return core.Plans{}, err
	}
	var d document
	decoder := yaml.NewDecoder(bytes.NewReader(text))
	decoder.KnownFields(true)
	if err := decoder.Decode(&d); err != nil && !errors.Is(err, io.EOF) {
		return core.Plans{}, fmt.Errorf("read the plans: %w", err)
	}
	if err := decoder.Decode(new(any)); !errors.Is(err, io.EOF) {
		return core.Plans{}, errors.New("read the plans: there must be one document only")
	}
	configured, err := d.check()
	if err != nil {
		return core.Plans{}, err
	}
	plans := core.NewPlans(configured, byDefault)
	if _, ok := plans.Plan(byDefault); !ok {
		return core.Plans{}, fmt.Errorf("the default plan %q must be one of the plans: %s", byDefault, names(plans))
	}
	return plans, nil
}

// read returns the text of the configuration.
func read(source string) ([]byte, error) {
	switch trimmed := strings.TrimSpace(source); {
	case trimmed == "":
		return shipped, nil
	case strings.HasPrefix(trimmed, "{"):
		return []byte(trimmed), nil
	}
	file, err := os.Open(source) //nolint:gosec // G304: which file it is, the operator decides
	if err != nil {
		return nil, fmt.Errorf("open the plans: %w", err)
	}
	text, err := io.ReadAll(io.LimitReader(file, maxFileBytes+1))
	if err = errors.Join(err, file.Close()); err != nil {
		return nil, fmt.Errorf("read the plans: %w", err)
	}
	if len(text) > maxFileBytes {
		return nil, fmt.Errorf("read the plans: %s must have at most %d bytes", source, maxFileBytes)
	}
	return text, nil
}

// check returns the plans, or everything that is wrong with them.
func (d document) check() ([]core.Plan, error) {
	if len(d.Plans) == 0 || len(d.Plans) > MaxPlans {
		return nil, fmt.Errorf("plans: there must be from 1 to %d, and there are %d", MaxPlans, len(d.Plans))
	}
	var all []error
	seen := make(map[string]bool, len(d.Plans))
	checked := make([]core.Plan, len(d.Plans))
	for i, p := range d.Plans {
		path := fmt.Sprintf("plans[%d]", i)
		if seen[p.Name] {
			all = append(all, fmt.Errorf("%s.name: %q is there already", path, p.Name))
		}
		seen[p.Name] = true
		all = append(all, p.check(path))
		checked[i] = core.Plan{
			Name: p.Name, WebhooksAvailable: p.WebhooksAvailable != nil && *p.WebhooksAvailable,
			MaxPerTrigger: p.MaxPerTrigger, MaxWebhooks: p.MaxWebhooks, RecordRetention: p.RecordRetention,
		}
	}
	return checked, errors.Join(all...)
}

// check returns everything that is wrong with a plan.
func (p plan) check(path string) error {
	var all []error
	fail := func(field, format string, args ...any) {
		all = append(all, fmt.Errorf("%s.%s: %s", path, field, fmt.Sprintf(format, args...)))
	}
	if !core.IsSlug(p.Name) {
		fail("name", "must be 1 to 63 characters of a-z, 0-9 and '-'")
	}
	if p.WebhooksAvailable == nil {
		fail("webhooks_available", "is required: true or false")
	}
	for _, limit := range []struct {
		field string
		value int
	}{{"max_webhooks_per_trigger", p.MaxPerTrigger}, {"max_webhooks", p.MaxWebhooks}} {
		if limit.value < 0 || limit.value > MaxWebhooks {
			fail(limit.field, "must be from 1 to %d, or 0 for no limit", MaxWebhooks)
		}
		if limit.value > 0 && p.WebhooksAvailable != nil && !*p.WebhooksAvailable {
			fail(limit.field, "must not be set where webhooks_available is false")
		}
	}
	if p.RecordRetention != 0 && (p.RecordRetention < MinRetention || p.RecordRetention > MaxRetention) {
		fail("record_retention", "must be from %s to %s, or absent for that of the installation", MinRetention, MaxRetention)
	}
	return errors.Join(all...)
}

func names(plans core.Plans) string {
	var all []string
	for _, p := range plans.All() {
		all = append(all, p.Name)
	}
	return strings.Join(all, ", ")
}
