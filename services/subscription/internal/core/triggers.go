package core

import (
	"context"
	"strings"
	"time"

	"github.com/meetwire/meetwire/pkg/fault"
)

// TriggerStore keeps triggers. Besides what each method names, all return fault.Unavailable while the store is away, and
// fault.NotFound when the organization does not exist. An organization that is empty stands for the platform.
type TriggerStore interface {
	// InsertTrigger stores a new one, or only tries to. fault.AlreadyExists when its id is in use; *RepeatedRequestError
	// when the request was made before.
	InsertTrigger(ctx context.Context, t Trigger, request Request, try bool) error
	// Trigger returns one of the organization's own, or of the platform, or fault.NotFound.
	Trigger(ctx context.Context, organization, id string) (Trigger, error)
	// UpdateTrigger gives the current state to change, which nobody else can change meanwhile, and stores what comes
	// back, unless changed is false, or only tries to. asked returns the webhooks that ask for the trigger, by its id or
	// by a group. An error of change comes back as it is.
	UpdateTrigger(ctx context.Context, organization, id string, try bool,
		change func(current Trigger, asked func() (InUse, error)) (next Trigger, changed bool, err error)) (Trigger, error)
	// DeleteTrigger removes a trigger when check accepts its state and the webhooks that ask for it by its id.
	DeleteTrigger(ctx context.Context, organization, id string, check func(Trigger, InUse) error) error
}

// TriggerFilter says which triggers a list has. What is nil does not matter.
type TriggerFilter struct {
	Group       *string
	Deprecated  *bool
	BuiltIn     *bool
	Operational *bool
}

// Schemas knows JSON Schema.
type Schemas interface {
	// CheckSchema returns what is wrong with a JSON Schema; empty: nothing.
	CheckSchema(schema string) (problem string)
	// CheckSample returns where and how a text breaks a schema that is all right; empty: it satisfies it.
	CheckSample(schema, sample string) (problem string)
	// Incompatible returns what receivers rely on that know the old schema, and the new one does not promise: JSON
	// pointers into the data, each with a reason.
	Incompatible(old, next string) []string
}

// TriggerChange is what a caller wants of a trigger, new or existing. What is nil stays as it is, or takes its default in
// a new one.
type TriggerChange struct {
	DisplayName *string
	Description *string
	Group       *string
	Schema      *string
	Sample      *string
	Deprecated  *bool
	WarnOnly    *bool
}

// Triggers makes, changes and deletes triggers by their rules.
type Triggers struct {
	store   TriggerStore
	schemas Schemas
	now     func() time.Time
}

// NewTriggers returns the steps over a store.
func NewTriggers(store TriggerStore, schemas Schemas, now func() time.Time) *Triggers {
	return &Triggers{store: store, schemas: schemas, now: now}
}

// Create makes a trigger of an organization, or of the platform when that is empty; with try it only checks. A request
// that was made before makes nothing, and returns what it has made.
func (s *Triggers) Create(ctx context.Context, organization, id string, change TriggerChange, request Request, try bool) (Trigger, error) {
	if change.DisplayName == nil {
		change.DisplayName = new(string)
	}
	if change.Sample == nil {
		change.Sample = new(string)
	}
	now := Stored(s.now())
	t := Trigger{
		Organization: organization, ID: id, Group: DefaultTriggerGroup, Schema: AnySchema, Version: 1, CreateTime: now, UpdateTime: now,
	}
	fields := checkNewTrigger(organization, id)
	t, wrong := s.apply(t, change)
	if err := invalid(append(fields, wrong...)); err != nil {
		return Trigger{}, err
	}
	err := s.store.InsertTrigger(ctx, t, request, try)
	if made, ok := repeated(err); ok {
		return s.store.Trigger(ctx, organization, made)
	}
	if err != nil {
		return Trigger{}, err
	}
	return t, nil
}

// TriggerUpdate is how a trigger is changed.
type TriggerUpdate struct {
	Change            TriggerChange
	ETag              string // when it is not empty, it must be the current one
	AllowIncompatible bool   // also when the new schema breaks what receivers rely on
	Try               bool   // only check
}

