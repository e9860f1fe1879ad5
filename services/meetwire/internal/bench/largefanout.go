package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/errgroup"

	"github.com/meetwire/meetwire/pkg/bus"
)

// otherTrigger is what others publish meanwhile.
const otherTrigger = "enrolment.created"

// large is one kind of large fan-out.
type large struct {
	title   string
	payload int
	events  int // at once
}

func largeKinds() []large {
	return []large{
		{"1 event of 1 KiB", 1 << 10, 1},
		{"20 events of 1 KiB", 1 << 10, 20},
		{"1 event of 256 KiB", maxPayload, 1},
	}
}

// largeFanOut is what was measured of one kind, by round.
type largeFanOut struct {
	large
	took          []time.Duration // until all deliveries were stored
	above         []int64         // peak memory of ingest above what it had before, in bytes
	without, with []time.Duration // p99 of the events of another trigger, until their delivery was published
}

// largeFanOuts is what the part has found.
type largeFanOuts struct {
	webhooks, rate int
	kinds          []*largeFanOut
}

func (e *environment) largeFanOuts(ctx context.Context) (section, error) {
	found, err := e.fanOutLarge(ctx)
	if err != nil {
		return nil, fmt.Errorf("fan-out: %w", err)
	}
	return found, nil
}

// fanOutLarge starts everything but delivery, which would only take the machine's time: the webhooks are called by nobody.
func (e *environment) fanOutLarge(ctx context.Context) (found *largeFanOuts, err error) {
	ctx, f := newFleet(ctx)
	api := &restClient{http: &http.Client{Timeout: e.config.Patience}}
	t, env, address, err := prepare(ctx, e, api, filepath.Join(e.folder, "fanout"), f)
	defer func() { err = errors.Join(because(ctx, err), f.stop(ctx), t.stop(ctx)) }()
	if err != nil {
		return nil, err
	}
	if _, err = e.withServices(ctx, env, api, func(ctx context.Context) error { return api.configure(ctx, e, 1, 1) }); err != nil {
		return nil, err
	}
	if err := multiply(ctx, address, e.config.LargeFanOut-1); err != nil {
		return nil, err
	}
	m := &largeRun{environment: e, target: t}
	if err := m.start(ctx, env, api, f); err != nil {
		return nil, err
	}
	if err := m.configure(ctx, api); err != nil {
		return nil, err
	}
	if err := m.listen(); err != nil {
		return nil, err
	}
	if err := m.warmUp(ctx); err != nil {
		return nil, err
	}
	found = &largeFanOuts{webhooks: e.config.LargeFanOut, rate: e.config.Rate}
	for _, kind := range largeKinds() {
		one := &largeFanOut{large: kind}
		found.kinds = append(found.kinds, one)
		for n := 1; n <= min(e.config.Rounds, 3); n++ {
			if err := m.measure(ctx, one); err != nil {
				return nil, fmt.Errorf("%s: %w", kind.title, err)
			}
			e.progress("fan-out, %s to %d webhooks: %s, %s above idle, p99 of others %s, before %s", kind.title, found.webhooks,
				display(one.took[n-1]), mebibytes(one.above[n-1]), display(one.with[n-1]), display(one.without[n-1]))
		}
	}
	return found, nil
}

// largeRun is the part fan-out while it is measured.
type largeRun struct {
	*environment

	target *target
	ingest *process
	sample json.RawMessage // data of another trigger's event
	phase  int

	mu       sync.Mutex
	arrived  map[string]time.Time // when the delivery of another trigger's event was published, by the event's id
	complete chan struct{}
	wanted   int // 0: more are published
}

// start starts the services, and ends delivery again when it has made its streams and consumers.
func (m *largeRun) start(ctx context.Context, env map[string][]string, api *restClient, f *fleet) error {
	deliveryContext, delivery := newFleet(ctx)
	for _, service := range services() {
		in := f
		if service == "delivery" {
			in = delivery
		}
		p, err := in.start(service, filepath.Join(m.programs, service), nil, env[service])
		if err != nil {
			return errors.Join(err, delivery.stop(ctx))
		}
		if service == "ingest" {
			m.ingest = p
		}
	}
	err := api.ready(deliveryContext, m.config.Patience)
	return errors.Join(because(deliveryContext, err), delivery.stop(ctx))
}

