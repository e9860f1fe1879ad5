package bench

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestReportOfIsolation(t *testing.T) {
	t.Parallel()
	found := &isolation{config: testConfig().Isolation, rate: 4500, rounds: []isolated{
		{without: latencies{p99: 10 * time.Millisecond}, with: latencies{p99: 15 * time.Millisecond, max: 2 * time.Second, lost: 7}, waiting: 90_000},
		{without: latencies{p99: 10 * time.Millisecond}, with: latencies{p99: 20 * time.Millisecond}},
		{without: latencies{p99: 10 * time.Millisecond}, with: latencies{p99: 30 * time.Millisecond}},
	}}
	text := written(t, found)
	require.Contains(t, text, "4,500 deliveries/s offered for 10s (6,000 asked for)")
	require.Contains(t, text, "1 0.0 ms 10 ms 0.0 ms 0 0.0 ms 15 ms 2.00 s 7 1.50 0.0 ms 90,000")
	require.Contains(t, text, "Median of the ratios 2.00 (1.50–3.00)")
}

func TestReportOfPages(t *testing.T) {
	t.Parallel()
	busy := `webhook = "` + webhookOf(0) + `"`
	text := written(t, &pages{rows: 10_000_000, all: []listed{
		{list: list{of: "events", organization: smallOrganization}, rows: 50, median: 2 * time.Millisecond, worst: 9 * time.Millisecond},
		{list: list{of: "attempts", organization: largeOrganization, filter: busy}, median: 51 * time.Millisecond, worst: time.Second},
	}})
	require.Contains(t, text, "events (no filter) small organization 50 rows 2.0 ms 9.0 ms")
	require.Contains(t, text, `attempts webhook = "busy" 0 rows 51 ms 1.00 s SLOW`)
	require.Contains(t, text, "2 lists; the slowest has a median of 51 ms, and 1 have 50 ms or more")
}

func TestReportOfLargeFanOuts(t *testing.T) {
	t.Parallel()
	text := written(t, &largeFanOuts{webhooks: 10_000, kinds: []*largeFanOut{{
		large: largeKinds()[0], took: []time.Duration{time.Second, 2 * time.Second, 9 * time.Second}, above: []int64{1 << 20, 3 << 20, 60 << 20},
		without: []time.Duration{time.Millisecond}, with: []time.Duration{2 * time.Millisecond, 3 * time.Millisecond, 4 * time.Millisecond},
	}}})
	require.Contains(t, text, "to 10,000 webhooks")
	require.Contains(t, text, "1 event of 1 KiB 2.00 s 3 MiB 60 MiB 1.0 ms 3.0 ms 4.0 ms")
}

func TestReportOfMatching(t *testing.T) {
	t.Parallel()
	lines := benchmarkLines("goos: linux\n" +
		"BenchmarkMatchAmongHundredWebhooks-2 100 3000 ns/op 16 B/op\nBenchmarkMatchAmongHundredWebhooks-2 100 4000 ns/op 16 B/op\n" +
		"BenchmarkMatchAmongHundredWebhooks-2 100 9000 ns/op 16 B/op\n" +
		"BenchmarkMatch/without_filters-2 100 2000 ns/op\nBenchmarkMatch/with_filters-2 100 72000 ns/op\n" +
		"BenchmarkMatch/with_text_filters-2 100 152000 ns/op\nPASS\n")
	require.NotContains(t, lines, "PASS")
	text := written(t, &matched{lines: lines, text: "what benchstat says"})
	require.Contains(t, text, "what benchstat says")
	require.Contains(t, text, "an event 4.0 µs where the webhooks ask for teams and event types; a filter of a number 0.70 µs, of texts 1.50 µs.")
	require.Zero(t, medianOfBenchmark(lines, "BenchmarkOther"))
}

// written returns what a part prints, with single spaces.
func written(t *testing.T, part section) string {
	t.Helper()
	var b strings.Builder
	require.NoError(t, writeReport(&b, machine{cores: 2}, []section{part}, time.Minute))
	return strings.Join(strings.Fields(b.String()), " ")
}

func TestBadEndpoints(t *testing.T) {
	t.Parallel()
	bad, err := openBadEndpoints(t.Context(), 2, 2)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, bad.close()) })
	var dialer net.Dialer
	for _, address := range bad.refused() {
		_, err := dialer.DialContext(t.Context(), "tcp", address)
		require.Error(t, err)
	}
	for _, address := range bad.hung() {
		conn, err := dialer.DialContext(t.Context(), "tcp", address)
		require.NoError(t, err)
		_, err = io.WriteString(conn, "POST / HTTP/1.1\r\nHost: x\r\n\r\n")
		require.NoError(t, err)
		require.NoError(t, conn.SetReadDeadline(time.Now().Add(100*time.Millisecond)))
		_, err = conn.Read(make([]byte, 1))
		var timeout net.Error
		require.ErrorAs(t, err, &timeout)
		require.True(t, timeout.Timeout(), "%v", err)
		require.NoError(t, conn.Close())
	}
}

func TestSlowEndpointAnswers(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(receiveSlowly))
	t.Cleanup(server.Close)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, strings.NewReader("{}"))
	require.NoError(t, err)
	began := time.Now()
	response, err := server.Client().Do(request)
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	require.Equal(t, http.StatusOK, response.StatusCode)
	require.GreaterOrEqual(t, time.Since(began), slowAnswer)
}

func TestEventOfAnEventType(t *testing.T) {
	t.Parallel()
	e := newTemplate(minPayload)
	msg, id := e.messageOf(mark{phase: 1, number: 2, published: time.Unix(3, 0)}, "demo")
	require.Contains(t, string(msg.Data), `"mweventtype":"demo"`)
	_, other := e.message(mark{phase: 1, number: 2, published: time.Unix(3, 0)})
	require.NotEqual(t, other, id, "events of one number and different types are different events")
}
