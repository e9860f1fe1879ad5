package main_test

import (
	"bytes"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// patience is how long a test waits for something that takes far less.
const patience = 3 * time.Minute

const module = "github.com/meetwire/meetwire/services/"

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestCommand runs the program as people do. Its parts share the programs, which are built once.
func TestCommand(t *testing.T) {
	t.Parallel()
	programs := build(t)
	scenarios := map[string]func(*testing.T, string){"measures": testMeasures, "measures the other parts": testOtherParts, "refuses wrong flags": testWrongFlags}
	maps.Copy(scenarios, processScenarios())
	for name, scenario := range scenarios {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			scenario(t, programs)
		})
	}
}

// build builds the bench and the services, and returns their folder.
func build(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	output, err := exec.Command("go", "build", "-o", folder+"/",
		module+"meetwire/cmd/bench", module+"subscription/cmd/subscription", module+"ingest/cmd/ingest",
		module+"delivery/cmd/delivery", module+"gateway/cmd/gateway").CombinedOutput()
	require.NoError(t, err, string(output))
	return folder
}

// bench is a running bench.
type bench struct {
	cmd            *exec.Cmd
	folder         string // where it works
	stdout, stderr *lockedBuffer
	done           chan struct{}
}

// start starts a small bench.
func start(t *testing.T, programs string, args ...string) *bench {
	t.Helper()
	folder, err := os.MkdirTemp("", "meetwire-bench-test-")
	require.NoError(t, err)
	require.NoError(t, os.Chmod(folder, 0o711)) // Postgres may run as another user
	b := &bench{folder: folder, stdout: &lockedBuffer{}, stderr: &lockedBuffer{}, done: make(chan struct{})}
	b.cmd = exec.Command(filepath.Join(programs, "bench"), append([]string{
		"--dir", folder, "--bin-dir", programs, "--rounds", "1", "--deliveries", "300", "--latency-time", "200ms", "--fan-out", "3",
		"--isolation-rounds", "1", "--isolation-rate", "400", "--isolation-time", "1s", "--isolation-burst", "300",
		"--large-fan-out", "20", "--rows", "3000",
	}, args...)...)
	// By this its processes are known, which inherit it.
	b.cmd.Env = append(os.Environ(), "BENCH_TEST="+folder)
	b.cmd.Stdout, b.cmd.Stderr = b.stdout, b.stderr
	require.NoError(t, b.cmd.Start())
	go func() {
		defer close(b.done)
		_ = b.cmd.Wait()
	}()
	t.Cleanup(func() {
		_ = b.cmd.Process.Kill()
		<-b.done
		require.NoError(t, os.RemoveAll(folder))
		if t.Failed() {
			t.Logf("%s\n%s", b.stderr, b.stdout)
		}
	})
	return b
}

// wait waits until the bench has ended and returns its exit code.
func (b *bench) wait(t *testing.T) int {
	t.Helper()
	select {
	case <-b.done:
	case <-time.After(patience):
		require.Fail(t, "the bench did not end")
	}
	return b.cmd.ProcessState.ExitCode()
}

func testMeasures(t *testing.T, programs string) {
	b := start(t, programs, "--only", "lines,load")
	require.Zero(t, b.wait(t))
	text := b.stdout.String()
	for _, wanted := range []string{
		"medians of 1 rounds", "a  bare loop", "b  Meetwire, 1 webhook", "c  Meetwire, 3 webhooks",
		"deliveries/s", "p50", "p99", "peak memory", "cores", "nats-server", "Postgres", "share by service",
		"40 events at 200 per second", "events for 300 deliveries",
	} {
		require.Contains(t, text, wanted)
	}
	require.NotContains(t, text, "?")
	left, err := os.ReadDir(b.folder)
	require.NoError(t, err)
	require.Empty(t, left)
}

func testOtherParts(t *testing.T, programs string) {
	b := start(t, programs, "--only", "isolation,fan-out,pages")
	require.Zero(t, b.wait(t))
	text := b.stdout.String()
	for _, wanted := range []string{
		"Isolation: 1,000 webhooks", "Median of the ratios", "Large fan-outs, to 20 webhooks", "1 event of 256 KiB",
		"Pages: 3,000 events", "small organization", "119 lists",
	} {
		require.Contains(t, text, wanted)
	}
	require.NotContains(t, text, "bare loop")
	left, err := os.ReadDir(b.folder)
	require.NoError(t, err)
	require.Empty(t, left)
}

func testWrongFlags(t *testing.T, programs string) {
	b := start(t, programs, "--rounds", "0", "--fan-out", "1")
	require.Equal(t, 2, b.wait(t))
	require.Contains(t, b.stderr.String(), "--rounds")
	require.Contains(t, b.stderr.String(), "--fan-out")
}

// lockedBuffer may be read while a process writes to it.
type lockedBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}
