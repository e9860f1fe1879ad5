package grpcapi

import (
	"context"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/meetwire/meetwire/pkg/aip"
	operationv1 "github.com/meetwire/meetwire/proto/gen/meetwire/operation/v1"
	subscriptionv1 "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
)

// OrganizationReader reads organizations. All methods return fault.Unavailable while the store is away.
type OrganizationReader interface {
	// Organization returns one, or fault.NotFound.
	Organization(ctx context.Context, id string) (core.Organization, error)
	// Organizations returns at most limit of them whose slug comes after the given one, in their order; those of a plan
	// when it is not empty.
	Organizations(ctx context.Context, plan, after string, limit int) ([]core.Organization, error)
}

// Organizations implements OrganizationService.
type Organizations struct {
	subscriptionv1.UnimplementedOrganizationServiceServer

	steps  *core.Organizations
	reader OrganizationReader
}

// NewOrganizations returns the service over the steps that change organizations and a reader of them.
func NewOrganizations(steps *core.Organizations, reader OrganizationReader) *Organizations {
	return &Organizations{steps: steps, reader: reader}
}

// CreateOrganization implements OrganizationService.
func (s *Organizations) CreateOrganization(ctx context.Context, req *subscriptionv1.CreateOrganizationRequest) (*subscriptionv1.Organization, error) {
	change, err := organizationChange(req.GetOrganization(), nil)
	if err != nil {
		return nil, err
	}
	request, err := requestOf("CreateOrganization", req)
	if err != nil {
		return nil, err
	}
	o, err := s.steps.Create(ctx, req.GetOrganizationId(), change, request)
	if err != nil {
		return nil, err
	}
	return organizationMessage(o), nil
}

// GetOrganization implements OrganizationService.
func (s *Organizations) GetOrganization(ctx context.Context, req *subscriptionv1.GetOrganizationRequest) (*subscriptionv1.Organization, error) {
	id, err := parseOrganization("name", req.GetName())
	if err != nil {
		return nil, err
	}
	o, err := s.reader.Organization(ctx, id)
	if err != nil {
		return nil, err
	}
	return organizationMessage(o), nil
}

// ListOrganizations implements OrganizationService.
func (s *Organizations) ListOrganizations(ctx context.Context, req *subscriptionv1.ListOrganizationsRequest) (*subscriptionv1.ListOrganizationsResponse, error) {
	filter, err := aip.ParseFilter(req.GetFilter(), "plan")
	if err != nil {
		return nil, err
	}
	plan := ""
	if name := filter["plan"]; name != "" {
		if plan, err = parsePlan("filter", name); err != nil {
			return nil, err
		}
	}
	organizations, next, err := list(req,
		func(after slugCursor, limit int) ([]core.Organization, error) {
			return s.reader.Organizations(ctx, plan, after.Slug, limit)
		},
		func(o core.Organization) slugCursor { return slugCursor{Slug: o.ID} })
	if err != nil {
		return nil, err
	}
	return &subscriptionv1.ListOrganizationsResponse{
		Organizations: messages(organizations, organizationMessage), NextPageToken: next,
	}, nil
}

// UpdateOrganization implements OrganizationService.
func (s *Organizations) UpdateOrganization(ctx context.Context, req *subscriptionv1.UpdateOrganizationRequest) (*subscriptionv1.Organization, error) {
	wanted := req.GetOrganization()
	id, err := parseOrganization("organization.name", wanted.GetName())
	if err != nil {
		return nil, err
	}
	change, err := organizationChange(wanted, req.GetUpdateMask().GetPaths())
	if err != nil {
		return nil, err
	}
	o, err := s.steps.Update(ctx, id, wanted.GetEtag(), change)
	if err != nil {
		return nil, err
	}
	return organizationMessage(o), nil
}

// DeleteOrganization implements OrganizationService.
func (s *Organizations) DeleteOrganization(ctx context.Context, req *subscriptionv1.DeleteOrganizationRequest) (*operationv1.Operation, error) {
	id, err := parseOrganization("name", req.GetName())
	if err != nil {
		return nil, err
	}
	operation, err := s.steps.Delete(ctx, id, req.GetEtag())
	if err != nil {
		return nil, err
	}
	return operationMessage(operation)
}

