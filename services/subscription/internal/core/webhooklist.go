package core

import "time"

// WebhookOrder is by what a list of webhooks is ordered.
type WebhookOrder string

// The orders, as the API calls them.
const (
	OrderByCreateTime WebhookOrder = "create_time"
	OrderByUpdateTime WebhookOrder = "update_time"
	OrderByName       WebhookOrder = "display_name"
)

// WebhookQuery is what a list of an organization's webhooks is to have. The zero value of a condition is none.
type WebhookQuery struct {
	Organization string
	Status       WebhookStatus
	Patterns     []string // they ask for one of these triggers and groups
	Dialect      string
	TargetURL    string
	Team         string            // id
	Metadata     map[string]string // they have these entries
	Order        WebhookOrder
	Descending   bool
	After        *WebhookPlace // nil: the beginning
	Limit        int
}

// WebhookPlace is a place in a list of webhooks.
type WebhookPlace struct {
	Time        time.Time // by which the list is ordered
	DisplayName string    // by which the list is ordered
	ID          string
}
