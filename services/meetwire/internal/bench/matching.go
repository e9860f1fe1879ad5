package bench

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// matched is what the benchmarks of matching say, summed up by benchstat where that is installed.
type matched struct {
	text  string
	lines string // as `go test` prints them
}

// matching runs the benchmarks of ingest's matching, which need the source.
func (e *environment) matching(ctx context.Context) (section, error) {
	const module = "github.com/meetwire/meetwire/services/ingest"
	e.progress("matching: %d rounds", e.config.MatchingRounds)
	//nolint:gosec // G204: nothing from outside
	output, err := exec.CommandContext(ctx, "go", "test", "-run", "^$", "-bench", "Match", "-benchmem",
		"-benchtime", "0.3s", "-count", strconv.Itoa(e.config.MatchingRounds), module+"/internal/core", module+"/internal/schema").CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("matching (in a checkout of Meetwire): %w: %s", err, bytes.TrimSpace(output))
	}
	found := &matched{lines: benchmarkLines(string(output))}
	found.text = found.lines
	file := filepath.Join(e.folder, "matching.txt")
	if err := os.WriteFile(file, output, 0o600); err != nil {
		return nil, fmt.Errorf("matching: %w", err)
	}
	program, err := exec.LookPath("benchstat")
	if err != nil {
		return found, nil //nolint:nilerr // it is installed by `make tools`; without it, there are the lines themselves
	}
	summary, err := exec.CommandContext(ctx, program, file).CombinedOutput() //nolint:gosec // G204: the pinned tool
	if err != nil {
		return found, fmt.Errorf("matching: benchstat: %w: %s", err, bytes.TrimSpace(summary))
	}
	found.text = string(summary)
	return found, nil
}

// Benchmarks of matching, all of an event for an organization of 100 webhooks.
const (
	benchmarkUnlike  = "BenchmarkMatchAmongHundredWebhooks" // that ask for teams and event types
	benchmarkPlain   = "BenchmarkMatch/without_filters"
	benchmarkNumbers = "BenchmarkMatch/with_filters"
	benchmarkTexts   = "BenchmarkMatch/with_text_filters"
	benchmarkFilters = 100
)

// medianOfBenchmark returns the median of how long a benchmark took, in nanoseconds; 0: it was not run.
func medianOfBenchmark(lines, name string) float64 {
	var all []float64
	for line := range strings.Lines(lines) {
		fields := strings.Fields(line)
		if len(fields) < 4 || fields[3] != "ns/op" {
			continue
		}
		if title := fields[0]; title != name && !strings.HasPrefix(title, name+"-") { // -2 and the like: of the processors
			continue
		}
		if took, err := strconv.ParseFloat(fields[2], 64); err == nil {
			all = append(all, took)
		}
	}
	return median(all)
}

// benchmarkLines keeps the lines that say how long something took.
func benchmarkLines(output string) string {
	var kept strings.Builder
	for line := range strings.Lines(output) {
		if strings.HasPrefix(line, "Benchmark") {
			kept.WriteString(line)
		}
	}
	return kept.String()
}

func (m *matched) write(b *strings.Builder) {
	fmt.Fprintf(b, `
Matching, an organization of 100 webhooks: asked for are at most 5 µs an event without filters, at most 2 µs more a filter,
and no allocation for webhooks that do not match.

%s`, m.text)
	micros := func(name string) float64 { return medianOfBenchmark(m.lines, name) / 1000 }
	fmt.Fprintf(b, "\nMedians: an event %.1f µs where the webhooks ask for teams and event types; a filter of a number %.2f µs, of texts %.2f µs.\n",
		micros(benchmarkUnlike), (micros(benchmarkNumbers)-micros(benchmarkPlain))/benchmarkFilters,
		(micros(benchmarkTexts)-micros(benchmarkPlain))/benchmarkFilters)
}
