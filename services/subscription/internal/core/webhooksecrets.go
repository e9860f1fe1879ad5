package core

import (
	"fmt"
	"time"

	"github.com/meetwire/meetwire/pkg/fault"
)

// secretKeeper puts what is secret into webhooks: signing secrets and the values of headers.
type secretKeeper struct {
	*Webhooks

	tenant  Organization
	dialect Dialect // of the webhook as it will be
	now     time.Time
}

const (
	secretPath = "webhook.secret"
	sourcePath = "webhook.secret_source"
)

// takeSecret returns the webhook, which has the rest of the change already, with the source of its secret and its own
// secrets, and the new secret in clear text when there is one. before is the webhook until now, the zero value for a new
// one.
func (k secretKeeper) takeSecret(w, before Webhook, change WebhookChange) (Webhook, string, []fault.Field, error) {
	if k.dialect.Name == "" {
		return w, "", nil, nil // what is wrong with the dialect was said already
	}
	w.SecretSource = k.source(before, change)
	fields := k.checkKind(w.SecretSource)
	if w.SecretSource != SecretOwn {
		w.Secrets = nil
		if change.Secret != nil {
			fields = append(fields, field(secretPath, ruleExclusive, "must not be given, since the webhook has no secret of its own: "+
				"secret_source must be SECRET_SOURCE_OWN")...)
		}
		return w, "", fields, nil
	}
	if change.Secret != nil {
		if same, err := k.isNewest(before, *change.Secret); same || err != nil {
			return w, *change.Secret, append(fields, k.checkSecret(secretPath, *change.Secret)...), err
		}
		return k.giveSecret(w, *change.Secret, fields)
	}
	if len(before.Secrets) > 0 {
		if w.Dialect == before.Dialect {
			return w, "", fields, nil
		}
		w, wrong, err := k.keepSecrets(w)
		return w, "", append(fields, wrong...), err
	}
	secret, err := k.Dialects.NewSecret(w.Dialect)
	if err != nil {
		return Webhook{}, "", nil, fmt.Errorf("make a signing secret: %w", err)
	}
	return k.giveSecret(w, secret, fields)
}

// source returns whose secret signs: as the change says, as before, or as the dialect has it.
func (k secretKeeper) source(before Webhook, change WebhookChange) SecretSource {
	switch {
	case change.SecretSource != nil && *change.SecretSource != "":
		return *change.SecretSource
	case change.SecretSource == nil && before.SecretSource != "":
		return before.SecretSource
	case k.dialect.OrganizationSecret && change.Secret == nil:
		return SecretOrganization
	default:
		return SecretOwn
	}
}

// checkKind returns what is wrong with a source in the dialect.
func (k secretKeeper) checkKind(source SecretSource) []fault.Field {
	switch source {
	case SecretOwn, SecretOrganization:
		return nil
	case SecretNone:
		if !k.dialect.SecretRequired {
			return nil
		}
		return field(sourcePath, ruleOneOf, "must be SECRET_SOURCE_OWN or SECRET_SOURCE_ORGANIZATION: the dialect %s needs a secret", k.dialect.Name)
	default:
		return field(sourcePath, ruleOneOf, "must be SECRET_SOURCE_OWN, SECRET_SOURCE_ORGANIZATION or SECRET_SOURCE_NONE")
	}
}

// isNewest reports whether a secret is the newest one of a webhook already: then nothing is to be done.
func (k secretKeeper) isNewest(w Webhook, secret string) (bool, error) {
	if len(w.Secrets) == 0 {
		return false, nil
	}
	newest, err := k.Sealer.Open(w.Secrets[0].Sealed, w.ID)
	if err != nil {
		return false, fmt.Errorf("open the secret of %s: %w", w.Name(), err)
	}
	return newest == secret, nil
}

