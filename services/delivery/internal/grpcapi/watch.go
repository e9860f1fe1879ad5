package grpcapi

import (
	"context"
	"strconv"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/meetwire/meetwire/pkg/aip"
	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/fault"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
)

// Live is what attempts are watched in.
type Live interface {
	// Watch gives the records that are published from now on to a function, and with each how many were missed before.
	// begun is called when it has begun. It returns an error of the functions', the context's, or fault.Unavailable.
	Watch(
		ctx context.Context, organization, webhook string, begun func() error, do func(record *deliveryv1.Record, missed uint64) error,
	) error
}

// How many calls of WatchAttempts an instance serves at once, altogether and for one organization. The operators who watch
// all of them count as one.
const (
	maxWatchers    = 100
	maxWatchersFor = 20
)

// Watching is the part of DeliveryService that shows attempts as they are made.
type Watching struct {
	live    Live
	stopped context.Context //nolint:containedctx // ends when the service stops, which ends the streams
	turns   *turns
}

// NewWatching returns one whose streams end with the context.
func NewWatching(ctx context.Context, live Live) *Watching {
	return &Watching{live: live, stopped: ctx, turns: newTurns(maxWatchers, maxWatchersFor)}
}

// errStopping is what watchers get when this instance stops: they go on with another.
func errStopping() error {
	return fault.New(fault.Unavailable, "INSTANCE_STOPS", "this instance stops; call again")
}

// WatchAttempts implements DeliveryService.
func (w *Watching) WatchAttempts(request *deliveryv1.WatchAttemptsRequest, stream grpc.ServerStreamingServer[deliveryv1.WatchAttemptsResponse]) error {
	organization, err := anyParent(request.GetParent())
	if err != nil {
		return err
	}
	wanted, err := newWatchFilter(organization, request.GetFilter())
	if err != nil {
		return err
	}
	give, ok := w.turns.take(organization)
	if !ok {
		return fault.New(fault.ResourceExhausted, "TOO_MANY_WATCHERS",
			"this instance shows attempts to %d callers already, or to %d of the organization", maxWatchers, maxWatchersFor)
	}
	defer give()
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	defer context.AfterFunc(w.stopped, cancel)()
	var missed uint64
	// The header tells the caller that from now on it sees everything.
	begun := func() error { return stream.SendHeader(nil) }
	err = w.live.Watch(ctx, organization, wanted.webhook, begun, func(record *deliveryv1.Record, more uint64) error {
		missed += more
		if record.GetAttempt() == nil || !wanted.admits(record) {
			return nil
		}
		response := &deliveryv1.WatchAttemptsResponse{
			Attempt: attemptOf(record, request.GetBrief()), State: record.GetState(), MissedCount: int64(missed), //nolint:gosec // G115: a count
		}
		missed = 0
		return stream.Send(response)
	})
	if w.stopped.Err() != nil {
		return errStopping()
	}
	return err
}

// attemptOf returns the attempt that a record is about, as the API shows it.
func attemptOf(record *deliveryv1.Record, brief bool) *deliveryv1.Attempt {
	attempt := record.GetAttempt()
	if brief {
		attempt = proto.CloneOf(attempt)
		withoutPayload(attempt)
	}
	attempt.Name = deliveryName(record.GetOrganization(), record.GetDelivery()) + "/attempts/" + record.GetId()
	attempt.Webhook = webhookName(record.GetOrganization(), record.GetWebhook())
	attempt.Trigger, attempt.EventId = record.GetTrigger(), record.GetEventId()
	return readable(attempt)
}

// watchFilter says which attempts are shown.
type watchFilter struct {
	webhook             string // or bus.AnyToken
	trigger, event      *string
	status, class, okay *string
}

func newWatchFilter(organization, text string) (*watchFilter, error) {
	values, err := aip.ParseFilter(text, "webhook", "trigger", "event_id", "status_code", "error_class", "succeeded")
	if err != nil {
		return nil, err
	}
	t := &terms{values: values}
	f := &watchFilter{
		webhook: bus.AnyToken, trigger: t.text("trigger"), event: t.text("event_id"),
		status: t.text("status_code"), class: t.text("error_class"), okay: t.text("succeeded"),
	}
	t.number("status_code", 32)
	if f.okay != nil && *f.okay != "true" && *f.okay != "false" {
		t.fail("succeeded must be true or false")
	}
	if organization == bus.AnyToken && t.text("webhook") != nil {
		t.fail("webhook needs the organization that it is of, instead of -")
	}
	if id := t.webhook(organization); id != nil {
		f.webhook = id.String()
	}
	return f, t.err
}

func (f *watchFilter) admits(record *deliveryv1.Record) bool {
	attempt := record.GetAttempt()
	for _, compared := range []struct {
		want *string
		have string
	}{
		{f.trigger, record.GetTrigger()},
		{f.event, record.GetEventId()},
		{f.status, strconv.Itoa(int(attempt.GetStatusCode()))},
		{f.class, attempt.GetErrorClass()},
		{f.okay, strconv.FormatBool(attempt.GetErrorClass() == "")},
	} {
		if compared.want != nil && *compared.want != compared.have {
			return false
		}
	}
	return true
}
