package pgstore

import (
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
)

// Told returns a webhook as the feed tells of it: what is secret stays encrypted.
func Told(w core.Webhook) *configv1.Webhook { return webhookResource(w).GetWebhook() }
