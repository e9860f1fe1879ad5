package bench

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/meetwire/meetwire/pkg/configfeed"
	"github.com/meetwire/meetwire/pkg/pg"
	"github.com/meetwire/meetwire/pkg/rpc"
	"github.com/meetwire/meetwire/pkg/secret"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
)

// loads is what it costs to load a large configuration at the start of a service.
type loads struct {
	webhooks int
	query    []time.Duration // a plain SELECT of the webhooks' rows, by round
	watch    []time.Duration // WatchConfig until everything is there, in the same round
	few      map[string]int64
	many     map[string]int64 // peak memory of the services that watch, with one webhook and with all
}

// watchers are the services that keep a copy of the configuration.
func watchers() []string { return []string{"ingest", "delivery"} }

// loads measures with as many webhooks as the configuration says.
func (e *environment) loads(ctx context.Context) (section, error) {
	if e.config.Webhooks == 0 {
		return nil, nil //nolint:nilnil // nothing was asked for
	}
	found, err := e.load(ctx)
	if err != nil {
		return nil, err
	}
	return found, nil
}

func (e *environment) load(ctx context.Context) (result *loads, err error) {
	ctx, broker := newFleet(ctx)
	defer func() { err = errors.Join(err, broker.stop(ctx)) }()
	api := &restClient{http: &http.Client{Timeout: 5 * time.Second}}
	t, env, address, err := prepare(ctx, e, api, filepath.Join(e.folder, "load"), broker)
	defer func() { err = errors.Join(err, t.stop(ctx)) }()
	if err != nil {
		return nil, because(ctx, err)
	}
	result = &loads{webhooks: e.config.Webhooks}
	result.few, err = e.withServices(ctx, env, api, func(ctx context.Context) error { return api.configure(ctx, e, 1, 1) })
	if err != nil {
		return nil, err
	}
	e.progress("making %s webhooks of one", grouped(int64(e.config.Webhooks)))
	if err := multiply(ctx, address, e.config.Webhooks-1); err != nil {
		return nil, err
	}
	result.many, err = e.withServices(ctx, env, api, func(ctx context.Context) error {
		return e.loadInTurn(ctx, address, env["ingest"], result)
	})
	return result, err
}

// withServices runs all services for as long as do takes, and returns the peak memory of those that watch.
func (e *environment) withServices(ctx context.Context, env map[string][]string, api *restClient, do func(context.Context) error) (peaks map[string]int64, err error) {
	ctx, f := newFleet(ctx)
	defer func() { err = errors.Join(err, f.stop(ctx)) }()
	started, err := e.startServices(ctx, env, api, f)
	if err != nil {
		return nil, because(ctx, err)
	}
	if err := do(ctx); err != nil {
		return nil, because(ctx, err)
	}
	peaks = make(map[string]int64)
	for _, p := range started {
		if !slices.Contains(watchers(), p.name) || !proc(procRoot).available() {
			continue
		}
		if peaks[p.name], err = proc(procRoot).peak(p.pid()); err != nil {
			return nil, err
		}
	}
	return peaks, nil
}

// multiply makes n more webhooks of the only one that there is.
func multiply(ctx context.Context, address secret.String, n int) error {
	pool, err := pg.Open(ctx, pg.Config{DatabaseURL: address, MaxConns: 1})
	if err != nil {
		return err
	}
	defer pool.Close()
	const statement = `
		INSERT INTO subscription.webhook
		SELECT (jsonb_populate_record(w, jsonb_build_object(
			'id', gen_random_uuid(), 'target_url', w.target_url || '/' || n::text))).*
		FROM subscription.webhook AS w, generate_series(1, $1) AS n`
	if _, err := pool.Exec(ctx, statement, n); err != nil {
		return fmt.Errorf("make more webhooks: %w", err)
	}
	return nil
}

// loadInTurn measures the query and the feed, one after the other, once per round.
func (e *environment) loadInTurn(ctx context.Context, address secret.String, env []string, into *loads) error {
	for n := 1; n <= e.config.Rounds; n++ {
		query, err := e.selectWebhooks(ctx, address)
		if err != nil {
			return err
		}
		watch, err := e.watch(ctx, env)
		if err != nil {
			return err
		}
		into.query, into.watch = append(into.query, query), append(into.watch, watch)
		e.progress("round %d of %d: %s webhooks: SELECT %s, WatchConfig %s", n, e.config.Rounds,
			grouped(int64(into.webhooks)), display(query), display(watch))
	}
	return nil
}

