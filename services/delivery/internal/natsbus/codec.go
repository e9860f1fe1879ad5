package natsbus

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

// errHeader is returned for a message that did not come from us.
var errHeader = errors.New("a header is missing or malformed")

// decode reads a task from the headers and the body of a message, wherever that comes from.
func decode(header nats.Header, lane string, body []byte) (*core.Task, error) {
	r := headerReader{header: header}
	task := &core.Task{
		Delivery:       r.text(bus.HeaderDeliveryID),
		Organization:   r.text(bus.HeaderOrganization),
		Webhook:        r.text(bus.HeaderWebhookID),
		Lane:           lane,
		Trigger:        r.text(bus.HeaderTrigger),
		EventSource:    r.text(bus.HeaderSource),
		EventID:        r.text(bus.HeaderEventID),
		EventSequence:  uint64(r.number(bus.HeaderEventSequence)), //nolint:gosec // G115: number refuses what is negative
		ConfigRevision: r.number(bus.HeaderConfigRevision),
		AcceptedAt:     r.time(bus.HeaderAcceptedAt),
		Attempts:       r.count(bus.HeaderAttempt),
		AttemptBase:    r.count(bus.HeaderAttemptBase),
		TraceParent:    header.Get(bus.HeaderTraceParent),
		TraceState:     header.Get(bus.HeaderTraceState),
		Parked:         header.Get(bus.HeaderParked) != "",
		Recorded:       header.Get(bus.HeaderRecorded) != "",
	}
	task.Recorded = task.Recorded || task.Attempts > 0 || task.Parked
	if header.Get(bus.HeaderRunAt) != "" {
		task.RunAt = r.time(bus.HeaderRunAt)
	}
	if header.Get(bus.HeaderSlotAt) != "" {
		task.SlotAt = r.time(bus.HeaderSlotAt)
	}
	if task.AttemptBase > task.Attempts {
		r.fail(bus.HeaderAttemptBase)
	}
	if len(body) > 0 {
		task.Event = body
	}
	return task, r.err
}

// encode writes what decode reads. Nothing else of an earlier message travels on.
func encode(task *core.Task) nats.Header {
	header := nats.Header{
		bus.HeaderDeliveryID:     {task.Delivery},
		bus.HeaderOrganization:   {task.Organization},
		bus.HeaderWebhookID:      {task.Webhook},
		bus.HeaderTrigger:        {task.Trigger},
		bus.HeaderSource:         {task.EventSource},
		bus.HeaderEventID:        {task.EventID},
		bus.HeaderEventSequence:  {strconv.FormatUint(task.EventSequence, 10)},
		bus.HeaderConfigRevision: {strconv.FormatInt(task.ConfigRevision, 10)},
		bus.HeaderAcceptedAt:     {task.AcceptedAt.UTC().Format(time.RFC3339Nano)},
	}
	if task.Attempts > 0 {
		header[bus.HeaderAttempt] = []string{strconv.Itoa(task.Attempts)}
	}
	if task.AttemptBase > 0 {
		header[bus.HeaderAttemptBase] = []string{strconv.Itoa(task.AttemptBase)}
	}
	if !task.RunAt.IsZero() {
		header[bus.HeaderRunAt] = []string{task.RunAt.UTC().Format(time.RFC3339Nano)}
	}
	if !task.SlotAt.IsZero() {
		header[bus.HeaderSlotAt] = []string{task.SlotAt.UTC().Format(time.RFC3339Nano)}
	}
	if task.Recorded && task.Attempts == 0 { // else it goes without saying
		header[bus.HeaderRecorded] = []string{"true"}
	}
	if task.TraceParent != "" {
		header[bus.HeaderTraceParent] = []string{task.TraceParent}
	}
	if task.TraceState != "" {
		header[bus.HeaderTraceState] = []string{task.TraceState}
	}
	return header
}

// headerReader collects the first error, so that decode reads like a table.
type headerReader struct {
	header nats.Header
	err    error
}

func (r *headerReader) text(name string) string {
	value := r.header.Get(name)
	if value == "" {
		r.fail(name)
	}
	return value
}

func (r *headerReader) number(name string) int64 {
	n, err := strconv.ParseInt(r.header.Get(name), 10, 64)
	if err != nil || n < 0 {
		r.fail(name)
		return 0
	}
	return n
}

// maxCount is far beyond what any retry policy allows, over any number of replays.
const maxCount = math.MaxInt32 / 2

// count is a number of attempts, which is left out when it is 0.
func (r *headerReader) count(name string) int {
	if r.header.Get(name) == "" {
		return 0
	}
	n := r.number(name)
	if n > maxCount {
		r.fail(name)
		return 0
	}
	return int(n)
}

func (r *headerReader) time(name string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, r.header.Get(name))
	if err != nil {
		r.fail(name)
	}
	return t
}

func (r *headerReader) fail(name string) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s", errHeader, name)
	}
}
