package core

import (
	"context"
	"strings"
	"time"

	"github.com/meetwire/meetwire/pkg/fault"
)

// OrganizationStore keeps organizations. All methods return fault.Unavailable while it is away.
type OrganizationStore interface {
	// InsertOrganization stores a new one. fault.AlreadyExists when its slug is, or was, in use; *RepeatedRequestError
	// when the request was made before.
	InsertOrganization(ctx context.Context, o Organization, request Request) error
	// Organization returns one, or fault.NotFound.
	Organization(ctx context.Context, id string) (Organization, error)
	// UpdateOrganization gives the current state to change, which nobody else can change meanwhile, and stores what comes
	// back, unless changed is false. fault.NotFound when there is none; an error of change comes back as it is.
	UpdateOrganization(ctx context.Context, id string,
		change func(current Organization) (next Organization, changed bool, err error)) (Organization, error)
	// DeleteOrganization takes an organization away, with its webhooks, triggers, teams and keys, when check accepts its
	// current state, and begins the operation that removes what else there is of it.
	DeleteOrganization(ctx context.Context, id string, check func(current Organization) error) (Operation, error)
}

// OrganizationChange is what a caller wants of an organization, new or existing. What is nil stays as it is, or takes its
// default in a new one.
type OrganizationChange struct {
	DisplayName     *string
	AllowHTTP       *bool
	Plan            *string // name; empty: the default plan
	WebhookDefaults *WebhookDefaults
	IngestQuota     **IngestQuota // a pointer to nil: no limit
	ClientID        *int64
}

// Organizations makes, changes and deletes organizations by their rules.
type Organizations struct {
	store    OrganizationStore
	plans    Plans
	dialects Dialects
	now      func() time.Time
}

// NewOrganizations returns the steps over a store.
func NewOrganizations(store OrganizationStore, plans Plans, dialects Dialects, now func() time.Time) *Organizations {
	return &Organizations{store: store, plans: plans, dialects: dialects, now: now}
}

// Create makes an organization. fault.InvalidArgument names every field at fault. A request that was made before makes
// nothing, and returns what it has made.
func (s *Organizations) Create(ctx context.Context, id string, change OrganizationChange, request Request) (Organization, error) {
	var fields []fault.Field
	switch {
	case !IsSlug(id):
		fields = field("organization_id", ruleFormat, "must be 1 to 63 characters of a-z, 0-9 and '-'")
	case id == AnyOrganization:
		fields = field("organization_id", ruleFormat, "must not be %q, which stands for all organizations", AnyOrganization)
	}
	if change.DisplayName == nil {
		change.DisplayName = new(string)
	}
	if change.Plan == nil {
		change.Plan = new(string)
	}
	now := Stored(s.now())
	o, wrong := s.apply(Organization{ID: id, Version: 1, CreateTime: now, UpdateTime: now}, change)
	if err := invalid(append(fields, wrong...)); err != nil {
		return Organization{}, err
	}
	err := s.store.InsertOrganization(ctx, o, request)
	if made, ok := repeated(err); ok {
		return s.store.Organization(ctx, made)
	}
	if err != nil {
		return Organization{}, err
	}
	return o, nil
}

// Update changes an organization. An etag that is not empty must be the current one, else fault.Aborted. A change that
// changes nothing leaves the organization, its etag and its update time alone.
func (s *Organizations) Update(ctx context.Context, id, etag string, change OrganizationChange) (Organization, error) {
	return s.store.UpdateOrganization(ctx, id, func(current Organization) (Organization, bool, error) {
		if err := current.CheckETag(etag); err != nil {
			return Organization{}, false, err
		}
		next, fields := s.apply(current, change)
		if err := invalid(fields); err != nil {
			return Organization{}, false, err
		}
		if next.Same(current) {
			return current, false, nil
		}
		next.Version++
		next.UpdateTime = Stored(s.now())
		return next, true, nil
	})
}

// Delete takes an organization away for good. An etag that is not empty must be the current one, else fault.Aborted.
// The operation removes what is left of it.
func (s *Organizations) Delete(ctx context.Context, id, etag string) (Operation, error) {
	return s.store.DeleteOrganization(ctx, id, func(current Organization) error { return current.CheckETag(etag) })
}

// apply returns the organization with the change, and everything that is wrong with what it changes.
func (s *Organizations) apply(o Organization, change OrganizationChange) (Organization, []fault.Field) {
	var fields []fault.Field
	if change.DisplayName != nil {
		fields = append(fields, checkDisplayName("organization.display_name", *change.DisplayName)...)
		o.DisplayName = *change.DisplayName
	}
	if change.AllowHTTP != nil {
		o.AllowHTTP = *change.AllowHTTP
	}
	// One that is configured no longer can be sent back as it was read.
	if change.Plan != nil && (*change.Plan == "" || *change.Plan != o.Plan) {
		plan, wrong := s.findPlan(*change.Plan)
		fields = append(fields, wrong...)
		if len(wrong) == 0 {
			o.take(plan)
		}
	}
	if change.WebhookDefaults != nil {
		defaults, wrong := change.WebhookDefaults.Check("organization.webhook_defaults", s.dialects)
		fields = append(fields, wrong...)
		o.WebhookDefaults = defaults
	}
	if change.IngestQuota != nil {
		o.IngestQuota = nil
		if quota := *change.IngestQuota; quota != nil {
			fields = append(fields, quota.check("organization.ingest_quota")...)
			full := quota.withDefaults()
			o.IngestQuota = &full
		}
	}
	if change.ClientID != nil {
		if *change.ClientID < 0 {
			fields = append(fields, field("organization.client_id", ruleRange, "must be at least 0; 0: none")...)
		}
		o.ClientID = *change.ClientID
	}
	return o, fields
}

// findPlan returns a plan, the default one for an empty name, or what is wrong with the name.
func (s *Organizations) findPlan(name string) (Plan, []fault.Field) {
	if name == "" {
		return s.plans.Default(), nil
	}
	if plan, ok := s.plans.Plan(name); ok {
		return plan, nil
	}
	var known []string
	for _, p := range s.plans.All() {
		known = append(known, "plans/"+p.Name)
	}
	return Plan{}, field("organization.plan", ruleExists, "must be one of the configured plans: %s", strings.Join(known, ", "))
}
