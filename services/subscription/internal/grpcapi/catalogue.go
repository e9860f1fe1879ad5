package grpcapi

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/meetwire/meetwire/pkg/dialect"
	"github.com/meetwire/meetwire/pkg/fault"
	subscriptionv1 "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
)

const (
	// catalogueAge is how long the public catalogue is kept: everybody may ask for it, and rendering it costs.
	catalogueAge = 10 * time.Second
	// catalogueLimit is how many triggers the public catalogue has at most.
	catalogueLimit = 1000
	// sampleOrganization is whose events the samples of the platform's triggers are.
	sampleOrganization = "acme"
)

// GetTriggerSample implements TriggerService.
func (s *Triggers) GetTriggerSample(ctx context.Context, req *subscriptionv1.GetTriggerSampleRequest) (*subscriptionv1.TriggerSample, error) {
	name, err := findDialect(req.GetDialect())
	if err != nil {
		return nil, err
	}
	organization, t, err := s.trigger(ctx, req.GetName())
	if err != nil {
		return nil, err
	}
	return renderSample(name, owner(organization), t)
}

// GetTriggerSchema implements TriggerService.
func (s *Triggers) GetTriggerSchema(ctx context.Context, req *subscriptionv1.GetTriggerSchemaRequest) (*subscriptionv1.TriggerSchema, error) {
	name, err := findDialect(req.GetDialect())
	if err != nil {
		return nil, err
	}
	_, t, err := s.trigger(ctx, req.GetName())
	if err != nil {
		return nil, err
	}
	schema, err := renderSchema(name, t)
	if err != nil {
		return nil, err
	}
	return &subscriptionv1.TriggerSchema{Schema: schema}, nil
}

// ListCatalogue implements TriggerService.
func (s *Triggers) ListCatalogue(ctx context.Context, req *subscriptionv1.ListCatalogueRequest) (*subscriptionv1.ListCatalogueResponse, error) {
	name, err := findDialect(req.GetDialect())
	if err != nil {
		return nil, err
	}
	return s.catalogue.in(ctx, name)
}

// findDialect returns the name of a dialect, the default one for an empty name.
func findDialect(name string) (string, error) {
	if name == "" {
		return dialect.Names()[0], nil
	}
	if _, ok := dialect.Lookup(name); ok {
		return name, nil
	}
	return "", fault.Invalid(fault.Field{
		Path: "dialect", Rule: "in", Message: "must be one of " + strings.Join(dialect.Names(), ", "),
	})
}

// renderSample returns the sample of a trigger as a webhook of a dialect would get it: an event that was accepted when
// the trigger was last changed.
func renderSample(name, organization string, t core.Trigger) (*subscriptionv1.TriggerSample, error) {
	if organization == "" {
		organization = sampleOrganization
	}
	event, err := dialect.SampleEvent(organization, t.ID, []byte(t.Sample), t.UpdateTime)
	if err != nil {
		return nil, unrenderable(t, name, err)
	}
	secret, err := dialect.NewSecret(name) // signs headers that nobody sees
	if err != nil {
		return nil, fmt.Errorf("make a secret for a sample: %w", err)
	}
	renderer, err := dialect.New(dialect.Config{Name: name, Secrets: []string{secret}})
	if err != nil {
		return nil, fmt.Errorf("render a sample: %w", err)
	}
	rendered, err := renderer.Render(event, t.UpdateTime)
	if err != nil {
		return nil, unrenderable(t, name, err)
	}
	return &subscriptionv1.TriggerSample{
		DialectTrigger: dialect.TriggerName(name, t.ID), ContentType: rendered.Header("Content-Type"), Body: string(rendered.Body),
	}, nil
}

// renderSchema returns the schema of what a webhook of a dialect gets.
func renderSchema(name string, t core.Trigger) (string, error) {
	schema, err := dialect.Schema(name, t.ID, []byte(t.Schema))
	if err != nil {
		return "", unrenderable(t, name, err)
	}
	return string(schema), nil
}

// unrenderable is the fault of a trigger whose data has no form in a dialect.
func unrenderable(t core.Trigger, name string, err error) error {
	if errors.Is(err, dialect.ErrUnrenderable) || errors.Is(err, dialect.ErrSchema) {
		return fault.Wrap(fault.FailedPrecondition, "NO_FORM_IN_DIALECT", err, "%s has no form in the dialect %s", t.ID, name)
	}
	return fmt.Errorf("render %s in %s: %w", t.ID, name, err)
}

// publicCatalogue documents the triggers of the platform. What it has rendered it keeps for a while, and longer when the
// store is away.
type publicCatalogue struct {
	reader TriggerReader
	now    func() time.Time
	turn   chan struct{}                // has one element: whoever took it may use what follows
	kept   map[string]renderedCatalogue // by dialect
}

type renderedCatalogue struct {
	at     time.Time
	answer *subscriptionv1.ListCatalogueResponse
}

func newPublicCatalogue(reader TriggerReader, now func() time.Time) *publicCatalogue {
	c := &publicCatalogue{reader: reader, now: now, turn: make(chan struct{}, 1), kept: make(map[string]renderedCatalogue)}
	c.turn <- struct{}{}
	return c
}

// in returns the catalogue in a dialect. Only one caller at a time has it rendered.
func (c *publicCatalogue) in(ctx context.Context, name string) (*subscriptionv1.ListCatalogueResponse, error) {
	select {
	case <-c.turn:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { c.turn <- struct{}{} }()
	kept, ok := c.kept[name]
	if ok && c.now().Sub(kept.at) < catalogueAge {
		return kept.answer, nil
	}
	answer, err := c.render(ctx, name)
	if ok && fault.Is(err, fault.Unavailable) {
		return kept.answer, nil
	}
	if err != nil {
		return nil, err
	}
	c.kept[name] = renderedCatalogue{at: c.now(), answer: answer}
	return answer, nil
}

// render makes the catalogue in a dialect.
func (c *publicCatalogue) render(ctx context.Context, name string) (*subscriptionv1.ListCatalogueResponse, error) {
	triggers, err := c.reader.Triggers(ctx, "", core.TriggerFilter{}, "", "", catalogueLimit)
	if err != nil {
		return nil, err
	}
	answer := &subscriptionv1.ListCatalogueResponse{Dialect: name, Dialects: dialect.Names()}
	for _, t := range triggers {
		entry, err := catalogueEntry(name, t)
		if err != nil {
			return nil, err
		}
		answer.Entries = append(answer.Entries, entry)
	}
	return answer, nil
}

// catalogueEntry documents a trigger; one that has no form in the dialect has neither sample nor schema.
func catalogueEntry(name string, t core.Trigger) (*subscriptionv1.ListCatalogueResponse_Entry, error) {
	entry := &subscriptionv1.ListCatalogueResponse_Entry{
		Trigger: t.ID, DisplayName: t.DisplayName, Description: t.Description, Group: t.Group, Deprecated: t.Deprecated,
		DialectTrigger: dialect.TriggerName(name, t.ID),
	}
	sample, err := renderSample(name, "", t)
	if fault.Is(err, fault.FailedPrecondition) {
		return entry, nil
	}
	if err != nil {
		return nil, err
	}
	schema, err := renderSchema(name, t)
	if err != nil && !fault.Is(err, fault.FailedPrecondition) {
		return nil, err
	}
	entry.ContentType, entry.Sample, entry.Schema = sample.GetContentType(), sample.GetBody(), schema
	return entry, nil
}
