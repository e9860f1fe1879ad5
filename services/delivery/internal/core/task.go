package core

import (
	"strings"
	"time"
)

// Task is a delivery that may be tried now.
type Task struct {
	Delivery       string // UUIDv5
	Organization   string
	Webhook        string
	Lane           string
	Trigger        string
	EventSource    string
	EventID        string
	EventSequence  uint64 // in EVENTS
	ConfigRevision int64  // what the webhook was matched with
	AcceptedAt     time.Time
	Attempts       int // made so far, over all replays
	// AttemptBase is how many of them use up no retries: those before the last replay, and those that failed for a
	// reason of our own.
	AttemptBase int
	// RunAt is when the current run began, the last replay; zero: when the event was accepted.
	RunAt       time.Time
	TraceParent string
	TraceState  string
	// SlotAt is the time for which a slot was reserved; zero: none was.
	SlotAt time.Time
	// Parked says that its timer was set because the webhook was paused.
	Parked bool
	// Recorded says that a record tells of the delivery already.
	Recorded bool

	// Event is the event as published. A task that comes from a timer may have none: see Events.
	Event []byte
}

// LaneBulk is the lane of replays, backfills and mass sends, first tries and retries: they stand behind the deliveries
// of all other lanes.
const LaneBulk = "bulk"

// bulk reports whether the delivery stands behind live ones.
func (t *Task) bulk() bool { return t.Lane == LaneBulk }

// Run returns how many attempts of the current run have been made that use up retries: a replay begins a new run.
func (t *Task) Run() int { return t.Attempts - t.AttemptBase }

// began is when the current run began: what its age is counted from.
func (t *Task) began() time.Time { return later(t.AcceptedAt, t.RunAt) }

// Status says whether events are sent to a webhook.
type Status uint8

// The statuses of a webhook.
const (
	StatusActive   Status = iota
	StatusPaused          // what is for it waits until it is resumed
	StatusDisabled        // what is for it becomes a dead letter
)

// Webhook is what a delivery needs to know of the endpoint it goes to.
type Webhook struct {
	ID           string
	Organization string
	TargetURL    string
	Status       Status
	Generation   int64 // counts how often it was enabled: 1 for a new one
	AllowHTTP    bool  // whether it may be called without TLS
	Policy       Policy
	Timeout      time.Duration
	Limits       Limits
	Threshold    Threshold
	Form         Form
}

// Insecure reports whether it would be called without TLS though that is not allowed.
func (w *Webhook) Insecure() bool {
	const scheme = "http:"
	return !w.AllowHTTP && len(w.TargetURL) >= len(scheme) && strings.EqualFold(w.TargetURL[:len(scheme)], scheme)
}

// State is what has become of a delivery.
type State uint8

// The states of a delivery.
const (
	StatePending State = iota + 1
	StateSucceeded
	StateDeadLettered
	StateDropped
)

// Reasons for giving a delivery up.
const (
	ReasonAttemptsExhausted = "attempts_exhausted" // every retry failed
	ReasonGaveUpAge         = "gave_up_age"        // its event is older than the policy's give-up age
	ReasonWebhookDisabled   = "webhook_disabled"   // the webhook was disabled when its turn came, or while it waited
	ReasonUndeliverable     = "undeliverable"      // it cannot be rendered
	ReasonPoison            = "poison"             // taken up too often without a result
	ReasonBacklogFull       = "backlog_full"       // too many deliveries wait for the webhook already
	ReasonWebhookDeleted    = "webhook_deleted"    // only of dropped deliveries
	ReasonErased            = "erased"             // only of dropped deliveries: their event was erased
	ReasonCanceled          = "canceled"           // only of dropped deliveries: somebody has canceled them
	ReasonPurged            = "purged"             // only of dropped deliveries: somebody has removed their dead letters
	ReasonExpired           = "expired"            // only of dropped deliveries: nobody has replayed their dead letters in time
)

// Header is one HTTP header field.
type Header struct {
	Name   string
	Value  string
	Secret bool // its value is sent, and seen by nobody else
}

// Request is one HTTP POST.
type Request struct {
	URL     string
	Headers []Header
	Body    []byte
	Timeout time.Duration
}

// Error classes of attempts.
const (
	ErrorStatus   = "status"   // not 2xx
	ErrorTimeout  = "timeout"  // no complete answer in time
	ErrorDNS      = "dns"      // the host name has no address
	ErrorConnect  = "connect"  // no connection
	ErrorTLS      = "tls"      // handshake or certificate
	ErrorAddress  = "address"  // the address is not allowed
	ErrorReset    = "reset"    // closed before there was an answer
	ErrorProtocol = "protocol" // the answer is not HTTP
	ErrorInsecure = "insecure" // the URL begins with http:, which is not allowed
	ErrorRender   = "render"   // the request could not be made
	ErrorProxy    = "proxy"    // the installation's own proxy did not let it through
	ErrorOverload = "overload" // this process could open no connection
)

// Blameless reports whether a class of errors says nothing about the receiver: whatever counts failures of a webhook
// leaves such an attempt out.
func Blameless(class string) bool {
	return class == ErrorRender || class == ErrorProxy || class == ErrorOverload
}

// own reports whether a class of errors is that of an attempt that never got as far as to the receiver, for a reason of
// our own. It uses up no retry.
func own(class string) bool { return class == ErrorProxy || class == ErrorOverload }

// Attempt is one HTTP request and how it went.
type Attempt struct {
	ID                string // UUIDv7
	Number            int    // 1 for the first of the delivery
	StartedAt         time.Time
	Duration          time.Duration
	Timings           Timings
	RemoteAddr        string // address and port of the receiver; empty: there was no connection
	Request           Request
	StatusCode        int // 0: no answer
	ResponseHeaders   []Header
	ResponseBody      []byte
	ResponseTruncated bool
	RetryAfter        string // the answer's header Retry-After
	ErrorClass        string // empty: success
	ErrorMessage      string
}

// Timings are the parts of an attempt's duration. What did not happen is 0: on a connection that is used again neither
// the name is resolved nor anything connected to. What had not ended when the attempt did is counted until then.
type Timings struct {
	DNS       time.Duration
	Connect   time.Duration // to the proxy where there is one
	TLS       time.Duration // with the receiver
	FirstByte time.Duration // from the beginning of the attempt until the answer began
}

// Succeeded reports whether the receiver has the event.
func (a *Attempt) Succeeded() bool { return a.ErrorClass == "" }

// InsecureAttempt is the one that is not made because the webhook may not be called without TLS.
func InsecureAttempt(id string, now time.Time, request Request) Attempt {
	return Attempt{
		ID: id, StartedAt: now, Request: request, ErrorClass: ErrorInsecure,
		ErrorMessage: "the URL begins with http:, which the organization or the dialect does not allow",
	}
}

// verdict is what it says about the webhook's isolation.
func (a *Attempt) verdict() Verdict {
	switch {
	case a.Succeeded():
		return VerdictSuccess
	case Blameless(a.ErrorClass), a.ErrorClass == ErrorInsecure:
		return VerdictNone
	case a.ErrorClass == ErrorTimeout:
		return VerdictTimeout
	}
	return VerdictFailure
}

// Record is a change in the life of a delivery.
type Record struct {
	ID            string // UUIDv7; the attempt's id when there is one
	Time          time.Time
	Task          *Task
	AttemptCount  int
	State         State
	Reason        string
	NextAttemptAt time.Time // zero: there is none
	Attempt       *Attempt  // nil: the change is none
	Generation    int64     // the webhook's; 0 when it was not known
}
