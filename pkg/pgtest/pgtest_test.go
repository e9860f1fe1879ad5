package pgtest_test

import (
	"context"
	"crypto/rand"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/pgtest"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

func createThings(ctx context.Context, pool *pgxpool.Pool) error {
	_, err := pool.Exec(ctx, "CREATE TABLE things (id int PRIMARY KEY)")
	return err
}

// newName makes the name of a template that no earlier run in this process has made.
func newName(prefix string) string { return prefix + strings.ToLower(rand.Text()[:8]) }

func count(t *testing.T, pool *pgxpool.Pool) int {
	t.Helper()
	var n int
	require.NoError(t, pool.QueryRow(t.Context(), "SELECT count(*) FROM things").Scan(&n))
	return n
}

func TestDatabasesAreClonesOfATemplateThatIsMigratedOnce(t *testing.T) { //nolint:tparallel // the inner tests must have ended before the outer one looks
	t.Parallel()
	var migrated atomic.Int32
	name := newName("clones_")
	migrate := func(ctx context.Context, pool *pgxpool.Pool) error {
		migrated.Add(1)
		return createThings(ctx, pool)
	}
	t.Run("group", func(t *testing.T) {
		for range 6 {
			t.Run("test", func(t *testing.T) {
				t.Parallel()
				a := pgtest.Database(t, name, migrate)
				b := pgtest.Database(t, name, migrate)
				_, err := a.Exec(t.Context(), "INSERT INTO things VALUES (1)")
				require.NoError(t, err)
				require.Equal(t, 1, count(t, a))
				require.Equal(t, 0, count(t, b), "databases must not share data")
			})
		}
	})
	require.EqualValues(t, 1, migrated.Load())
}

func TestDatabaseIsDroppedWhoeverUsesIt(t *testing.T) { //nolint:tparallel // the inner tests must have ended before the outer one looks
	t.Parallel()
	var conn *pgx.Conn
	var address string
	require.True(t, t.Run("inner", func(t *testing.T) {
		pool := pgtest.Database(t, "dropped", nil)
		address = pgtest.URL(pool).Reveal()
		var err error
		conn, err = pgx.Connect(t.Context(), address) // as a process would that outlives the test
		require.NoError(t, err)
	}))
	require.Error(t, conn.Ping(t.Context()), "the session must have been ended")
	require.NoError(t, conn.Close(t.Context()))
	_, err := pgx.Connect(t.Context(), address)
	var pgErr *pgconn.PgError
	require.ErrorAs(t, err, &pgErr)
	require.Equal(t, "3D000", pgErr.Code, "the database must not exist")
}

func TestURLLeadsToTheSameDatabase(t *testing.T) {
	t.Parallel()
	pool := pgtest.Database(t, "url", createThings)
	conn, err := pgx.Connect(t.Context(), pgtest.URL(pool).Reveal())
	require.NoError(t, err)
	_, err = conn.Exec(t.Context(), "INSERT INTO things VALUES (7)")
	require.NoError(t, err)
	require.NoError(t, conn.Close(t.Context()))
	require.Equal(t, 1, count(t, pool))
}

func TestDatabaseURLIsADatabaseOfItsOwn(t *testing.T) {
	t.Parallel()
	a, b := pgtest.DatabaseURL(t, "own", createThings), pgtest.DatabaseURL(t, "own", createThings)
	require.False(t, a.Equal(b))
	conn, err := pgx.Connect(t.Context(), a.Reveal())
	require.NoError(t, err)
	_, err = conn.Exec(t.Context(), "INSERT INTO things VALUES (1)")
	require.NoError(t, err)
	require.NoError(t, conn.Close(t.Context()))
}

// failing is a test that records failures instead of having them.
type failing struct {
	testing.TB
	failed atomic.Bool
}

func (f *failing) Errorf(string, ...any) { f.failed.Store(true) }

// FailNow panics, to leave the function under test as the real one does.
func (f *failing) FailNow() {
	f.failed.Store(true)
	panic(f)
}

func (f *failing) run(use func(tb testing.TB)) (failed bool) {
	defer func() {
		if r := recover(); r != nil && r != f {
			panic(r)
		}
		failed = f.failed.Load()
	}()
	use(f)
	return f.failed.Load()
}

func TestFailedMigrationFailsEveryTestOfItsName(t *testing.T) {
	t.Parallel()
	var calls int
	name := newName("broken_")
	migrate := func(context.Context, *pgxpool.Pool) error {
		calls++
		return errors.New("broken")
	}
	for range 2 {
		f := &failing{TB: t}
		require.True(t, f.run(func(tb testing.TB) { pgtest.Database(tb, name, migrate) }))
	}
	require.Equal(t, 1, calls)
}

func TestBadNameFails(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"", "With Space", `x"; DROP DATABASE postgres; --`, "a_name_that_is_longer_than_fits_into_one"} {
		f := &failing{TB: t}
		require.True(t, f.run(func(tb testing.TB) { pgtest.Database(tb, name, nil) }), name)
	}
}