// configure makes a webhook for another trigger's events.
func (m *largeRun) configure(ctx context.Context, api *restClient) error {
	answer, err := api.get(ctx, "/v1/organizations/"+organization+"/triggers/"+otherTrigger)
	if err != nil {
		return fmt.Errorf("read a trigger: %w", err)
	}
	var described struct {
		Sample string `json:"sample"`
	}
	if err := json.Unmarshal(answer, &described); err != nil {
		return fmt.Errorf("read a trigger: %w", err)
	}
	m.sample = json.RawMessage(described.Sample)
	return api.call(ctx, http.MethodPost, "/v1/organizations/"+organization+"/webhooks", map[string]any{
		"displayName": "Other", "targetUrl": m.receiver.url(0), "triggers": []string{otherTrigger}, "secret": m.secret,
	})
}

// listen notes when deliveries of the other trigger are published.
func (m *largeRun) listen() error {
	_, err := m.target.conn.Subscribe(bus.DeliverySubject(bus.Lane(otherTrigger), organization, "*"), func(msg *nats.Msg) {
		at := time.Now()
		m.mu.Lock()
		defer m.mu.Unlock()
		id := msg.Header.Get(bus.HeaderEventID)
		if _, again := m.arrived[id]; again || !strings.HasPrefix(id, m.prefix()) {
			return
		}
		if m.arrived[id] = at; len(m.arrived) == m.wanted {
			close(m.complete)
		}
	})
	if err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	return nil
}

// prefix begins the ids of another trigger's events of this phase.
func (m *largeRun) prefix() string { return "other-" + strconv.Itoa(m.phase) + "-" }

// publishOther publishes one event of another trigger.
func (m *largeRun) publishOther(id string) error {
	msg := nats.NewMsg(bus.EventSubject(organization, otherTrigger))
	msg.Data = fmt.Appendf(nil, `{"specversion":"1.0","id":%q,"source":%q,"type":%q,"data":%s}`, id, source, otherTrigger, m.sample)
	if _, err := bus.PublishAsync(m.target.js, msg, bus.EventMsgID(organization, source, id)); err != nil {
		return fmt.Errorf("publish an event: %w", err)
	}
	return nil
}

