package subscription_test

import (
	"encoding/base64"
	"encoding/json"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
)

// storedSettings is the column settings of a webhook, as a test reads it.
type storedSettings struct {
	SignatureEncoding string  `json:"signature_encoding"`
	ClientID          int64   `json:"client_id"`
	SecretSource      string  `json:"secret_source"`
	MaxConcurrency    int32   `json:"max_concurrency"`
	RateLimit         float64 `json:"rate_limit"`
	Timeout           int64   `json:"timeout_ns"`
	Headers           []struct {
		Name, Sealed string
	} `json:"headers"`
	RetryPolicy *struct {
		Preset     string  `json:"preset"`
		MaxRetries int32   `json:"max_retries"`
		FirstDelay int64   `json:"first_delay_ns"`
		Factor     float64 `json:"factor"`
		MaxDelay   int64   `json:"max_delay_ns"`
		Jitter     float64 `json:"jitter"`
		GiveUpAge  int64   `json:"give_up_age_ns"`
	} `json:"retry_policy"`
	FailureThreshold *struct {
		Consecutive    int32 `json:"consecutive_failures"`
		WithoutSuccess int64 `json:"without_success_ns"`
		Off            bool  `json:"off"`
	} `json:"failure_threshold"`
}

const storedWebhooks = `
	SELECT id, organization, target_url, triggers, status, status_time, generation, dialect, event_types, teams, filter,
	       settings, secrets FROM subscription.webhook`

// scanWebhook reads a row of storedWebhooks, and returns what the feed must say of it.
func scanWebhook(rows pgx.Rows) (*configv1.Webhook, error) {
	w, id, status, statusTime := &configv1.Webhook{}, uuid.UUID{}, "", time.Time{}
	var settings storedSettings
	var secrets []struct {
		Sealed     string     `json:"sealed"`
		ExpireTime *time.Time `json:"expire_time"`
	}
	var settingsJSON, secretsJSON []byte
	err := rows.Scan(&id, &w.Organization, &w.TargetUrl, &w.Triggers, &status, &statusTime, &w.Generation, &w.Dialect,
		&w.EventTypes, &w.Teams, &w.Filter, &settingsJSON, &secretsJSON)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(settingsJSON, &settings); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(secretsJSON, &secrets); err != nil {
		return nil, err
	}
	w.Id = id.String()
	w.Status = map[string]configv1.WebhookStatus{
		"active": configv1.WebhookStatus_WEBHOOK_STATUS_ACTIVE, "paused": configv1.WebhookStatus_WEBHOOK_STATUS_PAUSED,
		"disabled": configv1.WebhookStatus_WEBHOOK_STATUS_DISABLED,
	}[status]
	if status == "paused" {
		w.PauseTime = timestamppb.New(statusTime)
	}
	for _, s := range secrets {
		secret := &configv1.SealedSecret{Sealed: decoded(s.Sealed)}
		if s.ExpireTime != nil {
			secret.ExpireTime = timestamppb.New(*s.ExpireTime)
		}
		w.Secrets = append(w.Secrets, secret)
	}
	settings.tell(w)
	return w, nil
}

func decoded(text string) []byte {
	raw, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return []byte(err.Error())
	}
	return raw
}

// tell puts the settings into what the feed must say.
func (s storedSettings) tell(w *configv1.Webhook) {
	w.SignatureEncoding, w.ClientId = s.SignatureEncoding, s.ClientID
	w.OrganizationSecret = s.SecretSource == "organization"
	w.MaxConcurrency, w.RateLimit, w.Timeout = s.MaxConcurrency, s.RateLimit, durationpb.New(time.Duration(s.Timeout))
	for _, h := range s.Headers {
		w.Headers = append(w.Headers, &configv1.SealedHeader{Name: h.Name, SealedValue: decoded(h.Sealed)})
	}
	if p := s.RetryPolicy; p != nil {
		w.RetryPolicy = &configv1.RetryPolicy{}
		switch p.Preset {
		case "standard":
			w.RetryPolicy.MaxRetries, w.RetryPolicy.Jitter = 9, 0.2
			for _, wait := range []time.Duration{5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour, 10 * time.Hour, 14 * time.Hour, 20 * time.Hour, 24 * time.Hour} {
				w.RetryPolicy.Delays = append(w.RetryPolicy.Delays, durationpb.New(wait))
			}
		case "exponential":
			w.RetryPolicy.MaxRetries = 20
			for n := range 20 {
				w.RetryPolicy.Delays = append(w.RetryPolicy.Delays, durationpb.New(time.Second<<n))
			}
		case "none":
		default:
			w.RetryPolicy.MaxRetries, w.RetryPolicy.Factor, w.RetryPolicy.Jitter = p.MaxRetries, p.Factor, p.Jitter
			w.RetryPolicy.FirstDelay, w.RetryPolicy.MaxDelay = durationpb.New(time.Duration(p.FirstDelay)), durationpb.New(time.Duration(p.MaxDelay))
		}
		if p.GiveUpAge != 0 {
			w.RetryPolicy.GiveUpAge = durationpb.New(time.Duration(p.GiveUpAge))
		}
	}
	s.tellFailures(w)
}

// tellFailures knows what the dialects have.
func (s storedSettings) tellFailures(w *configv1.Webhook) {
	w.GoneDisables = w.GetDialect() != "ace" && w.GetDialect() != "axcelerate"
	consecutive, without := int32(0), 5*24*time.Hour
	switch w.GetDialect() {
	case "ace":
		consecutive, without = 2, 0
	case "axcelerate":
		without = 0
	}
	if f := s.FailureThreshold; f != nil {
		consecutive, without = f.Consecutive, time.Duration(f.WithoutSuccess)
		w.GoneDisables = w.GetGoneDisables() && !f.Off
	}
	if consecutive != 0 || without != 0 {
		w.FailureThreshold = &configv1.FailureThreshold{ConsecutiveFailures: consecutive}
	}
	if without != 0 {
		w.FailureThreshold.WithoutSuccess = durationpb.New(without)
	}
}

// insertWebhooks stores webhooks of acme that no rule was asked about: $1 of them, with a URL that ends in $2, and asking $4
// times for $3.
const insertWebhooks = `
	INSERT INTO subscription.webhook (id, organization, display_name, target_url, triggers, status, status_reason, status_time,
	                                  generation, dialect, settings, secrets, revision, create_time, update_time)
	SELECT gen_random_uuid(), 'acme', 'n', 'https://example.com/' || $2, array_fill($3::text, ARRAY[$4::int]), 'active', '', now(),
	       1, 'standard', '{"secret_source": "own", "max_concurrency": 8, "timeout_ns": 1000000000}',
	       '[{"sealed": "c2VjcmV0", "create_time": "2026-01-01T00:00:00Z"}]', 1, now(), now()
	FROM generate_series(1, $1)`
