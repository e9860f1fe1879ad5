package e2e_test

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/natstest"
	"github.com/meetwire/meetwire/pkg/pgtest"
)

// TestUpStopsAndFindsItsDataAgain stops `meetwire up` and starts it again.
func TestUpStopsAndFindsItsDataAgain(t *testing.T) {
	t.Parallel()
	folder := dataFolder(t)
	first := up(t, folder, "--demo")
	p := first.processes["meetwire"]
	require.Eventually(t, func() bool { return strings.Contains(p.output.String(), "Ctrl-C stops it") }, patience, 20*time.Millisecond, p.output)
	output := p.output.String()
	require.Equal(t, 6, strings.Count(output, "verified"), output)
	require.NotContains(t, output, "WRONG")
	require.Equal(t, 2, strings.Count(output, "  500  "), output)
	began := time.Now()
	p.end(t, syscall.SIGINT)
	require.Less(t, time.Since(began), 10*time.Second)
	require.Equal(t, 0, p.cmd.ProcessState.ExitCode(), p.output)

	second := up(t, folder)
	status, body := second.call(t, second.key, "GET", "/v1/organizations/demo/deliveries?filter=state%3DSTATE_SUCCEEDED", "")
	require.Equal(t, 200, status, body)
	require.Equal(t, 4, strings.Count(body, "STATE_SUCCEEDED"), body)
	// The key of the first run is not one any more.
	status, body = second.call(t, first.key, "GET", "/v1/organizations/demo", "")
	require.Equal(t, 401, status, body)
}

// TestUpOnServersOfYours uses a NATS and a Postgres that are there already.
func TestUpOnServersOfYours(t *testing.T) {
	t.Parallel()
	folder := dataFolder(t)
	server, database := natstest.Start(t), pgtest.DatabaseURL(t, "e2e", nil)
	i := up(t, folder, "--nats-url", server.URL(), "--database-url", database.Reveal())
	require.Equal(t, server.URL(), i.natsURL)
	testVerifiedDelivery(t, i)
	entries, err := os.ReadDir(folder)
	require.NoError(t, err)
	for _, entry := range entries {
		require.NotContains(t, []string{"nats", "postgres"}, entry.Name())
	}

	// One data folder is for one process.
	second := &process{path: binary(t, "meetwire"), args: []string{"up", "--data-dir", folder, "--http-addr", "127.0.0.1:0"}}
	second.start(t)
	select {
	case <-second.done:
	case <-time.After(patience):
		second.end(t, syscall.SIGKILL)
	}
	require.Equal(t, 1, second.cmd.ProcessState.ExitCode())
	require.Contains(t, second.output.String(), "another meetwire up is using this data folder")
}
