package pgtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/localpg"
)

// maxConnections is the number of clients that a server takes: many tests at once, each with its pools.
const maxConnections = 200

// folderPrefix begins the names of the folders of servers; the process id follows.
const folderPrefix = "meetwire-pgtest-"

// Server starts a server for this test alone, which the test may stop, kill and start again. It is stopped and
// removed when the test ends. It is never the server of MEETWIRE_TEST_DATABASE_URL.
func Server(tb testing.TB) *localpg.Server {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), setupTimeout)
	defer cancel()
	s, err := startServer(ctx)
	require.NoError(tb, err, "start a Postgres server for the test")
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
		defer cancel()
		require.NoError(tb, stopServer(ctx, s), "stop the test's Postgres server")
	})
	return s
}

// Restart starts a server again that Server returned and that was stopped, or died: on the same port with the
// same data. It stops it before, if it runs.
func Restart(tb testing.TB, s *localpg.Server) *localpg.Server {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), setupTimeout)
	defer cancel()
	require.NoError(tb, s.Stop(ctx), "stop the test's Postgres server")
	again, err := localpg.Start(ctx, s.Options())
	require.NoError(tb, err, "start the test's Postgres server again")
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
		defer cancel()
		require.NoError(tb, again.Stop(ctx), "stop the test's Postgres server")
	})
	return again
}

// startServer starts a server in a new folder.
func startServer(ctx context.Context) (_ *localpg.Server, err error) {
	if err := removeAbandoned(os.TempDir()); err != nil {
		return nil, err
	}
	// Not the test's own folder: for root's tests the server runs as another user, who cannot get into that.
	dir, err := os.MkdirTemp("", folderPrefix+strconv.Itoa(os.Getpid())+"-")
	if err != nil {
		return nil, fmt.Errorf("make a folder for a server: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(dir))
		}
	}()
	if err := os.Chmod(dir, 0o755); err != nil { // the server's own folder in it is closed
		return nil, fmt.Errorf("make a folder for a server: %w", err)
	}
	s, err := localpg.Start(ctx, localpg.Options{Dir: filepath.Join(dir, "server"), MaxConnections: maxConnections})
	if err != nil {
		return nil, fmt.Errorf("start a server for tests (or set %s to use one that runs): %w", EnvURL, err)
	}
	return s, nil
}

// stopServer stops a server and removes its folder.
func stopServer(ctx context.Context, s *localpg.Server) error {
	return errors.Join(s.Stop(ctx), os.RemoveAll(filepath.Dir(s.Options().Dir)))
}

// removeAbandoned removes the folders of test binaries that were killed.
func removeAbandoned(temp string) error {
	dirs, err := filepath.Glob(filepath.Join(temp, folderPrefix+"*"))
	if err != nil {
		return fmt.Errorf("look for abandoned folders: %w", err)
	}
	for _, dir := range dirs {
		owner, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(dir), folderPrefix), "-")
		pid, err := strconv.Atoi(owner)
		if err != nil || !errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			continue // not ours, or its process runs
		}
		// Another user's, or one whose server is just ending, stays until a later run.
		_ = os.RemoveAll(dir)
	}
	return nil
}
