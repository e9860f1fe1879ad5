package main_test

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// processes returns the command lines of what the bench has started.
func (b *bench) processes(t *testing.T) []string {
	t.Helper()
	entries, err := os.ReadDir("/proc")
	require.NoError(t, err)
	var all []string
	for _, entry := range entries {
		// What ends while it is looked at is gone, and what belongs to another user is Postgres or not ours.
		folder := filepath.Join("/proc", entry.Name())
		cwd, _ := os.Readlink(filepath.Join(folder, "cwd"))
		line, _ := os.ReadFile(filepath.Join(folder, "cmdline"))
		environment, _ := os.ReadFile(filepath.Join(folder, "environ"))
		ours := strings.HasPrefix(cwd, b.folder) || bytes.Contains(environment, []byte("BENCH_TEST="+b.folder))
		if ours && entry.Name() != "self" && entry.Name() != "thread-self" && !bytes.Contains(line, []byte("--bin-dir")) {
			all = append(all, strings.ReplaceAll(string(line), "\x00", " "))
		}
	}
	return all
}

// awaitEverything waits until everything that takes part is running.
func (b *bench) awaitEverything(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool {
		running := b.processes(t)
		for _, wanted := range []string{"postgres", "bench receiver", "bench nats-server", "/subscription", "/ingest", "/delivery", "/gateway"} {
			if !slices.ContainsFunc(running, func(line string) bool { return strings.Contains(line, wanted) }) {
				return false
			}
		}
		return true
	}, patience, 5*time.Millisecond)
}

// processScenarios are those that look at the system's processes.
func processScenarios() map[string]func(*testing.T, string) {
	return map[string]func(*testing.T, string){
		"interrupted, leaves nothing": testInterrupted,
		"killed, leaves no processes": testKilled,
	}
}

func testInterrupted(t *testing.T, programs string) {
	b := start(t, programs, "--rounds", "99")
	b.awaitEverything(t)
	require.NoError(t, b.cmd.Process.Signal(os.Interrupt))
	require.Equal(t, 1, b.wait(t))
	require.Contains(t, b.stderr.String(), "interrupt")
	require.Empty(t, b.stdout.String())
	require.Empty(t, b.processes(t))
	left, err := os.ReadDir(b.folder)
	require.NoError(t, err)
	require.Empty(t, left)
}

func testKilled(t *testing.T, programs string) {
	b := start(t, programs, "--rounds", "99")
	b.awaitEverything(t)
	require.NoError(t, b.cmd.Process.Signal(syscall.SIGKILL))
	b.wait(t)
	require.Eventually(t, func() bool { return len(b.processes(t)) == 0 }, patience, 20*time.Millisecond)
}
