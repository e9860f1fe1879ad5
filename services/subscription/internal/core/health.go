package core

import "time"

// HealthLevel says how badly a webhook's deliveries go.
type HealthLevel string

// The levels. Each is also the reason of an e-mail, of which there is one per webhook and hour.
const (
	HealthFirstLastingFailure HealthLevel = "first_lasting_failure"
	HealthHalfOfThreshold     HealthLevel = "half_of_threshold"
	HealthDisable             HealthLevel = "disabled"
)

// HealthReport is what delivery tells of a webhook that fails.
type HealthReport struct {
	Organization        string // slug
	Webhook             string // id
	Generation          int64  // of the webhook when its deliveries failed
	Level               HealthLevel
	Reason              string    // consecutive_failures, without_success or gone
	ConsecutiveFailures int64     // attempts in a row that have failed
	FailingSince        time.Time // when the first of them failed; zero: not said
	LastStatus          int32     // HTTP status of the last answer; 0: there was none
	LastErrorClass      string    // such as timeout
}

// The triggers of the events that tell how deliveries go.
const (
	TriggerWebhookDisabled = "webhook.disabled"
	TriggerDeadLettered    = "delivery.dead_lettered"
	TriggerExpiring        = "delivery.dead_letters_expiring"
)

// Event returns the event that tells that the webhook was disabled because of the report.
func (r HealthReport) Event(now time.Time) WebhookEvent {
	data := Document{
		"generation": r.Generation, "reason": r.Reason, "consecutive_failures": max(r.ConsecutiveFailures, 0), "time": eventTime(now),
	}
	if !r.FailingSince.IsZero() {
		data["failing_since"] = eventTime(r.FailingSince)
	}
	if r.LastStatus >= 100 && r.LastStatus <= 999 {
		data["last_status"] = r.LastStatus
	}
	if r.LastErrorClass != "" {
		data["last_error_class"] = r.LastErrorClass
	}
	return WebhookEvent{Trigger: TriggerWebhookDisabled, Data: data}
}

// DeadLetterCount is how many deliveries of a webhook became dead letters for one reason in one minute.
type DeadLetterCount struct {
	Organization string // slug
	Webhook      string // id
	Reason       string
	Minute       time.Time // its beginning
	Count        int64
	Expiring     bool // they are those that expire on the day that begins with the minute
}

// Event returns the trigger and the data of the event that tells of the count, and what tells it from others of the
// webhook.
func (c DeadLetterCount) Event() (trigger, key string, data Document) {
	at := c.Minute.UTC().Format(time.RFC3339)
	if c.Expiring {
		return TriggerExpiring, "expiring:" + at, Document{"day": at, "count": c.Count}
	}
	return TriggerDeadLettered, c.Reason + ":" + at, Document{"reason": c.Reason, "minute": at, "count": c.Count}
}

// KeyUse is when an API key was last used.
type KeyUse struct {
	ID   string // the id within the key
	Time time.Time
}

// Alert is what an e-mail about a webhook is made of. It is stored as JSON.
type Alert struct {
	Level               HealthLevel   `json:"level"`
	Organization        string        `json:"organization"` // slug
	OrganizationName    string        `json:"organization_name"`
	Webhook             string        `json:"webhook"` // id
	WebhookName         string        `json:"webhook_name"`
	TargetURL           string        `json:"target_url"`
	Reason              string        `json:"reason"` // consecutive_failures, without_success or gone
	ConsecutiveFailures int64         `json:"consecutive_failures"`
	FailingSince        time.Time     `json:"failing_since,omitzero"`
	MaxFailures         int32         `json:"max_failures,omitempty"` // in a row, that disable it; 0: not because of that
	MaxWithoutSuccess   time.Duration `json:"max_without_success,omitempty"`
	LastStatus          int32         `json:"last_status,omitempty"`
	LastErrorClass      string        `json:"last_error_class,omitempty"`
	Time                time.Time     `json:"time"` // of the report
}

// Mail is an e-mail that is to be sent.
type Mail struct {
	ID         string // UUID
	Recipients []string
	Alert      Alert
	Attempts   int // with the one that begins now
	CreateTime time.Time
}

// OutboxEvent is an event about Meetwire itself that is to be published.
type OutboxEvent struct {
	Position     int64
	Organization string // slug
	Trigger      string
	ID           string
	Data         []byte // JSON
	Time         time.Time
}
