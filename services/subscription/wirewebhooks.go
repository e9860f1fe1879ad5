package subscription

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/meetwire/meetwire/pkg/dialect"
	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/filter"
	"github.com/meetwire/meetwire/pkg/seal"
	"github.com/meetwire/meetwire/pkg/target"
	"github.com/meetwire/meetwire/pkg/version"
	"github.com/meetwire/meetwire/pkg/webhook"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
	"github.com/meetwire/meetwire/services/subscription/internal/grpcapi"
	"github.com/meetwire/meetwire/services/subscription/internal/pgstore"
)

// newWebhooks puts together what serves webhooks.
func (s *Service) newWebhooks(box *seal.Box, plans core.Plans) *grpcapi.Webhooks {
	rules := core.NewWebhooks(core.WebhookRules{
		Store: s.store, Sealer: secrets{box: box}, Dialects: dialects{}, Filters: filters{}, Plans: plans,
		NewID: uuid.NewString, AllowsHost: target.New(s.cfg.AllowedTargets).AllowsHost, ReservedHeader: dialect.IsReservedHeader, Now: s.deps.Now,
	})
	return grpcapi.NewWebhooks(rules, core.NewPreviews(rules, s.store, renderer{}), s.store, grpcapi.Testing{
		Tester: deliveryv1.NewInternalServiceClient(s.deps.Delivery), Told: pgstore.Told,
	})
}

// dialects implements core.Dialects.
type dialects struct{}

func (dialects) Names() []string { return dialect.Names() }

func (dialects) Dialect(name string) (core.Dialect, bool) {
	d, ok := dialect.Lookup(name)
	if !ok {
		return core.Dialect{}, false
	}
	traits := d.Traits()
	facts := core.Dialect{
		Name: name, HTTPAllowed: traits.HTTPAllowed, HTTPSOnly: traits.HTTPSOnly, SecretRequired: traits.Secret.Required,
		OrganizationSecret: traits.Secret.Organization, ManySignatures: traits.Secret.Keyed, HasClientID: traits.HasClientID,
		Retry: core.PresetStandard,
		Failures: core.FailureThreshold{
			ConsecutiveFailures: int32(traits.Failures.Consecutive), //nolint:gosec // G115: dialects have small numbers
			WithoutSuccess:      traits.Failures.WithoutSuccess,
		},
	}
	facts.Failures.Off = traits.Failures == dialect.Failures{}
	if traits.Retry.Preset == dialect.PresetAxcelerate {
		facts.Retry = core.PresetExponential
	}
	return facts, true
}

func (dialects) CheckOptions(name string, options core.DialectOptions) []fault.Field {
	return dialect.CheckOptions(name, dialect.Options(options))
}

func (dialects) CheckSecret(name, secret string) string {
	d, ok := dialect.Lookup(name)
	if !ok || dialect.CheckSecret(name, secret) == nil {
		return ""
	}
	return fmt.Sprintf("must be, for the dialect %s, %s", name, d.Traits().Secret.Format)
}

func (dialects) NewSecret(name string) (string, error) { return dialect.NewSecret(name) }

// filters implements core.Filters.
type filters struct{}

func (filters) Check(source string) string {
	if _, err := filter.Compile(source); err != nil {
		return err.Error()
	}
	return ""
}

func (filters) Matches(_ context.Context, source string, event []byte) (bool, error) {
	compiled, err := filter.Compile(source)
	if err != nil {
		return false, err
	}
	document, err := filter.NewEvent(event)
	if err != nil {
		return false, err
	}
	return compiled.Match(document)
}

// renderer implements core.Renderer.
type renderer struct{}

func (renderer) Sample(organization, trigger, data string, now time.Time) ([]byte, error) {
	event, err := dialect.SampleEvent(organization, trigger, []byte(data), now)
	if err != nil {
		return nil, err
	}
	return event.Document, nil
}

func (renderer) Render(in core.RenderInput) (core.Previewed, string, error) {
	made, err := dialect.New(dialect.Config{
		Name: in.Webhook.Dialect, Options: dialect.Options(in.Options), Secrets: in.Secrets, UserAgent: version.UserAgent,
	})
	if err != nil {
		return core.Previewed{}, "", err
	}
	event := &dialect.Event{
		Delivery: dialect.SampleDelivery, Webhook: in.Webhook.ID, Organization: in.Webhook.Organization, Trigger: in.Trigger,
		Source: in.Source, ID: in.EventID, Sequence: 1, AcceptedAt: in.Time, Document: slices.Clone(in.Document),
	}
	rendered, err := made.Render(event, in.Time)
	if errors.Is(err, dialect.ErrUnrenderable) {
		return core.Previewed{}, fmt.Sprintf("has no form in the dialect %s", in.Webhook.Dialect), nil
	}
	if err != nil {
		return core.Previewed{}, "", err
	}
	previewed := core.Previewed{Method: rendered.Method, Body: string(rendered.Body)}
	for _, h := range rendered.Headers {
		previewed.Headers = append(previewed.Headers, core.Header(h))
	}
	return previewed, "", nil
}

// secrets encrypts what is secret with the keyset of the installation.
type secrets struct {
	box *seal.Box
}

// New returns a new signing secret of an organization.
func (s secrets) New() (string, error) { return webhook.NewSecret() }

// Seal implements core.Sealer. Of a signing secret the whole text is encrypted, as it is shown.
func (s secrets) Seal(text, associated string) ([]byte, error) {
	return s.box.Seal([]byte(text), associated)
}

// Open implements core.Sealer.
func (s secrets) Open(sealed []byte, associated string) (string, error) {
	text, err := s.box.Open(sealed, associated)
	return string(text), err
}