func TestOwnServerCanBeStoppedKilledAndRestarted(t *testing.T) {
	t.Parallel()
	s := pgtest.Server(t)
	pool, err := pgxpool.New(t.Context(), s.URL().Reveal())
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	require.NoError(t, createThings(t.Context(), pool))

	require.NoError(t, s.Stop(t.Context()))
	require.Error(t, pool.Ping(t.Context()))

	s = pgtest.Restart(t, s)
	require.Eventually(t, func() bool { return pool.Ping(t.Context()) == nil }, 10*time.Second, 10*time.Millisecond)
	require.Equal(t, 0, count(t, pool), "the data must still be there")

	process, err := os.FindProcess(s.PID())
	require.NoError(t, err)
	require.NoError(t, process.Kill())
	<-s.Done()
	require.Error(t, s.Err())

	s = pgtest.Restart(t, s)
	require.Eventually(t, func() bool { return pool.Ping(t.Context()) == nil }, 10*time.Second, 10*time.Millisecond)
	require.Equal(t, 0, count(t, pool))

	_ = pgtest.Restart(t, s) // while it runs
	require.Eventually(t, func() bool { return pool.Ping(t.Context()) == nil }, 10*time.Second, 10*time.Millisecond)
}

func TestFoldersOfKilledRunsAreRemoved(t *testing.T) {
	t.Parallel()
	ended := exec.CommandContext(t.Context(), "true")
	require.NoError(t, ended.Run())
	abandoned := filepath.Join(os.TempDir(), "meetwire-pgtest-"+strconv.Itoa(ended.Process.Pid)+"-1")
	require.NoError(t, os.MkdirAll(filepath.Join(abandoned, "server", "data"), 0o700))
	live, err := os.MkdirTemp("", "meetwire-pgtest-"+strconv.Itoa(os.Getpid())+"-")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(live)) })

	pgtest.Server(t)
	require.NoDirExists(t, abandoned)
	require.DirExists(t, live)
}

// runAgain runs tests of this binary in another process, on a given server.
func runAgain(t *testing.T, tests, server string) (output string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "-test.run", tests)
	cmd.Env = append(os.Environ(), pgtest.EnvURL+"="+server)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

func TestServerOfTheEnvironmentIsUsedAndLeftClean(t *testing.T) {
	t.Parallel()
	s := pgtest.Server(t)
	conn, err := pgx.Connect(t.Context(), s.URL().Reveal())
	require.NoError(t, err)
	databases := func() (names []string) {
		rows, err := conn.Query(t.Context(), "SELECT datname FROM pg_database ORDER BY 1")
		require.NoError(t, err)
		names, err = pgx.CollectRows(rows, pgx.RowTo[string])
		require.NoError(t, err)
		return names
	}
	before := databases()
	out, err := runAgain(t, "TestURLLeadsToTheSameDatabase|TestDatabaseURLIsADatabaseOfItsOwn", s.URL().Reveal())
	require.NoError(t, err, out)
	require.Equal(t, before, databases(), "nothing may be left on a server that is not ours")

	require.NoError(t, conn.Close(t.Context()))
}

func TestMissingServerFailsTheRun(t *testing.T) {
	t.Parallel()
	for _, server := range []string{"postgres://u:hunter2@127.0.0.1:1/d", "host=127.0.0.1 password=hunter2"} {
		out, err := runAgain(t, "TestURLLeadsToTheSameDatabase", server)
		var exit *exec.ExitError
		require.ErrorAs(t, err, &exit, out)
		require.Contains(t, out, "--- FAIL: TestURLLeadsToTheSameDatabase")
		require.NotContains(t, out, "hunter2")
	}
}
