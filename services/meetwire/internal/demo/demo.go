package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/publisher"
	"github.com/meetwire/meetwire/pkg/secret"
)

// firstRetry is short, so that nobody has to wait for the retries.
const firstRetry = 500 * time.Millisecond

// patience is how long the demo waits for what it has published.
const patience = 30 * time.Second

// The webhooks of the demo, by the path that they point to.
const (
	pathSteady = "/meetings"
	pathFlaky  = "/flaky"
	pathYours  = "/yours" // what the reader is invited to try
)

// meetings are published in this order.
func meetings() []string {
	return []string{"meeting.booked", "meeting.rescheduled", "meeting.canceled"}
}

// Run shows deliveries and then keeps the receiver up until the context ends.
func Run(ctx context.Context, api *API, addresses Addresses, publishTo bus.NATSConfig, key secret.String, stdout io.Writer, logger *slog.Logger) error {
	r, err := newReceiver(logger)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return r.serve(ctx) })
	group.Go(func() error {
		if err := show(ctx, api, r, addresses, publishTo, key, stdout, logger); err != nil {
			if ctx.Err() != nil {
				return nil //nolint:nilerr // we are being stopped
			}
			return fmt.Errorf("demo: %w", err)
		}
		return follow(ctx, r, stdout)
	})
	return group.Wait()
}

func show(ctx context.Context, api *API, r *receiver, addresses Addresses, publishTo bus.NATSConfig, key secret.String, stdout io.Writer, logger *slog.Logger) error {
	if err := api.ensureOrganization(ctx); err != nil {
		return err
	}
	r.failFirst(pathFlaky, 2)
	if err := api.ensureWebhook(ctx, "Demo: every meeting", r.url(pathSteady), r.secret(), meetings()...); err != nil {
		return err
	}
	if err := api.ensureWebhook(ctx, "Demo: fails twice", r.url(pathFlaky), r.secret(), "meeting.booked"); err != nil {
		return err
	}
	// A change is in force on every worker within a second.
	if err := pause(ctx, time.Second); err != nil {
		return err
	}
	published, err := publish(ctx, api, publishTo, logger)
	if err != nil {
		return err
	}
	if err := table(ctx, r, published, stdout); err != nil {
		return err
	}
	return invite(r, addresses, key, stdout)
}

// pause waits.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// event is one that was published.
type event struct {
	trigger string
	at      time.Time
}

// publish publishes the meetings to NATS, as an internal service would, and returns them by their sequence.
func publish(ctx context.Context, api *API, publishTo bus.NATSConfig, logger *slog.Logger) (map[string]event, error) {
	conn, err := bus.Connect(ctx, "meetwire demo", publishTo, logger)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	js, err := bus.JetStream(conn)
	if err != nil {
		return nil, err
	}
	p, err := publisher.New(js, publisher.WithSource("/demo"))
	if err != nil {
		return nil, fmt.Errorf("make a publisher: %w", err)
	}
	published := make(map[string]event)
	for _, trigger := range meetings() {
		sample, err := api.sample(ctx, trigger)
		if err != nil {
			return nil, err
		}
		at := time.Now()
		ack, err := p.Publish(ctx, publisher.Event{
			Organization: Organization,
			Trigger:      trigger,
			ID:           uuid.NewString(),
			Data:         json.RawMessage(sample),
		})
		if err != nil {
			return nil, fmt.Errorf("publish %s: %w", trigger, err)
		}
		published[strconv.FormatUint(ack.Sequence, 10)] = event{trigger: trigger, at: at}
	}
	return published, nil
}

// errNotArrived is returned when what was published does not arrive.
var errNotArrived = errors.New("not every delivery has arrived in time")

// table prints each request until every delivery has succeeded.
func table(ctx context.Context, r *receiver, published map[string]event, stdout io.Writer) error {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, errNotArrived)
	defer cancel()
	if _, err := fmt.Fprintf(stdout, "\nPublished to NATS: a meeting booked, rescheduled and canceled. Delivered over HTTP:\n\n"); err != nil {
		return err
	}
	w := tabwriter.NewWriter(stdout, 0, 0, 3, ' ', 0)
	if _, err := fmt.Fprintln(w, "  EVENT\tTO\tATTEMPT\tANSWER\tAFTER\tSIGNATURE"); err != nil {
		return err
	}
	attempts := make(map[string]int)
	for waiting := len(published) + 1; waiting > 0; {
		select {
		case got := <-r.got:
			e, ours := published[got.Sequence]
			if !ours {
				continue // of an earlier run
			}
			attempts[got.ID]++
			if got.Status == 200 {
				waiting--
			}
			_, err := fmt.Fprintf(w, "  %s\t%s\t%d\t%d\t%s\t%s\n", e.trigger, got.Path, attempts[got.ID], got.Status,
				got.At.Sub(e.at).Round(100*time.Microsecond), verdict(got.Verified))
			if err != nil {
				return err
			}
		case <-ctx.Done():
			return errors.Join(context.Cause(ctx), w.Flush())
		}
	}
	return w.Flush()
}

func verdict(verified bool) string {
	if verified {
		return "verified"
	}
	return "WRONG"
}

// invite prints what to try next.
func invite(r *receiver, addresses Addresses, key secret.String, stdout io.Writer) error {
	_, err := fmt.Fprintf(stdout, `
Try next, in another terminal:

  export KEY=%[1]s
  # 1. a webhook of your own, here to the receiver above, which prints what it gets
  curl -s -H "Authorization: Bearer $KEY" %[2]s/v1/%[3]s/webhooks -d '{
    "displayName": "Mine", "targetUrl": "%[4]s", "triggers": ["contact.updated"], "secret": "%[5]s"}'

  # 2. an event, over NATS ...
  nats -s %[6]s%[9]s pub events.%[7]s.contact.updated -H Nats-Msg-Id:%[7]s:/me:1 \
    '{"specversion":"1.0","source":"/me","id":"1","type":"contact.updated","data":%[8]s}'
  # ... or over REST
  curl -s -H "Authorization: Bearer $KEY" %[2]s/v1/%[3]s/events \
    -d '{"specversion":"1.0","source":"/me","id":"2","type":"contact.updated","data":%[8]s}'

  # 3. what became of it: every delivery, and the attempts of one
  curl -s -H "Authorization: Bearer $KEY" %[2]s/v1/%[3]s/deliveries
  curl -s -H "Authorization: Bearer $KEY" %[2]s/v1/<name of a delivery>/attempts

Ctrl-C stops it; the next start finds its data again.
`, shownKey(key), addresses.REST, parent, r.url(pathYours), r.secret(), addresses.NATS, Organization, `{"id":"con_42","email":"ines@example.org"}`, addresses.NATSUser)
	return err
}

// shownKey is the key as it is to be typed.
func shownKey(key secret.String) string {
	if key.IsZero() {
		return "<the key that you have given>"
	}
	return key.Reveal()
}

// follow prints what else arrives.
func follow(ctx context.Context, r *receiver, stdout io.Writer) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case got := <-r.got:
			_, err := fmt.Fprintf(stdout, "%s  %s got %s  answered %d  signature %s\n    %s\n",
				got.At.Format(time.TimeOnly), got.Path, got.ID, got.Status, verdict(got.Verified), got.Body)
			if err != nil {
				return err
			}
		}
	}
}
