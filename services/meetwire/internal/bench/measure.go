package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// round is one result per line.
type round []result

// part is somebody who takes part in a measurement and is not what is measured.
type part string

const (
	partPublisher part = "publisher"
	partNATS      part = "nats-server"
	partReceiver  part = "receiver"
	partPostgres  part = "Postgres"
)

// result is one measurement of one line.
type result struct {
	Deliveries int                    // of the throughput run
	Elapsed    time.Duration          // from the first publish to the last arrival
	Settled    time.Duration          // from the last arrival until nothing was left to do
	P50, P99   time.Duration          // of the latency run, from publish to receipt
	CPU        map[part]time.Duration // of the others during the throughput run, until nothing was left to do; nil: unknown
	Services   map[string]usage       // of the measured processes, by name; nil: unknown
	Duplicates int                    // requests that repeated an earlier one, in both runs
	Again      int                    // how often the throughput run's deliveries were given out again
	Timers     int                    // messages stored in RETRIES during the throughput run
	Messages   int                    // lines that the measured processes have logged
}

// usage is what one process has used.
type usage struct {
	cpu  time.Duration // during the throughput run
	peak int64         // greatest resident memory so far, in bytes
}

// total is what the measured processes have used together: of memory the sum of the peaks, even if they were not
// at the same moment.
func (r result) total() usage {
	var sum usage
	for _, one := range r.Services {
		sum.cpu += one.cpu
		sum.peak += one.peak
	}
	return sum
}

// everybody is the CPU time of all who take part, per delivery.
func (r result) everybody() time.Duration {
	sum := r.total().cpu
	for _, cpu := range r.CPU {
		sum += cpu
	}
	return sum / time.Duration(r.Deliveries)
}

func (r result) perSecond() float64 { return float64(r.Deliveries) / r.Elapsed.Seconds() }

// measurement is what one line needs while it is measured.
type measurement struct {
	*environment
	line   line
	target *target
}

// measure measures one line once: everything is started, used and ended again. The name is that of its folder.
func (e *environment) measure(ctx context.Context, l line, name string) (r result, err error) {
	ctx, f := newFleet(ctx)
	t, err := l.start(ctx, e, l, filepath.Join(e.folder, name), f)
	defer func() { err = errors.Join(because(ctx, err), f.stop(ctx), t.stop(ctx)) }()
	if err != nil {
		return r, fmt.Errorf("start: %w", err)
	}
	m := &measurement{environment: e, line: l, target: t}
	if err := m.warmUp(ctx); err != nil {
		return r, fmt.Errorf("warm up: %w", err)
	}
	if err := m.latency(ctx, &r); err != nil {
		return r, fmt.Errorf("latency run: %w", err)
	}
	if err := m.throughput(ctx, &r); err != nil {
		return r, fmt.Errorf("throughput run: %w", err)
	}
	for _, p := range t.measured {
		r.Messages += p.stderr.count()
	}
	return r, nil
}

// probeWait is how long a probe may take before another one is sent: a probe that comes before the webhooks are
// known goes to none of them.
const probeWait = 250 * time.Millisecond

// warmUp waits until every webhook is in force, checks signatures, and opens the connections that will be used.
func (m *measurement) warmUp(ctx context.Context) error {
	deadline := time.Now().Add(m.config.Patience)
	for {
		arrived, err := m.probe(ctx)
		if err != nil {
			return err
		}
		if arrived == m.line.webhooks {
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%w: a probe came to %d of %d webhooks", errMissing, arrived, m.line.webhooks)
		}
	}
	if _, err := m.target.settle(ctx, m.config.Patience); err != nil {
		return err
	}
	events := max(1, m.config.Deliveries/20/m.line.webhooks)
	number, err := m.receiver.begin(ctx, m.line.webhooks, events, true)
	if err != nil {
		return err
	}
	if _, err := m.publisher().burst(ctx, number, events); err != nil {
		return err
	}
	if _, err := m.await(ctx, events*m.line.webhooks); err != nil {
		return err
	}
	_, err = m.target.settle(ctx, m.config.Patience)
	return err
}

// probe publishes one event and returns to how many webhooks it came.
func (m *measurement) probe(ctx context.Context) (int, error) {
	number, err := m.receiver.begin(ctx, m.line.webhooks, 1, true)
	if err != nil {
		return 0, err
	}
	if _, err := m.publisher().burst(ctx, number, 1); err != nil {
		return 0, err
	}
	got, err := m.receiver.result(ctx, probeWait)
	return got.Arrived, err
}

