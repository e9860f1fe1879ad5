package pgstore

import (
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	accessv1 "github.com/meetwire/meetwire/proto/gen/meetwire/access/v1"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
)

// What the other services are told of each resource.

// organizationResource leaves the secrets out that are not valid any more.
func organizationResource(o core.Organization, now time.Time) *configv1.Resource {
	told := &configv1.Organization{
		Id: o.ID, WebhooksAvailable: o.WebhooksAvailable, AllowHttp: o.AllowHTTP, ClientId: o.ClientID,
	}
	if o.RecordRetention != 0 {
		told.RecordRetention = durationpb.New(o.RecordRetention)
	}
	if q := o.IngestQuota; q != nil {
		told.IngestQuota = &configv1.IngestQuota{EventsPerSecond: q.EventsPerSecond, Burst: q.Burst}
	}
	for _, s := range o.ValidSecrets(now) {
		told.Secrets = append(told.Secrets, sealedSecret(s))
	}
	return &configv1.Resource{Resource: &configv1.Resource_Organization{Organization: told}}
}

func deletedOrganizationResource(id string) *configv1.Resource {
	return &configv1.Resource{Resource: &configv1.Resource_DeletedOrganization{DeletedOrganization: id}}
}

func sealedSecret(s core.SealedSecret) *configv1.SealedSecret {
	told := &configv1.SealedSecret{Sealed: s.Sealed}
	if !s.ExpireTime.IsZero() {
		told.ExpireTime = timestamppb.New(s.ExpireTime)
	}
	return told
}

func triggerResource(t core.Trigger) *configv1.Resource {
	return &configv1.Resource{Resource: &configv1.Resource_Trigger{Trigger: &configv1.Trigger{
		Id: t.ID, Schema: t.Schema, Organization: t.Organization, Operational: t.Operational, SchemaWarnOnly: t.WarnOnly,
		CreateTime: timestamppb.New(t.CreateTime),
	}}}
}

func deletedTriggerResource(organization, id string) *configv1.Resource {
	return &configv1.Resource{Resource: &configv1.Resource_DeletedTrigger{DeletedTrigger: &configv1.TriggerKey{
		Organization: organization, Id: id,
	}}}
}

func apiKeyResource(k core.APIKey) *configv1.Resource {
	key := &configv1.ApiKey{
		Id:           k.ID,
		Organization: k.Organization,
		Role:         accessv1.Role(k.Role),
		SecretSha256: k.SecretSHA256[:],
	}
	if !k.ExpireTime.IsZero() {
		key.ExpireTime = timestamppb.New(k.ExpireTime)
	}
	return &configv1.Resource{Resource: &configv1.Resource_ApiKey{ApiKey: key}}
}

func deletedAPIKeyResource(id string) *configv1.Resource {
	return &configv1.Resource{Resource: &configv1.Resource_DeletedApiKey{DeletedApiKey: id}}
}
