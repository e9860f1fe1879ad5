package bench

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// IsolationConfig is what the part isolation is measured with.
type IsolationConfig struct {
	Rate   int           `help:"Deliveries per second that are offered. When this machine does not manage as many without any trouble, fewer are." default:"6000"`
	Time   time.Duration `help:"How long they are offered." default:"10s"`
	Burst  int           `help:"Deliveries that one webhook receives at once." default:"100000"`
	Rounds int           `help:"How many times it is measured." default:"3"`
}

// Webhooks of the part isolation: 1,000 in all. An event goes to a group of them, which its event type says.
const (
	groupSize     = 10
	healthyGroups = 97
	hungWebhooks  = 20 // two groups: they accept connections and never answer
	deadWebhooks  = 9  // one group: nobody listens
	slowWebhooks  = 1  // gets the burst
)

// Shares of what is offered, in percent.
const (
	hungShare = 10
	deadShare = 5
)

// Event types of the groups that are not healthy.
const (
	typeHung = "hung"
	typeDead = "dead"
	typeSlow = "slow"
)

func healthyType(number int) string { return "healthy-" + strconv.Itoa(number%healthyGroups) }

// latencies is how long healthy deliveries took.
type latencies struct {
	p50, p99, max time.Duration
	lost          int // deliveries that had not arrived when patience ended
}

// isolated is one round.
type isolated struct {
	without, with latencies
	fannedOut     time.Duration // how long the burst took until all of it was fanned out
	waiting       uint64        // messages that were still to be delivered when the healthy ones had arrived
	unwritten     uint64        // records that were still to be written then
}

// isolation is what the part has found.
type isolation struct {
	config IsolationConfig
	rate   int // what was offered
	rounds []isolated
}

// tooSlow is when a machine does not manage a rate: the healthy deliveries alone pile up.
const tooSlow = 50 * time.Millisecond

// isolations measures healthy deliveries without and with bad neighbours, in turn.
func (e *environment) isolations(ctx context.Context) (section, error) {
	found := &isolation{config: e.config.Isolation, rate: e.config.Isolation.Rate}
	for n := 1; n <= found.config.Rounds; n++ {
		one, err := e.isolate(ctx, "isolation"+strconv.Itoa(n), &found.rate, n == 1)
		if err != nil {
			err = fmt.Errorf("isolation, round %d: %w", n, err)
			if len(found.rounds) == 0 {
				return nil, err
			}
			return found, err
		}
		found.rounds = append(found.rounds, one)
		e.progress("isolation, round %d of %d: %d/s, healthy p99 %s without, %s with bad neighbours", n, found.config.Rounds,
			found.rate, display(one.without.p99), display(one.with.p99))
	}
	return found, nil
}

// isolate measures once. The first time it finds out how much can be offered.
func (e *environment) isolate(ctx context.Context, name string, rate *int, first bool) (one isolated, err error) {
	ctx, f := newFleet(ctx)
	bad, err := openBadEndpoints(ctx, hungWebhooks, deadWebhooks)
	if err != nil {
		return one, err
	}
	api := &restClient{http: &http.Client{Timeout: 30 * time.Second}}
	t, err := startUnconfigured(ctx, e, api, filepath.Join(e.folder, name), f)
	defer func() { err = errors.Join(because(ctx, err), f.stop(ctx), t.stop(ctx), bad.close()) }()
	if err != nil {
		return one, fmt.Errorf("start: %w", err)
	}
	m := &isolationRun{environment: e, target: t, publisher: &publisher{js: t.js, template: e.template}}
	if err := m.configure(ctx, api, bad); err != nil {
		return one, err
	}
	if err := m.warmUp(ctx); err != nil {
		return one, fmt.Errorf("warm up: %w", err)
	}
	if _, err := m.offer(ctx, *rate, false); err != nil { // everything has its size afterwards
		return one, err
	}
	for {
		if one.without, err = m.offer(ctx, *rate, false); err != nil {
			return one, err
		}
		if !first || one.without.p99 <= tooSlow || *rate <= e.config.Isolation.Rate/8 {
			break
		}
		e.progress("isolation: %d/s are too many for this machine: p99 %s", *rate, display(one.without.p99))
		*rate = *rate * 3 / 4
	}
	began := time.Now()
	if err := m.burst(ctx); err != nil {
		return one, fmt.Errorf("burst: %w", err)
	}
	one.fannedOut = time.Since(began)
	if one.with, err = m.offer(ctx, *rate, true); err != nil {
		return one, err
	}
	if one.waiting, err = t.waiting(ctx); err != nil {
		return one, err
	}
	one.unwritten, err = t.unwritten(ctx)
	return one, err
}

// write prints the table.
func (i *isolation) write(b *strings.Builder) {
	fmt.Fprintf(b, `
Isolation: 1,000 webhooks; %s deliveries/s offered for %s (%s asked for), each event to ten of them. Healthy deliveries
alone (85 %% of the rate), then the same with bad neighbours: 10 %% to 20 endpoints that accept the connection and never
answer, 5 %% to refused ports, and %s deliveries that one webhook, whose endpoint takes %s to answer, has received at once,
all of them fanned out before. From when an event was due to be published until its receipt. The receiver of the healthy
ones reads of a request its path and its body, so that it takes little of the cores that all share. Records make way for
deliveries for up to half a minute: how many were not written yet is told as well.

`, grouped(int64(i.rate)), i.config.Time, grouped(int64(i.config.Rate)), grouped(int64(i.config.Burst)), slowAnswer)
	w := tabwriter.NewWriter(b, 0, 0, 3, ' ', tabwriter.AlignRight)
	row := func(cells ...string) {
		fmt.Fprintln(w, strings.Join(cells, "\t")+"\t") //nolint:errcheck // a strings.Builder takes everything
	}
	row("round", "alone: p50", "p99", "max", "lost", "with bad: p50", "p99", "max", "lost", "p99 ratio", "burst fanned out in", "still waiting",
		"records unwritten")
	ratios := make([]float64, 0, len(i.rounds))
	for n, r := range i.rounds {
		ratio := float64(r.with.p99) / float64(max(r.without.p99, 1))
		ratios = append(ratios, ratio)
		row(strconv.Itoa(n+1), display(r.without.p50), display(r.without.p99), display(r.without.max), strconv.Itoa(r.without.lost),
			display(r.with.p50), display(r.with.p99), display(r.with.max), strconv.Itoa(r.with.lost), fmt.Sprintf("%.2f", ratio),
			display(r.fannedOut), grouped(int64(r.waiting)), grouped(int64(r.unwritten))) //nolint:gosec // G115: counts
	}
	w.Flush() //nolint:errcheck // as above
	fmt.Fprintf(b, "\nMedian of the ratios %.2f (%.2f–%.2f); asked for: at most 2, none lost, none later than 10 s.\n",
		median(ratios), slices.Min(ratios), slices.Max(ratios))
}
