// Package bench owns `make bench`: it measures, in turn and several times, a bare loop that does nothing but
// publish, consume, sign, POST and acknowledge, and Meetwire doing its whole work, and prints both side by side.
// Everything that takes part is a process of its own on loopback, so that each one's share can be told apart, and
// is ended and removed at the end. It uses Meetwire as anybody would, through REST and NATS, and must not reach
// into its services.
package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/webhook"
)

// Config is the command line.
type Config struct {
	Rounds      int           `help:"How many times every line is measured, in turn. The table shows medians." default:"5"`
	Deliveries  int           `help:"Deliveries of one throughput run." default:"40000"`
	FanOut      int           `help:"Webhooks that the events of line c go to, 2 to 100." default:"10"`
	Concurrency int           `help:"Requests at once to the receiver in every line, 1 to 256: those of the bare loop, of line b's webhook, and of all webhooks of line c together." default:"80"`
	Payload     int           `help:"Size of an event's data, in bytes." default:"1024"`
	Rate        int           `help:"Events per second of a latency run." default:"200"`
	LatencyTime time.Duration `help:"How long events are published in a latency run." default:"3s"`
	Patience    time.Duration `help:"How long anything may take before the bench gives up." default:"60s"`
	Webhooks    int           `help:"Webhooks of the configuration that a service loads at its start; 0: leave that measurement out." default:"100000"`
	Only        []string      `help:"Which parts are measured: ${enum}. Default: all." enum:"lines,load,isolation,pages,fan-out,matching"`

	Isolation IsolationConfig `embed:"" prefix:"isolation-"`

	Rows           int `help:"Events and attempts whose lists are measured." default:"10000000"`
	LargeFanOut    int `help:"Webhooks that one event of the part fan-out goes to." default:"10000"`
	MatchingRounds int `help:"How many times the benchmarks of matching are run." default:"6"`

	Dir    string `help:"Folder for the streams and the database, on the disk that is to be measured. Default: the system's folder for temporary files." type:"path"`
	BinDir string `help:"Use the services' programs in this folder instead of building them." type:"existingdir"`
}

// Limits of the configuration.
const (
	maxFanOut      = 100
	maxConcurrency = 256 // as one webhook of Meetwire has at most
	maxRate        = 20_000
	maxDeliveries  = 5_000_000
	maxPayload     = bus.MaxEventBytes - 1<<10 // what is around the data needs some
	maxWebhooks    = 1_000_000
	maxRows        = 100_000_000
	maxLarge       = 100_000
)

// Validate reports everything that is wrong.
func (c *Config) Validate() error {
	var all []error
	for _, one := range []struct {
		flag               string
		value, least, most int
	}{
		{"rounds", c.Rounds, 1, 99},
		{"deliveries", c.Deliveries, 100, maxDeliveries},
		{"fan-out", c.FanOut, 2, maxFanOut},
		{"concurrency", c.Concurrency, 1, maxConcurrency},
		{"payload", c.Payload, minPayload, maxPayload},
		{"rate", c.Rate, 1, maxRate},
		{"webhooks", c.Webhooks, 0, maxWebhooks},
		{"rows", c.Rows, minRows, maxRows},
		{"large-fan-out", c.LargeFanOut, 2, maxLarge},
		{"matching-rounds", c.MatchingRounds, 1, 99},
		{"isolation-rate", c.Isolation.Rate, 100, maxRate},
		{"isolation-burst", c.Isolation.Burst, 1, maxDeliveries},
		{"isolation-rounds", c.Isolation.Rounds, 1, 99},
	} {
		if one.value < one.least || one.value > one.most {
			all = append(all, fmt.Errorf("--%s must be from %d to %d", one.flag, one.least, one.most))
		}
	}
	if c.LatencyTime < 100*time.Millisecond || c.LatencyTime > time.Minute {
		all = append(all, errors.New("--latency-time must be from 100ms to 1m"))
	}
	if c.Isolation.Time < time.Second || c.Isolation.Time > 10*time.Minute {
		all = append(all, errors.New("--isolation-time must be from 1s to 10m"))
	}
	if c.Patience < time.Second {
		all = append(all, errors.New("--patience must be at least 1s"))
	}
	return errors.Join(all...)
}

// latencyEvents is how many events a latency run has.
func (c *Config) latencyEvents() int {
	return max(1, int(c.LatencyTime.Seconds()*float64(c.Rate)))
}

// line is one line of the table.
type line struct {
	key      string
	title    string
	webhooks int
	requests int // at once, to one webhook
	start    func(ctx context.Context, e *environment, l line, folder string, f *fleet) (*target, error)
}

func (c *Config) lines() []line {
	return []line{
		{key: "a", title: "bare loop", webhooks: 1, requests: c.Concurrency, start: startLoop},
		{key: "b", title: "Meetwire, 1 webhook", webhooks: 1, requests: c.Concurrency, start: startMeetwire},
		{
			key: "c", title: fmt.Sprintf("Meetwire, %d webhooks", c.FanOut), webhooks: c.FanOut,
			requests: max(1, c.Concurrency/c.FanOut), start: startMeetwire,
		},
	}
}