// organizationChange returns what a request wants to be changed.
func organizationChange(o *subscriptionv1.Organization, paths []string) (core.OrganizationChange, error) {
	changed, err := changedFields(o, paths, "display_name", "allow_http", "plan", "webhook_defaults", "ingest_quota", "client_id")
	if err != nil {
		return core.OrganizationChange{}, err
	}
	var change core.OrganizationChange
	if changed["display_name"] {
		change.DisplayName = &o.DisplayName
	}
	if changed["allow_http"] {
		change.AllowHTTP = &o.AllowHttp
	}
	if changed["plan"] {
		plan := ""
		if o.GetPlan() != "" {
			if plan, err = parsePlan("organization.plan", o.GetPlan()); err != nil {
				return core.OrganizationChange{}, err
			}
		}
		change.Plan = &plan
	}
	if changed["webhook_defaults"] {
		change.WebhookDefaults = new(webhookDefaultsOf(o.GetWebhookDefaults()))
	}
	if changed["ingest_quota"] {
		var quota *core.IngestQuota
		if q := o.GetIngestQuota(); q != nil {
			quota = &core.IngestQuota{EventsPerSecond: q.GetEventsPerSecond(), Burst: q.GetBurst()}
		}
		change.IngestQuota = &quota
	}
	if changed["client_id"] {
		change.ClientID = &o.ClientId
	}
	return change, nil
}

func webhookDefaultsOf(d *subscriptionv1.WebhookDefaults) core.WebhookDefaults {
	defaults := core.WebhookDefaults{
		Dialect: d.GetDialect(), Timeout: duration(d.GetTimeout()), MaxConcurrency: d.GetMaxConcurrency(),
		RateLimit: d.GetRateLimit(), AlertEmails: d.GetAlertEmails(),
	}
	if d.GetRetryPolicy() != nil {
		defaults.RetryPolicy = new(retryPolicy(d.GetRetryPolicy()))
	}
	if d.GetFailureThreshold() != nil {
		defaults.FailureThreshold = new(failureThreshold(d.GetFailureThreshold()))
	}
	return defaults
}

func organizationMessage(o core.Organization) *subscriptionv1.Organization {
	message := &subscriptionv1.Organization{
		Name:            o.Name(),
		DisplayName:     o.DisplayName,
		AllowHttp:       o.AllowHTTP,
		CreateTime:      timestamppb.New(o.CreateTime),
		Plan:            planName(o.Plan),
		WebhookDefaults: webhookDefaultsMessage(o.WebhookDefaults),
		ClientId:        o.ClientID,
		Etag:            o.ETag(),
		UpdateTime:      timestamppb.New(o.UpdateTime),
	}
	if q := o.IngestQuota; q != nil {
		message.IngestQuota = &subscriptionv1.IngestQuota{EventsPerSecond: q.EventsPerSecond, Burst: q.Burst}
	}
	return message
}

// webhookDefaultsMessage returns the message of defaults; nil when nothing is set.
func webhookDefaultsMessage(d core.WebhookDefaults) *subscriptionv1.WebhookDefaults {
	if d.Zero() {
		return nil
	}
	message := &subscriptionv1.WebhookDefaults{
		Dialect: d.Dialect, Timeout: durationOrNil(d.Timeout), MaxConcurrency: d.MaxConcurrency, RateLimit: d.RateLimit,
		AlertEmails: d.AlertEmails,
	}
	if d.RetryPolicy != nil {
		message.RetryPolicy = retryPolicyMessage(*d.RetryPolicy)
	}
	if d.FailureThreshold != nil {
		message.FailureThreshold = failureThresholdMessage(*d.FailureThreshold)
	}
	return message
}

// messages makes messages of domain values.
func messages[V, M any](values []V, f func(V) M) []M {
	result := make([]M, len(values))
	for i, value := range values {
		result[i] = f(value)
	}
	return result
}