// warmUp waits until the other trigger's webhook is in force.
func (m *largeRun) warmUp(ctx context.Context) error {
	m.mu.Lock()
	m.arrived, m.wanted, m.complete = make(map[string]time.Time), 1, make(chan struct{})
	complete := m.complete
	m.mu.Unlock()
	timer := time.NewTimer(m.config.Patience)
	defer timer.Stop()
	ticker := time.NewTicker(probeWait)
	defer ticker.Stop()
	for n := 0; ; n++ {
		if err := m.publishOther(m.prefix() + strconv.Itoa(n)); err != nil {
			return err
		}
		select {
		case <-complete:
			return nil
		case <-ticker.C:
		case <-timer.C:
			return fmt.Errorf("%w: an event of another trigger", errMissing)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// others publishes events of another trigger at a steady rate, for as long as a latency run takes and until the others are
// done, and returns their p99.
func (m *largeRun) others(ctx context.Context, done <-chan struct{}) (time.Duration, error) {
	m.mu.Lock()
	m.phase++
	m.arrived, m.wanted, m.complete = make(map[string]time.Time), 0, make(chan struct{})
	prefix, complete := m.prefix(), m.complete
	m.mu.Unlock()
	due := make(map[string]time.Time)
	ticker := time.NewTicker(time.Second / time.Duration(m.config.Rate))
	defer ticker.Stop()
	for n := 0; n < m.config.latencyEvents() || !closed(done); n++ {
		id := prefix + strconv.Itoa(n)
		due[id] = time.Now()
		if err := m.publishOther(id); err != nil {
			return 0, err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	m.mu.Lock()
	if m.wanted = len(due); len(m.arrived) == m.wanted {
		close(complete)
	}
	m.mu.Unlock()
	timer := time.NewTimer(m.config.Patience)
	defer timer.Stop()
	select {
	case <-complete:
	case <-ctx.Done():
		return 0, ctx.Err()
	case <-timer.C:
		m.mu.Lock()
		defer m.mu.Unlock()
		return 0, fmt.Errorf("%w: %d of %d events of another trigger", errMissing, len(m.arrived), len(due))
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	took := make([]time.Duration, 0, len(due))
	for id, at := range m.arrived {
		took = append(took, at.Sub(due[id]))
	}
	return percentile(took, 99), nil
}

func closed(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
}

// measure measures others alone, and then beside a large fan-out.
func (m *largeRun) measure(ctx context.Context, one *largeFanOut) error {
	fannedOut := make(chan struct{})
	close(fannedOut)
	without, err := m.others(ctx, fannedOut)
	if err != nil {
		return err
	}
	if err := m.target.fannedOut(ctx, m.config.Patience); err != nil {
		return err
	}
	before, err := proc(procRoot).resident(m.ingest.pid())
	if err != nil {
		return err
	}
	var took, with time.Duration
	fannedOut = make(chan struct{})
	g, together := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		with, err = m.others(together, fannedOut)
		return err
	})
	g.Go(func() (err error) {
		defer close(fannedOut)
		took, err = m.fanOut(together, one)
		return err
	})
	if err := g.Wait(); err != nil {
		return err
	}
	peak, err := proc(procRoot).peak(m.ingest.pid())
	if err != nil {
		return err
	}
	one.took, one.above = append(one.took, took), append(one.above, max(peak-before, 0))
	one.without, one.with = append(one.without, without), append(one.with, with)
	stream, err := m.target.js.Stream(ctx, bus.StreamDeliveries)
	if err != nil {
		return fmt.Errorf("open stream %s: %w", bus.StreamDeliveries, err)
	}
	if err := stream.Purge(ctx); err != nil {
		return fmt.Errorf("empty stream %s: %w", bus.StreamDeliveries, err)
	}
	return nil
}

// fanOut publishes the large events and waits until they have all their deliveries.
func (m *largeRun) fanOut(ctx context.Context, one *largeFanOut) (time.Duration, error) {
	publisher := &publisher{js: m.target.js, template: newTemplate(one.payload)}
	stored, err := m.stored(ctx)
	if err != nil {
		return 0, err
	}
	m.receiver.phase++
	began, err := publisher.burst(ctx, m.receiver.phase, one.events)
	if err != nil {
		return 0, err
	}
	wanted := uint64(one.events * m.config.LargeFanOut) //nolint:gosec // G115: a count
	ctx, cancel := context.WithTimeout(ctx, m.config.Patience)
	defer cancel()
	ticker := time.NewTicker(settlePeriod)
	defer ticker.Stop()
	for {
		now, err := m.stored(ctx)
		if err != nil || now-stored >= wanted {
			return time.Since(began), err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return 0, fmt.Errorf("%w: %d of %d deliveries", errMissing, now-stored, wanted)
		}
	}
}

// stored is how many deliveries the large fan-outs have made so far.
func (m *largeRun) stored(ctx context.Context) (uint64, error) {
	stream, err := m.target.js.Stream(ctx, bus.StreamDeliveries)
	if err != nil {
		return 0, fmt.Errorf("look at stream %s: %w", bus.StreamDeliveries, err)
	}
	return stream.CachedInfo().State.LastSeq, nil
}

// write prints the table.
func (l *largeFanOuts) write(b *strings.Builder) {
	fmt.Fprintf(b, `
Large fan-outs, to %s webhooks, in three rounds of each at most: medians, and the worst. Meanwhile events of another trigger
are published at %d per second; p99 from their publish to that of their delivery. Memory is ingest's peak above what it had
before. Asked for: at most 64 MB, and others not held up.

`, grouped(int64(l.webhooks)), l.rate)
	w := tabwriter.NewWriter(b, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "\ttook\tmemory\tworst\tothers' p99 without\twith\tworst\t") //nolint:errcheck // a strings.Builder takes everything
	for _, k := range l.kinds {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t\n", k.title, display(median(k.took)), mebibytes(median(k.above)), //nolint:errcheck // as above
			mebibytes(slices.Max(k.above)), display(median(k.without)), display(median(k.with)), display(slices.Max(k.with)))
	}
	w.Flush() //nolint:errcheck // as above
}
