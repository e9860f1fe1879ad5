package pgstore

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/meetwire/meetwire/services/subscription/internal/core"
	"github.com/meetwire/meetwire/services/subscription/internal/pgstore/column"
	"github.com/meetwire/meetwire/services/subscription/internal/pgstore/sqlcgen"
)

// webhookSettings is what of a webhook no query looks at, as its column settings has it.
type webhookSettings struct {
	Description      string                   `json:"description,omitempty"`
	Encoding         string                   `json:"signature_encoding,omitempty"`
	ClientID         int64                    `json:"client_id,omitempty"`
	SecretSource     core.SecretSource        `json:"secret_source"`
	Headers          []storedHeader           `json:"headers,omitempty"`
	RetryPolicy      *column.RetryPolicy      `json:"retry_policy,omitempty"`
	FailureThreshold *column.FailureThreshold `json:"failure_threshold,omitempty"`
	MaxConcurrency   int32                    `json:"max_concurrency"`
	RateLimit        float64                  `json:"rate_limit,omitempty"`
	Timeout          time.Duration            `json:"timeout_ns"`
	AlertEmails      []string                 `json:"alert_emails,omitempty"`
}

type storedHeader struct {
	Name   string `json:"name"`
	Sealed []byte `json:"sealed"`
}

// webhook makes a webhook of a row.
func webhook(row sqlcgen.WebhookRow) (core.Webhook, error) {
	w := core.Webhook{
		ID: row.ID.String(), Organization: row.Organization, DisplayName: row.DisplayName, TargetURL: row.TargetURL,
		Triggers: row.Triggers, EventTypes: some(row.EventTypes), Teams: some(row.Teams), Filter: row.Filter, Dialect: row.Dialect,
		Status: core.WebhookStatus(row.Status), StatusReason: row.StatusReason, StatusTime: row.StatusTime.UTC(),
		Generation: row.Generation, Revision: row.Revision, CreateTime: row.CreateTime.UTC(), UpdateTime: row.UpdateTime.UTC(),
	}
	var settings webhookSettings
	var secrets []column.Secret
	for _, part := range []struct {
		from []byte
		to   any
	}{{row.Settings, &settings}, {row.Secrets, &secrets}, {row.Metadata, &w.Metadata}} {
		if err := json.Unmarshal(part.from, part.to); err != nil {
			return core.Webhook{}, fmt.Errorf("read what is stored of webhook %s: %w", w.ID, err)
		}
	}
	if len(w.Metadata) == 0 {
		w.Metadata = nil
	}
	w.Secrets = column.CoreSecrets(secrets)
	settings.fill(&w)
	return w, nil
}

// fill puts the settings into a webhook.
func (s webhookSettings) fill(w *core.Webhook) {
	w.Description = s.Description
	w.DialectOptions = core.DialectOptions{SignatureEncoding: s.Encoding, ClientID: s.ClientID}
	w.SecretSource = s.SecretSource
	for _, h := range s.Headers {
		w.Headers = append(w.Headers, core.SealedHeader(h))
	}
	w.RetryPolicy = (*core.RetryPolicy)(s.RetryPolicy)
	w.FailureThreshold = (*core.FailureThreshold)(s.FailureThreshold)
	w.MaxConcurrency, w.RateLimit, w.Timeout, w.AlertEmails = s.MaxConcurrency, s.RateLimit, s.Timeout, s.AlertEmails
}

// webhooks makes webhooks of rows.
func webhooks(rows []sqlcgen.WebhookRow) ([]core.Webhook, error) {
	made := make([]core.Webhook, len(rows))
	for i, row := range rows {
		var err error
		if made[i], err = webhook(row); err != nil {
			return nil, err
		}
	}
	return made, nil
}

// webhookRow makes a row of a webhook.
func webhookRow(w core.Webhook) (sqlcgen.WebhookRow, error) {
	id, err := uuid.Parse(w.ID)
	if err != nil {
		return sqlcgen.WebhookRow{}, fmt.Errorf("parse webhook id: %w", err)
	}
	row := sqlcgen.WebhookRow{
		ID: id, Organization: w.Organization, DisplayName: w.DisplayName, TargetURL: w.TargetURL, Triggers: w.Triggers,
		EventTypes: all(w.EventTypes), Teams: all(w.Teams), Filter: w.Filter, Dialect: w.Dialect,
		Status: string(w.Status), StatusReason: w.StatusReason, StatusTime: w.StatusTime, Generation: w.Generation,
		Revision: w.Revision, CreateTime: w.CreateTime, UpdateTime: w.UpdateTime,
	}
	settings := webhookSettings{
		Description: w.Description, Encoding: w.DialectOptions.SignatureEncoding, ClientID: w.DialectOptions.ClientID,
		SecretSource: w.SecretSource, RetryPolicy: (*column.RetryPolicy)(w.RetryPolicy),
		FailureThreshold: (*column.FailureThreshold)(w.FailureThreshold), MaxConcurrency: w.MaxConcurrency, RateLimit: w.RateLimit,
		Timeout: w.Timeout, AlertEmails: w.AlertEmails,
	}
	for _, h := range w.Headers {
		settings.Headers = append(settings.Headers, storedHeader(h))
	}
	metadata := w.Metadata
	if metadata == nil {
		metadata = map[string]string{}
	}
	for _, part := range []struct {
		from any
		to   *[]byte
	}{{settings, &row.Settings}, {column.Secrets(w.Secrets), &row.Secrets}, {metadata, &row.Metadata}} {
		if *part.to, err = json.Marshal(part.from); err != nil {
			return sqlcgen.WebhookRow{}, fmt.Errorf("write what is stored of webhook %s: %w", w.ID, err)
		}
	}
	return row, nil
}

// some makes no difference between an empty list and none.
func some(list []string) []string {
	if len(list) == 0 {
		return nil
	}
	return list
}

// all is an empty list for none, since a column takes no NULL.
func all(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}
