package bench

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// writeReport prints what all parts have found.
func writeReport(w io.Writer, m machine, parts []section, took time.Duration) error {
	var b strings.Builder
	fmt.Fprintf(&b, "\nMeetwire measured in %s.\n%s.\n", took.Round(time.Second), m)
	for _, part := range parts {
		part.write(&b)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// comparison is Meetwire beside a bare loop.
type comparison struct {
	config *Config
	rounds []round
}

// write prints the tables and what they mean.
func (c *comparison) write(b *strings.Builder) {
	lines, rounds := c.config.lines(), c.rounds
	fmt.Fprintf(b, "\nMeetwire beside a bare loop of the same work: medians of %d rounds of a, b, c in turn.\n\n", len(rounds))
	table(b, mainHeader(), lines, func(i int) []string { return mainRow(rounds, i) })
	b.WriteString("\nThe rest of a throughput run: CPU of the others, what was left to do after the last arrival, oddities.\n\n")
	table(b, othersHeader(), lines, func(i int) []string { return othersRow(rounds, i) })
	if rounds[0][1].Services != nil {
		b.WriteString("\nMeetwire's share by service: CPU of a throughput run, peak memory.\n\n")
		table(b, append([]string{""}, services()...), lines[1:], func(i int) []string { return servicesRow(rounds, i+1) })
	}
	b.WriteString(explanation(c.config))
}

// table writes aligned columns: the line's key and title, then what row returns.
func table(b *strings.Builder, header []string, lines []line, row func(i int) []string) {
	w := tabwriter.NewWriter(b, 0, 0, 3, ' ', tabwriter.AlignRight)
	write := func(cells []string) {
		fmt.Fprintln(w, strings.Join(cells, "\t")+"\t") //nolint:errcheck // a strings.Builder takes everything
	}
	write(header)
	width := 0
	for _, l := range lines {
		width = max(width, len(l.title))
	}
	for i, l := range lines {
		// Padded, because the first column reads better aligned to the left.
		write(append([]string{fmt.Sprintf("%s  %-*s", l.key, width, l.title)}, row(i)...))
	}
	w.Flush() //nolint:errcheck // as above
}

func mainHeader() []string {
	return []string{"", "deliveries/s", "of a", "least–most", "p50", "p99", "CPU", "per delivery", "peak memory"}
}

func mainRow(rounds []round, i int) []string {
	shares := ratios(rounds, i)
	row := []string{
		grouped(int64(medianOf(rounds, i, result.perSecond))),
		fmt.Sprintf("%.2f", median(shares)),
		fmt.Sprintf("%.2f–%.2f", slices.Min(shares), slices.Max(shares)),
		display(medianOf(rounds, i, func(r result) time.Duration { return r.P50 })),
		display(medianOf(rounds, i, func(r result) time.Duration { return r.P99 })),
	}
	if rounds[0][i].Services == nil {
		return append(row, unknown, unknown, unknown)
	}
	return append(row,
		seconds(medianOf(rounds, i, func(r result) time.Duration { return r.total().cpu })),
		micros(medianOf(rounds, i, func(r result) time.Duration { return r.total().cpu / time.Duration(r.Deliveries) })),
		mebibytes(medianOf(rounds, i, func(r result) int64 { return r.total().peak })),
	)
}

func othersHeader() []string {
	return []string{"", "nats-server", "receiver", "publisher", "Postgres", "all, per del.", "left to do", "again", "timers", "repeated", "logged"}
}

func othersRow(rounds []round, i int) []string {
	var row []string
	for _, who := range []part{partNATS, partReceiver, partPublisher, partPostgres} {
		if rounds[0][i].CPU == nil {
			row = append(row, unknown)
			continue
		}
		row = append(row, seconds(medianOf(rounds, i, func(r result) time.Duration { return r.CPU[who] })))
	}
	if rounds[0][i].CPU == nil {
		row = append(row, unknown)
	} else {
		row = append(row, micros(medianOf(rounds, i, result.everybody)))
	}
	return append(row,
		display(medianOf(rounds, i, func(r result) time.Duration { return r.Settled })),
		count(rounds, i, func(r result) int { return r.Again }),
		count(rounds, i, func(r result) int { return r.Timers }),
		count(rounds, i, func(r result) int { return r.Duplicates }),
		count(rounds, i, func(r result) int { return r.Messages }),
	)
}

func servicesRow(rounds []round, i int) []string {
	var row []string
	for _, service := range services() {
		row = append(row,
			seconds(medianOf(rounds, i, func(r result) time.Duration { return r.Services[service].cpu }))+", "+
				mebibytes(medianOf(rounds, i, func(r result) int64 { return r.Services[service].peak })))
	}
	return row
}

// explanation says what the lines and columns are.
func explanation(c *Config) string {
	lines := c.lines()
	return fmt.Sprintf(`
a  JetStream publish, consume, sign (Standard Webhooks, HMAC-SHA256), POST with net/http, ack, and nothing else: the
   limit of this machine. %d requests at once.
b  The same events through Meetwire's four services, each a process of its own: checked against the trigger's schema,
   matched, fanned out, delivered, every attempt recorded in Postgres. One webhook, %d requests at once.
c  As b, with %d webhooks for every event and %d requests at once to each. Its deliveries are counted, not its events.

Every line has a nats-server of its own, new and on disk (one replica, file storage), the same publisher, and the same
receiver, which answers 200 at once. An event's data has %s bytes. Everything runs on loopback.

deliveries/s   throughput run: events for %s deliveries published as fast as they are acknowledged (at most 4,096 on
               the way); from the first publish to the last arrival.
of a           deliveries/s divided by a's of the same round: the median, then the least and the most.
p50, p99       latency run, before that: %s events at %s per second; from just before the publish to the receipt.
CPU            user and system time of the bare loop, or of the four services together, in a throughput run until nothing
               was left to do: no message unacknowledged, no record unwritten.
peak memory    greatest resident memory of the same processes, added up; they are started anew for every line.
all, per del.  CPU time of everybody who takes part, divided by the deliveries: it hardly depends on what else the
               machine does, as deliveries/s does.
left to do     how long after the last arrival that was.
again, timers  how often deliveries were given back and given out again, because their webhook had no slot for them, and
               how many messages that or a retry put into RETRIES.
repeated       requests that came twice. logged: lines that the measured processes wrote to their logs, at level warn.
`, lines[0].requests, lines[1].requests, c.FanOut, lines[2].requests, grouped(int64(c.Payload)),
		grouped(int64(c.Deliveries)), grouped(int64(c.latencyEvents())), grouped(int64(c.Rate)))
}

// ratios returns a line's deliveries per second divided by those of the first line, by round.
func ratios(rounds []round, i int) []float64 {
	all := make([]float64, 0, len(rounds))
	for _, r := range rounds {
		all = append(all, r[i].perSecond()/r[0].perSecond())
	}
	return all
}

// medianOf returns the median of one figure of one line over all rounds.
func medianOf[N number](rounds []round, i int, figure func(result) N) N {
	all := make([]N, 0, len(rounds))
	for _, r := range rounds {
		all = append(all, figure(r[i]))
	}
	return median(all)
}

func count(rounds []round, i int, figure func(result) int) string {
	return grouped(int64(medianOf(rounds, i, figure)))
}

// unknown stands where the system does not tell.
const unknown = "?"

func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }

func micros(d time.Duration) string {
	return fmt.Sprintf("%.0f µs", float64(d)/float64(time.Microsecond))
}

func mebibytes(n int64) string { return fmt.Sprintf("%.0f MiB", float64(n)/(1<<20)) }

// grouped writes a number with commas.
func grouped(n int64) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// display writes a time in the unit that suits it.
func display(d time.Duration) string {
	switch {
	case d >= time.Second:
		return seconds(d)
	case d >= 10*time.Millisecond:
		return fmt.Sprintf("%.0f ms", float64(d)/float64(time.Millisecond))
	}
	return fmt.Sprintf("%.1f ms", float64(d)/float64(time.Millisecond))
}