// environment is what all measurements share.
type environment struct {
	config   Config
	self     string // path of this program, which is also its helpers
	programs string // folder of the services' programs
	folder   string
	postgres *postgres
	receiver *receiverClient
	secret   string // what webhooks are signed with
	template *template
	stderr   io.Writer
}

// stopTime bounds the end of what was started.
const stopTime = 20 * time.Second

// Run measures and prints the table. Progress goes to stderr. When it cannot go on, or the context ends, it prints
// the rounds that are complete and returns an error.
func Run(ctx context.Context, config Config, stdout, stderr io.Writer) (err error) {
	began := time.Now()
	e := &environment{config: config, stderr: stderr, template: newTemplate(config.Payload)}
	machine := describeMachine(procRoot)
	if e.self, err = os.Executable(); err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	if e.secret, err = webhook.NewSecret(); err != nil {
		return err
	}
	if e.folder, err = makeFolder(config.Dir); err != nil {
		return err
	}
	defer func() {
		if removeErr := os.RemoveAll(e.folder); removeErr != nil {
			err = errors.Join(err, fmt.Errorf("clean up: %w", removeErr))
		}
	}()
	if e.programs, err = e.build(ctx); err != nil {
		return err
	}
	if e.postgres, err = startPostgres(ctx, filepath.Join(e.folder, "postgres")); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.postgres.stop(ctx)) }()
	machine.postgres = e.postgres.version

	ctx, shared := newFleet(ctx)
	defer func() { err = errors.Join(err, shared.stop(ctx)) }()
	if e.receiver, err = startReceiver(ctx, e, shared); err != nil {
		return because(ctx, err)
	}
	parts, err := e.parts(ctx)
	if len(parts) == 0 {
		return err
	}
	return errors.Join(err, writeReport(stdout, machine, parts, time.Since(began)))
}

// section is what a part has found, ready to be printed.
type section interface{ write(b *strings.Builder) }

// parts measures what was asked for. With an error it returns what was found before.
func (e *environment) parts(ctx context.Context) ([]section, error) {
	var all []section
	for _, p := range []struct {
		name    string
		measure func(context.Context) (section, error)
	}{
		{"lines", e.lines},
		{"load", e.loads},
		{"isolation", e.isolations},
		{"fan-out", e.largeFanOuts},
		{"pages", e.pages},
		{"matching", e.matching},
	} {
		if len(e.config.Only) > 0 && !slices.Contains(e.config.Only, p.name) {
			continue
		}
		found, err := p.measure(ctx)
		if found != nil {
			all = append(all, found)
		}
		if err != nil {
			return all, because(ctx, err)
		}
	}
	return all, nil
}

// lines measures the bare loop and Meetwire side by side.
func (e *environment) lines(ctx context.Context) (section, error) {
	rounds, err := e.rounds(ctx)
	if len(rounds) == 0 {
		return nil, err
	}
	return &comparison{config: &e.config, rounds: rounds}, err
}

// rounds measures every line once per round. With an error it returns the rounds before.
func (e *environment) rounds(ctx context.Context) ([]round, error) {
	lines := e.config.lines()
	all := make([]round, 0, e.config.Rounds)
	for n := 1; n <= e.config.Rounds; n++ {
		measured := make(round, 0, len(lines))
		for _, l := range lines {
			r, err := e.measure(ctx, l, fmt.Sprintf("%s%d", l.key, n))
			if err != nil {
				return all, fmt.Errorf("round %d, %s (%s): %w", n, l.key, l.title, err)
			}
			measured = append(measured, r)
			e.progress("round %d of %d: %s (%s): %.0f deliveries/s, p50 %s, p99 %s",
				n, e.config.Rounds, l.key, l.title, r.perSecond(), display(r.P50), display(r.P99))
		}
		all = append(all, measured)
	}
	return all, nil
}

// progress says something on the way. That it cannot be said changes nothing.
func (e *environment) progress(format string, args ...any) {
	_, _ = fmt.Fprintf(e.stderr, format+"\n", args...)
}

// makeFolder makes a folder that Postgres, which may run as another user, can pass through.
func makeFolder(in string) (string, error) {
	folder, err := os.MkdirTemp(in, "meetwire-bench-")
	if err != nil {
		return "", fmt.Errorf("make a folder: %w", err)
	}
	if err := os.Chmod(folder, 0o711); err != nil { //nolint:gosec // G302: see above; what is inside is not readable
		return "", errors.Join(fmt.Errorf("open a folder: %w", err), os.RemoveAll(folder))
	}
	return folder, nil
}

// cleanEnvironment is this process's environment without what would configure Meetwire: the command line alone
// says what is measured.
func cleanEnvironment(environ []string) []string {
	kept := make([]string, 0, len(environ))
	for _, variable := range environ {
		if !strings.HasPrefix(variable, "MEETWIRE_") {
			kept = append(kept, variable)
		}
	}
	return kept
}