// await waits until everything of a phase has arrived, and says where the rest is when it does not.
func (m *measurement) await(ctx context.Context, wanted int) (arrivals, error) {
	got, err := m.receiver.all(ctx, wanted, m.config.Patience)
	if errors.Is(err, errMissing) {
		left, leftErr := m.target.left(ctx)
		if left == "" {
			left = "nothing waits any more"
		}
		err = errors.Join(fmt.Errorf("%w (%s)", err, left), leftErr)
	}
	return got, err
}

func (m *measurement) publisher() *publisher {
	return &publisher{js: m.target.js, template: m.template}
}

// latency publishes at a steady rate.
func (m *measurement) latency(ctx context.Context, r *result) error {
	events := m.config.latencyEvents()
	number, err := m.receiver.begin(ctx, m.line.webhooks, events, false)
	if err != nil {
		return err
	}
	if err := m.publisher().paced(ctx, number, events, m.config.Rate); err != nil {
		return err
	}
	if _, err := m.await(ctx, events*m.line.webhooks); err != nil {
		return err
	}
	if _, err := m.target.settle(ctx, m.config.Patience); err != nil {
		return err
	}
	// Once more, because a repetition may have come since.
	got, err := m.receiver.result(ctx, 0)
	if err != nil {
		return err
	}
	r.P50, r.P99 = percentile(got.Latencies, 50), percentile(got.Latencies, 99)
	r.Duplicates += got.Duplicates
	return nil
}

// throughput publishes all at once.
func (m *measurement) throughput(ctx context.Context, r *result) error {
	events := max(1, m.config.Deliveries/m.line.webhooks)
	r.Deliveries = events * m.line.webhooks
	number, err := m.receiver.begin(ctx, m.line.webhooks, events, false)
	if err != nil {
		return err
	}
	before, err := m.read(ctx)
	if err != nil {
		return err
	}
	began, err := m.publisher().burst(ctx, number, events)
	if err != nil {
		return err
	}
	got, err := m.await(ctx, r.Deliveries)
	if err != nil {
		return err
	}
	settled, err := m.target.settle(ctx, m.config.Patience)
	if err != nil {
		return err
	}
	after, err := m.read(ctx)
	if err != nil {
		return err
	}
	r.Elapsed = got.Last.Sub(began)
	r.Settled = max(settled.Sub(got.Last), 0)
	after.since(before, r)
	got, err = m.receiver.result(ctx, 0)
	r.Duplicates += got.Duplicates
	return err
}

// reading is what has been used, and what has happened, so far.
type reading struct {
	detours  detours
	others   map[part]time.Duration // nil where the system does not tell
	services map[string]usage       // nil where the system does not tell
}

// since writes what was used since an earlier reading into the result.
func (now *reading) since(before *reading, r *result) {
	r.Again = int(now.detours.given-before.detours.given) - r.Deliveries //nolint:gosec // G115: counts of messages
	r.Timers = int(now.detours.timers - before.detours.timers)           //nolint:gosec // G115: counts of messages
	if now.others == nil {
		return
	}
	r.CPU = make(map[part]time.Duration, len(now.others))
	for who, cpu := range now.others {
		r.CPU[who] = cpu - before.others[who]
	}
	r.Services = make(map[string]usage, len(now.services))
	for name, one := range now.services {
		r.Services[name] = usage{cpu: one.cpu - before.services[name].cpu, peak: one.peak}
	}
}

// read reads everything.
func (m *measurement) read(ctx context.Context) (*reading, error) {
	now := &reading{}
	var err error
	if now.detours, err = m.target.detours(ctx); err != nil {
		return nil, err
	}
	p := proc(procRoot)
	if !p.available() {
		return now, nil
	}
	now.others, now.services = make(map[part]time.Duration), make(map[string]usage)
	for _, one := range m.target.measured {
		var used usage
		if used.cpu, err = p.cpu(one.pid()); err != nil {
			return nil, err
		}
		if used.peak, err = p.peak(one.pid()); err != nil {
			return nil, err
		}
		now.services[one.name] = used
	}
	for who, pid := range map[part]int{
		partPublisher: os.Getpid(), partNATS: m.target.nats.pid(), partReceiver: m.receiver.process.pid(),
	} {
		if now.others[who], err = p.cpu(pid); err != nil {
			return nil, err
		}
	}
	now.others[partPostgres], err = p.treeCPU(m.postgres.server.PID())
	return now, err
}