// Update changes a trigger of an organization, or of the platform when that is empty. A change that changes nothing
// leaves the trigger, its etag and its update time alone.
func (s *Triggers) Update(ctx context.Context, organization, id string, update TriggerUpdate) (Trigger, error) {
	if err := checkOwner(organization, id); err != nil {
		return Trigger{}, err
	}
	return s.store.UpdateTrigger(ctx, organization, id, update.Try, func(current Trigger, asked func() (InUse, error)) (Trigger, bool, error) {
		if err := current.CheckETag(update.ETag); err != nil {
			return Trigger{}, false, err
		}
		next, fields := s.apply(current, update.Change)
		if current.BuiltIn && !next.sameContent(current) {
			return Trigger{}, false, fault.New(fault.FailedPrecondition, "BUILT_IN_TRIGGER",
				"%s comes with the program: only deprecated and schema_mode can be changed", current.Name())
		}
		if err := invalid(fields); err != nil {
			return Trigger{}, false, err
		}
		if next == current {
			return current, false, nil
		}
		if next.Schema != current.Schema && !update.AllowIncompatible {
			if err := s.checkCompatible(current, next, asked); err != nil {
				return Trigger{}, false, err
			}
		}
		next.Version++
		next.UpdateTime = Stored(s.now())
		return next, true, nil
	})
}

// Delete removes a trigger of an organization, or of the platform when that is empty, for which no webhook asks by its
// id.
func (s *Triggers) Delete(ctx context.Context, organization, id, etag string) error {
	if err := checkOwner(organization, id); err != nil {
		return err
	}
	return s.store.DeleteTrigger(ctx, organization, id, func(current Trigger, asked InUse) error {
		if err := current.CheckETag(etag); err != nil {
			return err
		}
		if current.BuiltIn {
			return fault.New(fault.FailedPrecondition, "BUILT_IN_TRIGGER",
				"%s comes with the program and cannot be deleted; it can be deprecated", current.Name())
		}
		return asked.fault("TRIGGER_IN_USE", current.Name()+" cannot be deleted", "ask for it")
	})
}

// checkCompatible returns fault.FailedPrecondition when webhooks ask for a trigger whose new schema breaks what their
// receivers rely on.
func (s *Triggers) checkCompatible(current, next Trigger, asked func() (InUse, error)) error {
	broken := s.schemas.Incompatible(current.Schema, next.Schema)
	if len(broken) == 0 {
		return nil
	}
	webhooks, err := asked()
	if err != nil || webhooks.Count == 0 {
		return err
	}
	failure := fault.New(fault.FailedPrecondition, "INCOMPATIBLE_SCHEMA",
		"the new schema breaks what the receivers of %d webhooks rely on: %s; with allow_incompatible it is taken all the same",
		webhooks.Count, strings.Join(broken, "; "))
	for _, one := range broken {
		failure.Fields = append(failure.Fields, fault.Field{Path: "trigger.schema", Rule: ruleCompatible, Message: one})
	}
	return failure
}

// apply returns the trigger with the change, and everything that is wrong with it.
func (s *Triggers) apply(t Trigger, change TriggerChange) (Trigger, []fault.Field) {
	var fields []fault.Field
	if change.DisplayName != nil {
		fields = append(fields, checkDisplayName("trigger.display_name", *change.DisplayName)...)
		t.DisplayName = *change.DisplayName
	}
	if change.Description != nil {
		fields = append(fields, checkTriggerDescription(*change.Description)...)
		t.Description = *change.Description
	}
	if change.Group != nil {
		fields = append(fields, checkGroup(*change.Group)...)
		if t.Group = *change.Group; t.Group == "" {
			t.Group = DefaultTriggerGroup
		}
	}
	if change.Deprecated != nil {
		t.Deprecated = *change.Deprecated
	}
	if change.WarnOnly != nil {
		t.WarnOnly = *change.WarnOnly
	}
	if change.Schema == nil && change.Sample == nil {
		return t, fields
	}
	if change.Schema != nil {
		if t.Schema = *change.Schema; t.Schema == "" {
			t.Schema = AnySchema
		}
	}
	if change.Sample != nil {
		t.Sample = *change.Sample
	}
	return t, append(fields, s.checkTexts(t)...)
}

// checkTexts returns what is wrong with a schema and its sample.
func (s *Triggers) checkTexts(t Trigger) []fault.Field {
	var fields []fault.Field
	if len(t.Schema) > MaxSchemaBytes {
		fields = field("trigger.schema", ruleMaxBytes, "must have at most %d bytes", MaxSchemaBytes)
	} else if problem := s.schemas.CheckSchema(t.Schema); problem != "" {
		fields = field("trigger.schema", ruleSchema, "%s", problem)
	}
	switch {
	case t.Sample == "":
		return append(fields, field("trigger.sample", ruleRequired, "is required: a complete data of an event, as JSON")...)
	case len(t.Sample) > MaxSampleBytes:
		return append(fields, field("trigger.sample", ruleMaxBytes, "must have at most %d bytes", MaxSampleBytes)...)
	case len(fields) > 0:
		return fields // nothing can be said of the sample
	}
	if problem := s.schemas.CheckSample(t.Schema, t.Sample); problem != "" {
		fields = field("trigger.sample", ruleSatisfies, "%s", problem)
	}
	return fields
}
