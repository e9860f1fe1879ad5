package bus

// Headers that Meetwire puts on its messages. What is not listed here is never copied from one message to
// another: a publisher's own Meetwire-… headers, and the Nats-… headers of schedules, must not travel on.
const (
	HeaderDeliveryID     = "Meetwire-Delivery-Id"
	HeaderWebhookID      = "Meetwire-Webhook-Id"
	HeaderOrganization   = "Meetwire-Organization"
	HeaderTrigger        = "Meetwire-Trigger"
	HeaderSource         = "Meetwire-Source"
	HeaderEventID        = "Meetwire-Event-Id"
	HeaderEventSequence  = "Meetwire-Event-Sequence"  // decimal; sequence in EVENTS
	HeaderConfigRevision = "Meetwire-Config-Revision" // decimal; what the webhook was matched with
	HeaderAcceptedAt     = "Meetwire-Accepted-At"     // RFC 3339; when EVENTS stored the event
	HeaderAttempt        = "Meetwire-Attempt"         // decimal; attempts made so far, over all replays
	HeaderAttemptBase    = "Meetwire-Attempt-Base"    // decimal; attempts that use up no retries, such as those before the last replay
	HeaderRunAt          = "Meetwire-Run-At"          // RFC 3339; when it was last sent anew: replayed, resent or backfilled
	HeaderSlotAt         = "Meetwire-Slot-At"         // RFC 3339; the time for which a slot was reserved
	HeaderRecorded       = "Meetwire-Recorded"        // a record tells of the delivery already
	HeaderReason         = "Meetwire-Reason"          // of a dead letter or a reject
	HeaderField          = "Meetwire-Field"           // of a reject: a JSON pointer to what is at fault; empty: the whole
	HeaderDetail         = "Meetwire-Detail"          // of a reject: what is wrong with it
	HeaderSubject        = "Meetwire-Subject"         // of a reject: the subject it was published to
	HeaderDeadAt         = "Meetwire-Dead-At"         // RFC 3339; when it became a dead letter
	HeaderParked         = "Meetwire-Parked"          // of a timer: its webhook is paused, resuming makes it due
	HeaderLane           = "Meetwire-Lane"            // of a parked timer

	// HeaderOperational proves that Meetwire itself published an event of an operational trigger, see
	// OperationalToken. It stays in EVENTS.
	HeaderOperational = "Meetwire-Operational-Token"
)

// Headers that carry a W3C trace context from the publisher to the receiver.
const (
	HeaderTraceParent = "traceparent"
	HeaderTraceState  = "tracestate"
)

// Headers of JetStream that Meetwire sets itself.
const (
	headerSchedule       = "Nats-Schedule"
	headerScheduleTarget = "Nats-Schedule-Target"
)
