package bench

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func testConfig() *Config {
	return &Config{
		Rounds: 3, Deliveries: 40_000, FanOut: 10, Concurrency: 80, Payload: 1024, Rate: 200,
		LatencyTime: 3 * time.Second, Patience: time.Minute, Rows: 10_000_000, LargeFanOut: 10_000, MatchingRounds: 6,
		Isolation: IsolationConfig{Rate: 6000, Time: 10 * time.Second, Burst: 100_000, Rounds: 3},
	}
}

// testRounds are three rounds in which the bare loop is 2, 4 and 8 times as fast as Meetwire.
func testRounds() []round {
	var rounds []round
	for i, factor := range []int{2, 4, 8} {
		meetwire := result{
			Deliveries: 40_000, Elapsed: time.Duration(factor) * time.Second, P50: 900 * time.Microsecond, P99: 25 * time.Millisecond,
			CPU: map[part]time.Duration{partNATS: time.Second, partPostgres: 250 * time.Millisecond},
			Services: map[string]usage{
				"ingest":   {cpu: time.Second, peak: 40 << 20},
				"delivery": {cpu: time.Duration(i+1) * time.Second, peak: 60 << 20},
			},
			Again: 1234,
		}
		loop := result{
			Deliveries: 40_000, Elapsed: time.Second, CPU: map[part]time.Duration{},
			Services: map[string]usage{"bare loop": {cpu: 2 * time.Second, peak: 30 << 20}},
		}
		rounds = append(rounds, round{loop, meetwire, meetwire})
	}
	return rounds
}

func testComparison(rounds []round) *comparison {
	return &comparison{config: testConfig(), rounds: rounds}
}

// row returns the cells of the n-th row that begins with a key.
func row(t *testing.T, text, key string, n int) []string {
	t.Helper()
	for line := range strings.Lines(text) {
		cells := strings.Split(strings.TrimSpace(line), "   ")
		if !strings.HasPrefix(cells[0], key+"  ") || len(cells) < 3 {
			continue
		}
		if n--; n == 0 {
			var kept []string
			for _, cell := range cells {
				if cell = strings.TrimSpace(cell); cell != "" {
					kept = append(kept, cell)
				}
			}
			return kept
		}
	}
	require.Fail(t, "no such row", "%s in %s", key, text)
	return nil
}

func TestReport(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	require.NoError(t, writeReport(&b, machine{cores: 2, cpu: "Abacus", load: "0.10", postgres: "17.5"}, []section{testComparison(testRounds())}, time.Minute))
	text := b.String()
	require.Contains(t, text, "medians of 3 rounds")
	require.Contains(t, text, "2 cores (Abacus)")
	require.Contains(t, text, "600 events at 200 per second")
	require.Contains(t, text, "events for 40,000 deliveries")
	require.Equal(t, []string{"a  bare loop", "40,000", "1.00", "1.00–1.00", "0.0 ms", "0.0 ms", "2.00 s", "50 µs", "30 MiB"}, row(t, text, "a", 1))
	require.Equal(t, []string{"b  Meetwire, 1 webhook", "10,000", "0.25", "0.12–0.50", "0.9 ms", "25 ms", "3.00 s", "75 µs", "100 MiB"}, row(t, text, "b", 1))
	require.Equal(t, []string{"b  Meetwire, 1 webhook", "1.00 s", "0.00 s", "0.00 s", "0.25 s", "106 µs", "0.0 ms", "1,234", "0", "0", "0"}, row(t, text, "b", 2))
	require.Equal(t, []string{"c  Meetwire, 10 webhooks", "0.00 s, 0 MiB", "1.00 s, 40 MiB", "2.00 s, 60 MiB", "0.00 s, 0 MiB"}, row(t, text, "c", 3))
}