// giveSecret makes a secret the only one of a webhook.
func (k secretKeeper) giveSecret(w Webhook, secret string, fields []fault.Field) (Webhook, string, []fault.Field, error) {
	if wrong := k.checkSecret(secretPath, secret); wrong != nil {
		return w, "", append(fields, wrong...), nil
	}
	sealed, err := k.Sealer.Seal(secret, w.ID)
	if err != nil {
		return Webhook{}, "", nil, fmt.Errorf("encrypt a signing secret: %w", err)
	}
	w.Secrets = []SealedSecret{{Sealed: sealed, CreateTime: k.now}}
	return w, secret, fields, nil
}

// checkSecret returns what is wrong with a signing secret in the dialect. No message shows any part of it.
func (k secretKeeper) checkSecret(path, secret string) []fault.Field {
	if problem := k.Dialects.CheckSecret(k.dialect.Name, secret); problem != "" {
		return field(path, ruleFormat, "%s", problem)
	}
	return nil
}

// keepSecrets returns the webhook with those of its secrets that its dialect, which is another one now, can use.
func (k secretKeeper) keepSecrets(w Webhook) (Webhook, []fault.Field, error) {
	var kept []SealedSecret
	for i, s := range w.Secrets {
		secret, err := k.Sealer.Open(s.Sealed, w.ID)
		if err != nil {
			return Webhook{}, nil, fmt.Errorf("open a secret of %s: %w", w.Name(), err)
		}
		if k.Dialects.CheckSecret(k.dialect.Name, secret) == "" {
			kept = append(kept, s)
		} else if i == 0 {
			return w, field(secretPath, ruleRequired, "is required: the present secret is none that the dialect %s can use", k.dialect.Name), nil
		}
	}
	w.Secrets = kept
	return w, nil, nil
}

// checkSource returns fault.FailedPrecondition when the organization's secret is to be used and there is none.
func (k secretKeeper) checkSource(w Webhook) error {
	if w.SecretSource == SecretOrganization && len(k.tenant.Secrets) == 0 {
		return fault.New(fault.FailedPrecondition, "NO_SIGNING_SECRET",
			"%s has no signing secret: generate it first, or give the webhook a secret of its own", k.tenant.Name())
	}
	return nil
}

// takeHeaders returns the webhook with the headers of a change. One without a value keeps the one that it has.
func (k secretKeeper) takeHeaders(w, before Webhook, change WebhookChange) (Webhook, []fault.Field, error) {
	if change.Headers == nil {
		return w, nil, nil
	}
	current := make(map[string]SealedHeader, len(before.Headers))
	for _, h := range before.Headers {
		current[HeaderPurpose(w.ID, h.Name)] = h
	}
	full := make([]Header, len(*change.Headers))
	kept := make([]bool, len(full)) // its value is the one that it has
	for i, h := range *change.Headers {
		full[i] = h
		old, ok := current[HeaderPurpose(w.ID, h.Name)]
		if !ok {
			continue
		}
		value, err := k.Sealer.Open(old.Sealed, HeaderPurpose(w.ID, h.Name))
		if err != nil {
			return Webhook{}, nil, fmt.Errorf("open a header of %s: %w", w.Name(), err)
		}
		if h.Value == "" || h.Value == value {
			full[i].Value, kept[i] = value, true
		}
	}
	if wrong := checkHeaders("webhook.headers", full, k.ReservedHeader); len(wrong) > 0 {
		return w, wrong, nil
	}
	w.Headers = nil
	for i, h := range full {
		purpose := HeaderPurpose(w.ID, h.Name)
		if kept[i] {
			w.Headers = append(w.Headers, SealedHeader{Name: h.Name, Sealed: current[purpose].Sealed})
			continue
		}
		sealed, err := k.Sealer.Seal(h.Value, purpose)
		if err != nil {
			return Webhook{}, nil, fmt.Errorf("encrypt a header: %w", err)
		}
		w.Headers = append(w.Headers, SealedHeader{Name: h.Name, Sealed: sealed})
	}
	return w, nil, nil
}
