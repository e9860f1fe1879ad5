// Package outbox owns the way of events about Meetwire itself, such as `webhook.disabled`, from the database, where they
// are written together with the change that they tell of, into the stream EVENTS. It publishes each at least once, in
// their order, and EVENTS drops a repetition. It must not decide what is announced.
package outbox

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/secret"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
)

const (
	// batch is how many events are published while their rows are locked.
	batch = 100
	// poll is how often it is looked for new events.
	poll = 500 * time.Millisecond
	// maxWait is the longest wait after a failure.
	maxWait = 15 * time.Second
	// publishTimeout bounds the wait for one acknowledgement.
	publishTimeout = 5 * time.Second
)

// Store keeps the events that are to be published.
type Store interface {
	// RelayOutbox gives the oldest events, at most limit, to publish, one after the other, removes those that it has
	// taken and returns how many. It stops at the first one that fails. While it works nobody else does: then it
	// returns 0.
	RelayOutbox(ctx context.Context, limit int, publish func(context.Context, core.OutboxEvent) error) (int, error)
}

// Config is what a relay is made of. All of it is required.
type Config struct {
	Store        Store
	JetStream    jetstream.JetStream
	ServiceToken secret.String // which proves that Meetwire itself has published an event
	Logger       *slog.Logger
	Registry     prometheus.Registerer
}

// Relay publishes what is in the outbox.
type Relay struct {
	cfg       Config
	published prometheus.Counter
}

// New returns a relay.
func New(cfg Config) (*Relay, error) {
	if cfg.Store == nil || cfg.JetStream == nil || cfg.ServiceToken.IsZero() || cfg.Logger == nil || cfg.Registry == nil {
		return nil, errors.New("a store, JetStream, a service token, a logger and a registry are required")
	}
	r := &Relay{cfg: cfg, published: prometheus.NewCounter(prometheus.CounterOpts{
		Name: "meetwire_outbox_published_total", Help: "Events about Meetwire itself that were published.",
	})}
	if err := cfg.Registry.Register(r.published); err != nil {
		return nil, fmt.Errorf("register a metric of the outbox: %w", err)
	}
	return r, nil
}

// Run publishes until the context ends. What it was about to publish stays for the next start, or another instance.
func (r *Relay) Run(ctx context.Context) error {
	wait := poll
	for ctx.Err() == nil {
		published, err := r.cfg.Store.RelayOutbox(ctx, batch, r.publish)
		r.published.Add(float64(published))
		if err != nil && ctx.Err() == nil {
			wait = min(2*wait, maxWait)
			r.cfg.Logger.WarnContext(ctx, "events about Meetwire not published", "wait", wait, "error", err)
		} else {
			wait = poll
		}
		if published < batch { // else there may be more
			sleep(ctx, wait)
		}
	}
	return nil
}

// sleep waits, a little less than it is told, so that instances do not come at one time.
func sleep(ctx context.Context, wait time.Duration) {
	timer := time.NewTimer(wait - rand.N(wait/4)) //nolint:gosec // G404: spreading load needs no secrecy
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// publish publishes one event and waits until EVENTS has it.
func (r *Relay) publish(ctx context.Context, e core.OutboxEvent) error {
	document, err := encode(e)
	if err != nil {
		return err
	}
	id := bus.EventMsgID(e.Organization, bus.OperationalSource, e.ID)
	msg := nats.NewMsg(bus.EventSubject(e.Organization, e.Trigger))
	msg.Data = document
	msg.Header.Set(bus.HeaderOperational, bus.OperationalToken(r.cfg.ServiceToken, id))
	ctx, cancel := context.WithTimeout(ctx, publishTimeout)
	defer cancel()
	_, err = bus.Publish(ctx, r.cfg.JetStream, msg, id)
	if fault.Is(err, fault.InvalidArgument) {
		// It can never be published, and must not keep back those behind it.
		r.cfg.Logger.ErrorContext(ctx, "event about Meetwire dropped", "trigger", e.Trigger, "event_id", e.ID, "error", err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("publish %s: %w", e.Trigger, err)
	}
	return nil
}

// encode writes an event as a CloudEvents document.
func encode(e core.OutboxEvent) ([]byte, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false) // people read events, too
	err := encoder.Encode(struct {
		SpecVersion     string          `json:"specversion"`
		ID              string          `json:"id"`
		Source          string          `json:"source"`
		Type            string          `json:"type"`
		Time            string          `json:"time"`
		DataContentType string          `json:"datacontenttype"`
		Data            json.RawMessage `json:"data"`
	}{"1.0", e.ID, bus.OperationalSource, e.Trigger, e.Time.UTC().Format(time.RFC3339Nano), "application/json", e.Data})
	if err != nil {
		return nil, fmt.Errorf("write an event of %s: %w", e.Trigger, err)
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}