func TestReportWithoutProc(t *testing.T) {
	t.Parallel()
	rounds := testRounds()
	for _, round := range rounds {
		for i := range round {
			round[i].CPU, round[i].Services = nil, nil
		}
	}
	var b strings.Builder
	require.NoError(t, writeReport(&b, machine{cores: 2}, []section{testComparison(rounds)}, time.Minute))
	require.Equal(t, []string{"?", "?", "?"}, row(t, b.String(), "b", 1)[6:])
	require.Equal(t, []string{"?", "?", "?", "?", "?"}, row(t, b.String(), "b", 2)[1:6])
	require.NotContains(t, b.String(), "share by service")
}

func TestReportOfLoads(t *testing.T) {
	t.Parallel()
	l := &loads{
		webhooks: 100_000,
		query:    []time.Duration{time.Second, 2 * time.Second, 3 * time.Second},
		watch:    []time.Duration{2 * time.Second, 3 * time.Second, 9 * time.Second},
		few:      map[string]int64{"ingest": 30 << 20},
		many:     map[string]int64{"ingest": 130 << 20},
	}
	var b strings.Builder
	require.NoError(t, writeReport(&b, machine{cores: 2}, []section{testComparison(testRounds()), l}, time.Minute))
	text := strings.Join(strings.Fields(b.String()), " ")
	require.Contains(t, text, "Loading 100,000 webhooks without filters, medians of 3 rounds in turn: a plain SELECT of their rows 2.00 s, "+
		"WatchConfig until a watcher has everything 3.00 s, which is 2.0 times as long (1.5–3.0).")
	require.Contains(t, text, "Peak memory of ingest: 30 MiB with one webhook, 130 MiB with all of them.")
	require.NotContains(t, text, "Peak memory of delivery", "the system does not tell")
}

func TestDisplay(t *testing.T) {
	t.Parallel()
	require.Equal(t, "0.4 ms", display(390*time.Microsecond))
	require.Equal(t, "9.9 ms", display(9900*time.Microsecond))
	require.Equal(t, "25 ms", display(25*time.Millisecond+100*time.Microsecond))
	require.Equal(t, "1.50 s", display(1500*time.Millisecond))
	for want, n := range map[string]int64{"0": 0, "999": 999, "1,000": 1000, "12,345,678": 12_345_678} {
		require.Equal(t, want, grouped(n))
	}
}

func TestCPUModel(t *testing.T) {
	t.Parallel()
	require.Equal(t, "Abacus 3000", cpuModel("processor\t: 0\nmodel\t\t: 207\nmodel name\t: Abacus 3000\n"))
	require.Empty(t, cpuModel("processor: 0\n"))
}

func TestConfig(t *testing.T) {
	t.Parallel()
	require.NoError(t, testConfig().Validate())
	for flag, spoil := range map[string]func(*Config){
		"--rounds":       func(c *Config) { c.Rounds = 0 },
		"--deliveries":   func(c *Config) { c.Deliveries = 99 },
		"--fan-out":      func(c *Config) { c.FanOut = 1 },
		"--concurrency":  func(c *Config) { c.Concurrency = 257 },
		"--payload":      func(c *Config) { c.Payload = minPayload - 1 },
		"--rate":         func(c *Config) { c.Rate = 0 },
		"--latency-time": func(c *Config) { c.LatencyTime = 0 },
		"--patience":     func(c *Config) { c.Patience = 0 },
		"--rows":         func(c *Config) { c.Rows = minRows - 1 },

		"--large-fan-out":    func(c *Config) { c.LargeFanOut = 1 },
		"--matching-rounds":  func(c *Config) { c.MatchingRounds = 0 },
		"--isolation-rate":   func(c *Config) { c.Isolation.Rate = maxRate + 1 },
		"--isolation-burst":  func(c *Config) { c.Isolation.Burst = 0 },
		"--isolation-rounds": func(c *Config) { c.Isolation.Rounds = 0 },
		"--isolation-time":   func(c *Config) { c.Isolation.Time = 0 },
	} {
		c := testConfig()
		spoil(c)
		require.ErrorContains(t, c.Validate(), flag)
	}
	require.Equal(t, 600, testConfig().latencyEvents())
	lines := testConfig().lines()
	require.Len(t, lines, 3)
	require.Equal(t, 80, lines[2].requests*lines[2].webhooks)
}
