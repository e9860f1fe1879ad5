package subscription_test

import (
	"encoding/json"
	"time"

	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
)

// What the tables say of organizations and triggers, without the code under test.
const (
	storedOrganizations = `SELECT id, webhooks_available, allow_http, record_retention_ns, quota_events_per_second, quota_burst, client_id, secrets
		FROM subscription.organization WHERE delete_time IS NULL`
	storedTriggers = "SELECT id, schema, organization, operational, schema_warn_only, create_time FROM subscription.trigger"
)

func scanOrganization(rows pgx.Rows) (*configv1.Organization, error) {
	o := &configv1.Organization{}
	var retention *int64
	var rate *float64
	var burst *int32
	var secrets []byte
	if err := rows.Scan(&o.Id, &o.WebhooksAvailable, &o.AllowHttp, &retention, &rate, &burst, &o.ClientId, &secrets); err != nil {
		return nil, err
	}
	if retention != nil {
		o.RecordRetention = durationpb.New(time.Duration(*retention))
	}
	if rate != nil && burst != nil {
		o.IngestQuota = &configv1.IngestQuota{EventsPerSecond: *rate, Burst: *burst}
	}
	var stored []struct {
		Sealed     []byte     `json:"sealed"`
		ExpireTime *time.Time `json:"expire_time"`
	}
	if err := json.Unmarshal(secrets, &stored); err != nil {
		return nil, err
	}
	for _, s := range stored {
		told := &configv1.SealedSecret{Sealed: s.Sealed}
		if s.ExpireTime != nil {
			told.ExpireTime = timestamppb.New(*s.ExpireTime)
		}
		o.Secrets = append(o.Secrets, told)
	}
	return o, nil
}

func scanTrigger(rows pgx.Rows) (*configv1.Trigger, error) {
	trigger := &configv1.Trigger{}
	var created time.Time
	err := rows.Scan(&trigger.Id, &trigger.Schema, &trigger.Organization, &trigger.Operational, &trigger.SchemaWarnOnly, &created)
	trigger.CreateTime = timestamppb.New(created)
	return trigger, err
}
