package core

import (
	"reflect"
	"regexp"
	"time"

	"github.com/meetwire/meetwire/pkg/fault"
)

// AnyOrganization stands for all organizations in a resource name, so no organization may be called that.
const AnyOrganization = "-"

// Limits of an ingest quota.
const (
	MinEventsPerSecond = 0.01
	MaxEventsPerSecond = 100_000.0
	MaxBurst           = 100_000
)

var slugPattern = regexp.MustCompile(`^[a-z0-9-]{1,63}$`)

// Organization is a tenant.
type Organization struct {
	ID                string // the slug
	DisplayName       string
	AllowHTTP         bool          // whether its webhooks may be called over plain http
	Plan              string        // name of its plan; empty: not assigned yet
	WebhooksAvailable bool          // as the plan says, or last said
	RecordRetention   time.Duration // as the plan says, or last said; 0: as long as the installation keeps them
	WebhookDefaults   WebhookDefaults
	IngestQuota       *IngestQuota   // nil: no limit
	ClientID          int64          // of the dialect axcelerate; 0: none
	Secrets           []SealedSecret // the newest first
	Version           int64          // counts its changes
	CreateTime        time.Time
	UpdateTime        time.Time
}

// Zero reports whether nothing is set.
func (d WebhookDefaults) Zero() bool { return reflect.DeepEqual(d, WebhookDefaults{}) }

// IngestQuota is how many events an organization may publish.
type IngestQuota struct {
	EventsPerSecond float64 // on average
	Burst           int32   // how many may come at once
}

// withDefaults returns the quota with the burst that it lacks: the events of one second, at least 1.
func (q IngestQuota) withDefaults() IngestQuota {
	if q.Burst == 0 {
		q.Burst = max(1, int32(min(q.EventsPerSecond, MaxBurst)))
	}
	return q
}

// check returns what is wrong with a quota.
func (q IngestQuota) check(path string) []fault.Field {
	var fields []fault.Field
	// Written so that NaN, which is neither less nor greater than anything, is refused.
	if !(q.EventsPerSecond >= MinEventsPerSecond && q.EventsPerSecond <= MaxEventsPerSecond) {
		fields = append(fields, field(path+".events_per_second", ruleRange, "must be from %g to %g", MinEventsPerSecond, MaxEventsPerSecond)...)
	}
	if q.Burst < 0 || q.Burst > MaxBurst {
		fields = append(fields, field(path+".burst", ruleRange, "must be from 1 to %d, or 0 for the events of one second", MaxBurst)...)
	}
	return fields
}

// IsSlug reports whether s can be the slug of an organization: 1 to 63 characters of a-z, 0-9 and '-'.
func IsSlug(s string) bool { return slugPattern.MatchString(s) }

// Name returns the resource name.
func (o Organization) Name() string { return "organizations/" + o.ID }

// ETag returns a text that changes with every change of the organization.
func (o Organization) ETag() string { return etagOf(o.Name(), o.CreateTime, o.Version) }

// CheckETag returns fault.Aborted when an etag is given and is not the current one.
func (o Organization) CheckETag(etag string) error { return checkETag(etag, o.ETag(), o.Name()) }

// Same reports whether two states of an organization differ in nothing.
func (o Organization) Same(other Organization) bool { return reflect.DeepEqual(o, other) }

// take makes a plan that of the organization.
func (o *Organization) take(p Plan) {
	o.Plan, o.WebhooksAvailable, o.RecordRetention = p.Name, p.WebhooksAvailable, p.RecordRetention
}

// WithPlan returns the organization with what a plan comes to.
func (o Organization) WithPlan(p Plan) Organization {
	o.take(p)
	return o
}

// PlanDocument returns what the organization has of its plan as the audit log shows it.
func (o Organization) PlanDocument() Document {
	return Document{
		"name": o.Name(), "plan": "plans/" + o.Plan, "webhooksAvailable": o.WebhooksAvailable,
		"recordRetention": o.RecordRetention.String(),
	}
}

// Document returns the organization as the audit log shows it, without its secrets.
func (o Organization) Document() Document {
	d := Document{
		"name": o.Name(), "displayName": o.DisplayName, "allowHttp": o.AllowHTTP, "plan": "plans/" + o.Plan,
		"webhookDefaults": o.WebhookDefaults.Document(),
	}
	if o.ClientID != 0 {
		d["clientId"] = o.ClientID
	}
	if q := o.IngestQuota; q != nil {
		d["ingestQuota"] = Document{"eventsPerSecond": q.EventsPerSecond, "burst": q.Burst}
	}
	return d
}

// ValidSecrets returns the signing secrets that are valid at a time, the newest first.
func (o Organization) ValidSecrets(at time.Time) []SealedSecret { return ValidSecrets(o.Secrets, at) }

// SecretDocument returns the signing secret of the organization as the audit log shows it; nil when there is none.
func (o Organization) SecretDocument() Document {
	if len(o.Secrets) == 0 {
		return nil
	}
	return Document{"name": SigningSecretName(o.ID), "versions": secretDocuments(o.Secrets)}
}

// NoOrganization is the fault of an organization that is not there.
func NoOrganization(id string) error {
	return fault.New(fault.NotFound, "ORGANIZATION_NOT_FOUND", "organizations/%s does not exist", id)
}

// OrganizationExists is the fault of a slug that is, or was, in use.
func OrganizationExists(id string) error {
	err := fault.New(fault.AlreadyExists, "ORGANIZATION_EXISTS",
		"organizations/%s exists or existed: a slug can be used only once", id)
	err.Fields = field("organization_id", ruleUnique, "is in use, or was: a slug can be used only once")
	return err
}