// selectWebhooks reads all rows, without making anything of them, and returns how long that took.
func (e *environment) selectWebhooks(ctx context.Context, address secret.String) (time.Duration, error) {
	pool, err := pg.Open(ctx, pg.Config{DatabaseURL: address, MaxConns: 1})
	if err != nil {
		return 0, err
	}
	defer pool.Close()
	if err := pool.Ping(ctx); err != nil {
		return 0, fmt.Errorf("connect to Postgres: %w", err)
	}
	began := time.Now()
	rows, err := pool.Query(ctx, "SELECT * FROM subscription.webhook")
	if err != nil {
		return 0, fmt.Errorf("read the webhooks: %w", err)
	}
	defer rows.Close()
	read := 0
	for rows.Next() {
		read += len(rows.RawValues())
	}
	if err := rows.Err(); err != nil {
		return 0, fmt.Errorf("read the webhooks: %w", err)
	}
	if read == 0 {
		return 0, errors.New("read the webhooks: there are none")
	}
	return time.Since(began), nil
}

// watch starts a watcher as a process of its own and returns how long it took to load everything.
func (e *environment) watch(ctx context.Context, env []string) (took time.Duration, err error) {
	ctx, f := newFleet(ctx)
	defer func() { err = errors.Join(err, f.stop(ctx)) }()
	p, err := f.start(helperWatcher, e.self, []string{helperWatcher}, mapped(env))
	if err != nil {
		return 0, err
	}
	limited, cancel := context.WithTimeout(ctx, e.config.Patience)
	defer cancel()
	text, err := p.firstLine(limited)
	if err != nil {
		return 0, because(ctx, err)
	}
	nanoseconds, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read what the watcher says: %w", err)
	}
	return time.Duration(nanoseconds), nil
}

// Names under which a watcher gets what services get under their own: a helper's environment has none of Meetwire's.
const (
	watcherAddress = "BENCH_SUBSCRIPTION_ADDR"
	watcherToken   = "BENCH_SERVICE_TOKEN"
)

// mapped returns the two settings of a service that a watcher needs.
func mapped(env []string) []string {
	var kept []string
	for _, setting := range env {
		for from, to := range map[string]string{
			"MEETWIRE_SUBSCRIPTION_ADDR=": watcherAddress, "MEETWIRE_SERVICE_TOKEN=": watcherToken,
		} {
			if value, ok := strings.CutPrefix(setting, from); ok {
				kept = append(kept, to+"="+value)
			}
		}
	}
	return kept
}

// runWatcher follows the configuration feed and says, once, after how many nanoseconds it had everything.
func runWatcher(ctx context.Context, _ []string, ready func(string) error) error {
	conn, err := rpc.Dial(os.Getenv(watcherAddress), rpc.WithServiceToken(secret.New(os.Getenv(watcherToken))))
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // the process ends
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	watcher := configfeed.New(configv1.NewConfigServiceClient(conn), logger, time.Minute)
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	began := time.Now()
	go func() { done <- watcher.Run(ctx) }()
	err = watcher.WaitFor(ctx, 1)
	if err == nil {
		err = ready(strconv.FormatInt(int64(time.Since(began)), 10))
	}
	if err == nil {
		<-ctx.Done()
	}
	cancel()
	return errors.Join(err, <-done)
}

// write prints the table.
func (l *loads) write(b *strings.Builder) {
	shares := make([]float64, len(l.query))
	for i := range l.query {
		shares[i] = float64(l.watch[i]) / float64(l.query[i])
	}
	fmt.Fprintf(b, `
Loading %s webhooks without filters, medians of %d rounds in turn: a plain SELECT of their rows %s, WatchConfig until a
watcher has everything %s, which is %.1f times as long (%.1f–%.1f).
`, grouped(int64(l.webhooks)), len(l.query), display(medianTime(l.query)), display(medianTime(l.watch)),
		median(shares), slices.Min(shares), slices.Max(shares))
	for _, service := range watchers() {
		few, many := l.few[service], l.many[service]
		if few == 0 || many == 0 {
			continue
		}
		fmt.Fprintf(b, "Peak memory of %s: %s with one webhook, %s with all of them.\n", service, mebibytes(few), mebibytes(many))
	}
}

func medianTime(values []time.Duration) time.Duration {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}
