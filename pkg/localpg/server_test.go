//go:build unix

package localpg

import (
	"context"
	"errors"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/secret"
)

func TestServerKeepsItsDataAndPassword(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(newFolder(t), "with", "parents") // all of them are made
	s := start(t, Options{Dir: dir})
	execute(t, s, "CREATE TABLE things AS SELECT 'kept' AS name")
	require.NoError(t, s.Stop(newContext(t)))
	require.NoError(t, s.Stop(newContext(t)), "a second stop has nothing to do")
	require.NoError(t, s.Err())
	<-s.Done()
	requireNoServer(t, s.folder.data())
	_, err := os.Stat(filepath.Join(s.folder.data(), "postmaster.pid"))
	require.ErrorIs(t, err, os.ErrNotExist, "it must have stopped in order")

	again := start(t, s.Options())
	require.Equal(t, s.Port(), again.Port())
	require.True(t, s.URL().Equal(again.URL()))
	require.Equal(t, "kept", query(t, again, "SELECT name FROM things"))
}

func TestServerListensOnlyWhereItShould(t *testing.T) {
	t.Parallel()
	s := start(t, Options{Dir: newFolder(t), MaxConnections: 23})
	require.Equal(t, "127.0.0.1", query(t, s, "SHOW listen_addresses"))
	require.Empty(t, query(t, s, "SHOW unix_socket_directories"))
	require.Equal(t, "23", query(t, s, "SHOW max_connections"))
	require.Equal(t, "UTF8", query(t, s, "SHOW server_encoding"))
	require.Equal(t, "UTC", query(t, s, "SELECT reset_val FROM pg_settings WHERE name = 'TimeZone'"))
	require.NotEqual(t, os.Getpid(), s.PID())
}

func TestDurability(t *testing.T) {
	t.Parallel()
	for durable, fsync := range map[bool]string{true: "on", false: "off"} {
		t.Run(fsync, func(t *testing.T) {
			t.Parallel()
			s := start(t, Options{Dir: newFolder(t), Durable: durable})
			require.Equal(t, fsync, query(t, s, "SHOW fsync"))
			require.Equal(t, "100", query(t, s, "SHOW max_connections"))
		})
	}
}

func TestNobodyGetsInWithoutThePassword(t *testing.T) {
	t.Parallel()
	s := start(t, Options{Dir: newFolder(t)})
	for name, user := range map[string]*url.Userinfo{
		"wrong": url.UserPassword(superuser, "wrong"),
		"none":  url.User(superuser),
	} {
		u, err := url.Parse(s.URL().Reveal())
		require.NoError(t, err)
		u.User = user
		_, err = pgx.Connect(newContext(t), u.String())
		require.Error(t, err, name)
	}
	info, err := os.Stat(s.folder.password())
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	for _, dir := range []string{s.folder.root, s.folder.data()} {
		info, err := os.Stat(dir)
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o700), info.Mode().Perm(), dir)
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(text)
}

func TestSecondServerOfAFolderIsRefused(t *testing.T) {
	t.Parallel()
	s := start(t, Options{Dir: newFolder(t)})
	link := filepath.Join(filepath.Dir(s.Options().Dir), "link")
	require.NoError(t, os.Symlink(s.Options().Dir, link))
	for _, dir := range []string{s.Options().Dir, link} {
		_, err := Start(newContext(t), Options{Dir: dir})
		require.ErrorIs(t, err, ErrRunning)
		require.ErrorContains(t, err, "process "+strconv.Itoa(os.Getpid()), "the error must say whom to stop")
	}
	require.Equal(t, "1", query(t, s, "SELECT '1'"), "the first must not be harmed")
}

func TestTakenPortIsRefused(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	port := l.Addr().(*net.TCPAddr).Port
	dir := newFolder(t)
	_, err = Start(newContext(t), Options{Dir: dir, Port: port})
	require.ErrorIs(t, err, ErrPortTaken)
	require.ErrorContains(t, err, strconv.Itoa(port))
	require.NoError(t, l.Close())

	s := start(t, Options{Dir: dir, Port: port})
	require.Equal(t, port, s.Port())
}

// Somebody takes the port after it was looked at: what Postgres says must be told.
func TestServerThatCannotListenSaysWhy(t *testing.T) {
	t.Parallel()
	s := start(t, Options{Dir: newFolder(t)})
	require.NoError(t, s.Stop(newContext(t)))
	l, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(s.Port()))
	require.NoError(t, err)
	defer func() { require.NoError(t, l.Close()) }()

	f, err := openFolder(s.Options().Dir)
	require.NoError(t, err)
	defer func() { require.NoError(t, f.close()) }()
	account, err := serverAccount(f.data())
	require.NoError(t, err)
	p, err := find(newContext(t), 0)
	require.NoError(t, err)
	late := &Server{options: s.Options(), folder: f, password: secret.New("x"), log: &tail{}}
	err = late.run(newContext(t), account, p)
	require.ErrorContains(t, err, "the server ended while it started")
	require.ErrorContains(t, err, "Address already in use")
	requireNoServer(t, f.data())
}

func TestStartThatIsGivenUpLeavesNothing(t *testing.T) {
	t.Parallel()
	dir := newFolder(t)
	for _, patience := range []time.Duration{0, 50 * time.Millisecond, 300 * time.Millisecond} {
		ctx, cancel := context.WithTimeout(newContext(t), patience)
		s, err := Start(ctx, Options{Dir: dir})
		cancel()
		if err == nil { // a fast machine
			require.NoError(t, s.Stop(newContext(t)))
			continue
		}
		require.ErrorIs(t, err, context.DeadlineExceeded)
		requireNoServer(t, filepath.Join(dir, "data"))
	}
	s := start(t, Options{Dir: dir})
	require.Equal(t, "1", query(t, s, "SELECT '1'"))
}

func TestStopWithoutTimeEndsTheServerByForce(t *testing.T) {
	t.Parallel()
	s := start(t, Options{Dir: newFolder(t)})
	execute(t, s, "CREATE TABLE things AS SELECT 'kept' AS name")
	ctx, cancel := context.WithCancel(newContext(t))
	cancel()
	// In order or by force, depending on who is faster: in both cases nothing runs and nothing is lost.
	err := s.Stop(ctx)
	require.Equal(t, err, s.Stop(newContext(t)), "a second stop reports the same")
	requireNoServer(t, s.folder.data())
	again := start(t, s.Options())
	require.Equal(t, "kept", query(t, again, "SELECT name FROM things"))
}

func TestStopCutsClientsOff(t *testing.T) {
	t.Parallel()
	s := start(t, Options{Dir: newFolder(t)})
	conn := connect(t, s)
	result := make(chan error, 1)
	go func() {
		_, err := conn.Exec(newContext(t), "SELECT pg_sleep(100)")
		result <- err
	}()
	require.Eventually(t, func() bool {
		return query(t, s, "SELECT count(*)::text FROM pg_stat_activity WHERE wait_event = 'PgSleep'") == "1"
	}, 10*time.Second, 10*time.Millisecond)
	require.NoError(t, s.Stop(newContext(t)))
	var pgErr *pgconn.PgError
	require.ErrorAs(t, <-result, &pgErr)
	require.Equal(t, "57P01", pgErr.Code)
}

func TestConcurrentStops(t *testing.T) {
	t.Parallel()
	s := start(t, Options{Dir: newFolder(t)})
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			if err := errors.Join(s.Stop(newContext(t)), s.Err()); err != nil {
				t.Errorf("stop: %v", err)
			}
		})
	}
	all.Wait()
}
