package core

import (
	"bytes"
	"strings"
	"time"
)

// Document returns the webhook as the audit log shows it: with the names of the API, without secrets.
func (w Webhook) Document() Document {
	d := Document{
		"name": w.Name(), "displayName": w.DisplayName, "targetUrl": w.TargetURL, "triggers": w.Triggers,
		"status": "STATUS_" + strings.ToUpper(string(w.Status)), "generation": w.Generation, "dialect": w.Dialect,
		"secretSource": "SECRET_SOURCE_" + strings.ToUpper(string(w.SecretSource)), "maxConcurrency": w.MaxConcurrency,
		"timeout": w.Timeout.String(),
	}
	d.put("description", w.Description)
	d.put("filter", w.Filter)
	d.put("statusReason", w.StatusReason)
	if len(w.EventTypes) > 0 {
		d["eventTypes"] = w.EventTypes
	}
	if len(w.Teams) > 0 {
		names := make([]string, len(w.Teams))
		for i, id := range w.Teams {
			names[i] = TeamName(w.Organization, id)
		}
		d["teams"] = names
	}
	if w.DialectOptions != (DialectOptions{}) {
		d["dialectOptions"] = Document{"signatureEncoding": w.DialectOptions.SignatureEncoding, "clientId": w.DialectOptions.ClientID}
	}
	if len(w.Secrets) > 0 {
		d["secretVersions"] = secretDocuments(w.Secrets)
	}
	if len(w.Headers) > 0 {
		headers := make([]Document, len(w.Headers))
		for i, h := range w.Headers {
			headers[i] = Document{"name": h.Name, "value": Masked}
		}
		d["headers"] = headers
	}
	d.putPolicies(w.RetryPolicy, w.FailureThreshold)
	if w.RateLimit != 0 {
		d["rateLimit"] = w.RateLimit
	}
	if len(w.AlertEmails) > 0 {
		d["alertEmails"] = w.AlertEmails
	}
	if len(w.Metadata) > 0 {
		d["metadata"] = w.Metadata
	}
	return d
}

// DocumentSince returns Document with a mark at the headers whose values are others than before: masked, they look the
// same.
func (w Webhook) DocumentSince(before Webhook) Document {
	d := w.Document()
	headers, _ := d["headers"].([]Document)
	for i, h := range w.Headers {
		for _, old := range before.Headers {
			if strings.EqualFold(old.Name, h.Name) && !bytes.Equal(old.Sealed, h.Sealed) {
				headers[i]["valueChanged"] = true
			}
		}
	}
	return d
}

// Document returns the defaults as the audit log shows them.
func (d WebhookDefaults) Document() Document {
	shown := Document{}
	shown.put("dialect", d.Dialect)
	shown.putPolicies(d.RetryPolicy, d.FailureThreshold)
	if d.Timeout != 0 {
		shown["timeout"] = d.Timeout.String()
	}
	if d.MaxConcurrency != 0 {
		shown["maxConcurrency"] = d.MaxConcurrency
	}
	if d.RateLimit != 0 {
		shown["rateLimit"] = d.RateLimit
	}
	if len(d.AlertEmails) > 0 {
		shown["alertEmails"] = d.AlertEmails
	}
	return shown
}

func (d Document) put(name, text string) {
	if text != "" {
		d[name] = text
	}
}

func (d Document) putPolicies(policy *RetryPolicy, threshold *FailureThreshold) {
	if policy != nil {
		d["retryPolicy"] = policy.document()
	}
	if threshold != nil {
		shown := Document{}
		if threshold.ConsecutiveFailures != 0 {
			shown["consecutiveFailures"] = threshold.ConsecutiveFailures
		}
		if threshold.WithoutSuccess != 0 {
			shown["withoutSuccess"] = threshold.WithoutSuccess.String()
		}
		if threshold.Off {
			shown["off"] = true
		}
		d["failureThreshold"] = shown
	}
}

func (p RetryPolicy) document() Document {
	shown := Document{}
	if p.Preset == "" {
		shown = Document{
			"maxRetries": p.MaxRetries, "firstDelay": p.FirstDelay.String(), "factor": p.Factor,
			"maxDelay": p.MaxDelay.String(), "jitter": p.Jitter,
		}
	} else {
		shown["preset"] = "PRESET_" + strings.ToUpper(string(p.Preset))
	}
	if p.GiveUpAge != 0 {
		shown["giveUpAge"] = p.GiveUpAge.String()
	}
	return shown
}

// secretDocuments returns secrets as the audit log shows them: when there were which.
func secretDocuments(secrets []SealedSecret) []Document {
	versions := make([]Document, len(secrets))
	for i, s := range secrets {
		versions[i] = Document{"secret": Masked, "createTime": s.CreateTime.Format(time.RFC3339Nano)}
		if !s.ExpireTime.IsZero() {
			versions[i]["expireTime"] = s.ExpireTime.Format(time.RFC3339Nano)
		}
	}
	return versions
}
