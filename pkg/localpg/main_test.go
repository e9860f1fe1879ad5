//go:build unix

package localpg

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// envHelper makes the test binary start a server in the folder that it names, print the server's port and
// process id, and wait to be killed.
const envHelper = "LOCALPG_TEST_FOLDER"

func TestMain(m *testing.M) {
	if dir := os.Getenv(envHelper); dir != "" {
		s, err := Start(context.Background(), Options{Dir: dir})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1) //nolint:forbidigo // it is the main of a test binary
		}
		fmt.Fprintln(os.Stdout, s.Port(), s.PID())
		select {}
	}
	os.Exit(run(m)) //nolint:forbidigo // it is the main of a test binary
}

// run gives the tests a temporary folder of their own, for what the download library leaves in it.
func run(m *testing.M) int {
	temp, err := os.MkdirTemp("", "localpg-test-")
	if err == nil {
		err = errors.Join(os.Chmod(temp, 0o755), os.Setenv("TMPDIR", temp))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	code := m.Run()
	if err := errors.Join(goleak.Find(), os.RemoveAll(temp)); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return max(code, 1)
	}
	return code
}

func newContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	return ctx
}

// newFolder returns the path of a folder that does not exist yet, in one that every user can get into; the
// test's own temporary folder is closed to the user that root's servers run as.
func newFolder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "localpg-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(dir)) })
	require.NoError(t, os.Chmod(dir, 0o755))
	dir, err = filepath.EvalSymlinks(dir)
	require.NoError(t, err)
	return filepath.Join(dir, "server")
}

func start(t *testing.T, options Options) *Server {
	t.Helper()
	s, err := Start(newContext(t), options)
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
		defer cancel()
		_ = s.Stop(ctx) // what the test did to it may make this fail; that nothing is left is checked next
		requireNoServer(t, s.folder.data())
	})
	return s
}

func requireNoServer(t *testing.T, data string) {
	t.Helper()
	pids, err := serversOf(context.WithoutCancel(t.Context()), data)
	require.NoError(t, err)
	require.Empty(t, pids, "no process of the server may be left")
}

func connect(t *testing.T, s *Server) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(newContext(t), s.URL().Reveal())
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close(context.WithoutCancel(t.Context())) }) // the server may be gone
	return conn
}

func execute(t *testing.T, s *Server, sql string) {
	t.Helper()
	_, err := connect(t, s).Exec(newContext(t), sql)
	require.NoError(t, err)
}

func query(t *testing.T, s *Server, sql string) (value string) {
	t.Helper()
	require.NoError(t, connect(t, s).QueryRow(newContext(t), sql).Scan(&value))
	return value
}
