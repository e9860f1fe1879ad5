package cli

import (
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/google/uuid"

	subscriptionv1 "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
)

type organizations struct {
	List   organizationsList   `cmd:"" help:"List organizations."`
	Get    organizationsGet    `cmd:"" help:"Show an organization."`
	Create organizationsCreate `cmd:"" help:"Create an organization. Its slug can never be used again."`
	Update organizationsUpdate `cmd:"" help:"Change an organization."`
	Delete organizationsDelete `cmd:"" help:"Delete an organization with everything that it has."`
}

func organizationColumns() []column {
	return []column{
		{"organization", "name"},
		{"name", "display_name"},
		{"plan", "plan"},
		{"http", "allow_http"},
		{"client id", "client_id"},
		{"events/s", "ingest_quota.events_per_second"},
		{"defaults", "webhook_defaults"},
		{"created", "create_time"},
	}
}

func (s *Session) organizationClient() (subscriptionv1.OrganizationServiceClient, error) {
	conn, err := s.conn()
	return subscriptionv1.NewOrganizationServiceClient(conn), err
}

// page are the flags of lists.
type page struct {
	Limit     int    `help:"Greatest number of results." default:"50"`
	PageToken string `help:"Go on after an earlier page." placeholder:"TOKEN"`
}

// more tells how to get the next page.
func (s *Session) more(next string) error {
	if next == "" || s.connection.Output != "table" {
		return nil
	}
	return s.say("\nmore: --page-token %s", next)
}

type organizationsList struct {
	page

	Filter string `help:"Which ones, such as plan=plans/startup."`
}

// Run implements the command.
func (c *organizationsList) Run(s *Session) error {
	client, err := s.organizationClient()
	if err != nil {
		return err
	}
	answer, err := client.ListOrganizations(s.ctx, &subscriptionv1.ListOrganizationsRequest{
		PageSize: int32(c.Limit), PageToken: c.PageToken, Filter: c.Filter, //nolint:gosec // G115: checked by the API
	})
	if err != nil {
		return err
	}
	columns := organizationColumns()
	return tablePage(s, answer.GetOrganizations(), answer, append(columns[:5:5], columns[7]))
}

type organizationsGet struct {
	Organization string `arg:"" optional:"" help:"Slug. Default: that of --organization."`
}

// Run implements the command.
func (c *organizationsGet) Run(s *Session) error {
	name, err := s.organizationArg(c.Organization)
	if err != nil {
		return err
	}
	client, err := s.organizationClient()
	if err != nil {
		return err
	}
	answer, err := client.GetOrganization(s.ctx, &subscriptionv1.GetOrganizationRequest{Name: name})
	if err != nil {
		return err
	}
	return s.show(answer, organizationColumns())
}

func (s *Session) organizationArg(slug string) (string, error) {
	if slug != "" {
		s.connection.Organization = slug
	}
	return s.organization()
}

// organizationFields are the fields that can be set.
type organizationFields struct {
	DisplayName     *string  `help:"Name for people."`
	Plan            *string  `help:"Plan, such as enterprise."`
	AllowHTTP       *bool    `help:"Whether webhooks may point to http:// URLs." name:"allow-http"`
	ClientID        *int64   `help:"clientId of the dialect axcelerate; 0: none." name:"client-id"`
	EventsPerSecond *float64 `help:"Greatest number of events per second over gRPC and REST; 0: no limit."`
	Burst           int32    `help:"How many events may come at once."`
}

// apply puts what is given into an organization and returns the paths of it.
func (f organizationFields) apply(to *subscriptionv1.Organization) []string {
	var m mask
	set(&m, "display_name", f.DisplayName, &to.DisplayName)
	set(&m, "allow_http", f.AllowHTTP, &to.AllowHttp)
	set(&m, "client_id", f.ClientID, &to.ClientId)
	if f.Plan != nil {
		plan := "plans/" + *f.Plan
		set(&m, "plan", &plan, &to.Plan)
	}
	if f.EventsPerSecond != nil {
		m.add("ingest_quota")
		if *f.EventsPerSecond != 0 {
			to.IngestQuota = &subscriptionv1.IngestQuota{EventsPerSecond: *f.EventsPerSecond, Burst: f.Burst}
		}
	}
	return m.paths
}

// mask collects the paths of an update mask.
type mask struct{ paths []string }

func (m *mask) add(path string) { m.paths = append(m.paths, path) }

// set copies a flag that is given.
func set[T any](m *mask, path string, from, to *T) {
	if from != nil {
		*to = *from
		m.add(path)
	}
}

type organizationsCreate struct {
	organizationFields

	Organization string `arg:"" help:"Slug: 1 to 63 characters of a-z, 0-9 and -."`
}

// Run implements the command.
func (c *organizationsCreate) Run(s *Session) error {
	client, err := s.organizationClient()
	if err != nil {
		return err
	}
	organization := &subscriptionv1.Organization{DisplayName: c.Organization}
	c.apply(organization)
	answer, err := client.CreateOrganization(s.ctx, &subscriptionv1.CreateOrganizationRequest{
		OrganizationId: c.Organization, Organization: organization, RequestId: uuid.NewString(),
	})
	if err != nil {
		return err
	}
	return s.show(answer, organizationColumns())
}

type organizationsUpdate struct {
	organizationFields

	Organization string `arg:"" help:"Slug."`
}

// Run implements the command.
func (c *organizationsUpdate) Run(s *Session) error {
	client, err := s.organizationClient()
	if err != nil {
		return err
	}
	name, err := s.organizationArg(c.Organization)
	if err != nil {
		return err
	}
	organization := &subscriptionv1.Organization{Name: name}
	paths := c.apply(organization)
	if len(paths) == 0 {
		return errNothingToChange
	}
	answer, err := client.UpdateOrganization(s.ctx, &subscriptionv1.UpdateOrganizationRequest{
		Organization: organization, UpdateMask: &fieldmaskpb.FieldMask{Paths: paths},
	})
	if err != nil {
		return err
	}
	return s.show(answer, organizationColumns())
}

type organizationsDelete struct {
	confirmation

	Organization string `arg:"" help:"Slug."`
}

// Run implements the command.
func (c *organizationsDelete) Run(s *Session) error {
	client, err := s.organizationClient()
	if err != nil {
		return err
	}
	name, err := s.organizationArg(c.Organization)
	if err != nil {
		return err
	}
	if err := c.confirm(s, "delete "+name+" with its webhooks, records and events", c.Organization); err != nil {
		return err
	}
	operation, err := client.DeleteOrganization(s.ctx, &subscriptionv1.DeleteOrganizationRequest{Name: name})
	if err != nil {
		return err
	}
	return s.show(operation, operationColumns())
}

type plans struct {
	List plansList `cmd:"" help:"List the plans of the installation."`
}

type plansList struct{}

// Run implements the command.
func (*plansList) Run(s *Session) error {
	conn, err := s.conn()
	if err != nil {
		return err
	}
	answer, err := subscriptionv1.NewPlanServiceClient(conn).ListPlans(s.ctx, &subscriptionv1.ListPlansRequest{})
	if err != nil {
		return err
	}
	return table(s, answer.GetPlans(), answer, []column{
		{"plan", "name"},
		{"webhooks", "webhooks_available"},
		{"per trigger", "max_webhooks_per_trigger"},
		{"in all", "max_webhooks"},
		{"records kept", "record_retention"},
	})
}
