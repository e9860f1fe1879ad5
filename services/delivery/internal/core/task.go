package core

import "time"

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
	AttemptBase    int // of them, made before the last replay
	TraceParent    string
	TraceState     string

	// Event is the event as published. A task that comes from a timer may have none: see Events.
	Event []byte
}

// Run returns how many attempts of the current run have been made: a replay begins a new one.
func (t *Task) Run() int { return t.Attempts - t.AttemptBase }

// Webhook is what a delivery needs to know of the endpoint it goes to.
type Webhook struct {
	ID           string
	Organization string
	TargetURL    string
	Paused       bool
	Policy       Policy
	Timeout      time.Duration
	Signer       Signer // nil when no secret could be opened: then nothing can be sent
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
	ReasonUndeliverable     = "undeliverable"      // it cannot be rendered
	ReasonPoison            = "poison"             // taken up too often without a result
	ReasonWebhookDeleted    = "webhook_deleted"    // only of dropped deliveries
)

// Header is one HTTP header field.
type Header struct {
	Name  string
	Value string
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
	ErrorRender   = "render"   // the request could not be made
)

// Attempt is one HTTP request and how it went.
type Attempt struct {
	ID                string // UUIDv7
	Number            int    // 1 for the first of the delivery
	StartedAt         time.Time
	Duration          time.Duration
	Request           Request
	StatusCode        int // 0: no answer
	ResponseHeaders   []Header
	ResponseBody      []byte
	ResponseTruncated bool
	ErrorClass        string // empty: success
	ErrorMessage      string
}

// Succeeded reports whether the receiver has the event.
func (a *Attempt) Succeeded() bool { return a.ErrorClass == "" }

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
}
