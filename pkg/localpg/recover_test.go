//go:build unix

package localpg

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

func kill(t *testing.T, pid int) {
	t.Helper()
	require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
}

// begin starts a command as the user that the server runs as, and ends it with the test.
func begin(t *testing.T, dir, program string, args ...string) *exec.Cmd {
	t.Helper()
	account, err := serverAccount(filepath.Join(dir, "data"))
	require.NoError(t, err)
	cmd := account.command(context.WithoutCancel(t.Context()), "/", program, args...)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()
	})
	return cmd
}

func TestKilledServer(t *testing.T) {
	t.Parallel()
	s := start(t, Options{Dir: newFolder(t)})
	execute(t, s, "CREATE TABLE things AS SELECT 'kept' AS name")
	kill(t, s.PID())
	<-s.Done()
	require.ErrorContains(t, s.Err(), "ended by itself")
	require.ErrorContains(t, s.Err(), "killed")
	require.NoError(t, s.Stop(newContext(t)))
	require.NoError(t, s.Err(), "it is stopped now")

	again := start(t, s.Options())
	require.Equal(t, "kept", query(t, again, "SELECT name FROM things"))
}

// runHelper starts a process that starts a server in the folder.
func runHelper(t *testing.T, dir string) (helper *exec.Cmd, port, pid int) {
	t.Helper()
	helper = exec.CommandContext(newContext(t), os.Args[0])
	helper.Env = append(os.Environ(), envHelper+"="+dir)
	stdout, err := helper.StdoutPipe()
	require.NoError(t, err)
	var stderr strings.Builder
	helper.Stderr = &stderr
	require.NoError(t, helper.Start())
	t.Cleanup(func() {
		_ = helper.Process.Kill() // it may have ended
		_ = helper.Wait()
	})
	if _, err := fmt.Fscan(stdout, &port, &pid); err != nil {
		_, _ = io.Copy(io.Discard, stdout)
		_ = helper.Wait()
		require.NoError(t, err, stderr.String())
	}
	return helper, port, pid
}

func TestServerOfAnotherProcessIsRefusedUntilThatIsKilled(t *testing.T) {
	t.Parallel()
	dir := newFolder(t)
	helper, port, pid := runHelper(t, dir)
	_, err := Start(newContext(t), Options{Dir: dir})
	require.ErrorIs(t, err, ErrRunning)
	require.ErrorContains(t, err, fmt.Sprintf("process %d", helper.Process.Pid))

	require.NoError(t, helper.Process.Kill())
	require.Error(t, helper.Wait())
	s := start(t, Options{Dir: dir, Port: port})
	require.NotEqual(t, pid, s.PID())
	require.Equal(t, "1", query(t, s, "SELECT '1'"))
}

// On Linux nothing is left even when nobody starts again.
func TestServerEndsWhenItsProcessIsKilled(t *testing.T) {
	t.Parallel()
	dir := newFolder(t)
	helper, _, pid := runHelper(t, dir)
	require.NoError(t, syscall.Kill(pid, 0))
	require.NoError(t, helper.Process.Kill())
	require.Error(t, helper.Wait())
	if runtime.GOOS != "linux" {
		return
	}
	require.Eventually(t, func() bool {
		pids, err := serversOf(newContext(t), filepath.Join(dir, "data"))
		return err == nil && len(pids) == 0
	}, 20*time.Second, 10*time.Millisecond)
	_, err := os.Stat(filepath.Join(dir, "data", "postmaster.pid"))
	require.ErrorIs(t, err, os.ErrNotExist, "it must have stopped in order")
}

// The server of a process that was killed, on a system that did not end it.
func TestServerThatWasLeftRunningIsEnded(t *testing.T) {
	t.Parallel()
	s := start(t, Options{Dir: newFolder(t)})
	require.NoError(t, s.Stop(newContext(t)))
	p, err := find(newContext(t), 0)
	require.NoError(t, err)
	left := begin(t, s.Options().Dir, p.postgres(), s.arguments()...)
	ended := make(chan error, 1)
	require.Eventually(t, func() bool {
		conn, err := pgx.Connect(newContext(t), s.URL().Reveal())
		return err == nil && conn.Close(newContext(t)) == nil
	}, 20*time.Second, 10*time.Millisecond)
	go func() { ended <- left.Wait() }()

	again := start(t, s.Options()) // the same port, too
	require.NoError(t, <-ended, "it must have been stopped in order")
	require.Equal(t, "1", query(t, again, "SELECT '1'"))
}

// The recorded process id belongs to somebody else by now, whom Postgres would take for its predecessor, and
// whom nobody may end.
func TestStaleProcessID(t *testing.T) {
	t.Parallel()
	s := start(t, Options{Dir: newFolder(t)})
	record := filepath.Join(s.folder.data(), "postmaster.pid")
	recorded := readFile(t, record)
	account, err := serverAccount(s.folder.data())
	require.NoError(t, err)
	_, rest, found := strings.Cut(recorded, "\n")
	require.True(t, found)
	require.NoError(t, s.Stop(newContext(t)))

	stranger := begin(t, s.Options().Dir, "/bin/sleep", "1000")
	ended := begin(t, s.Options().Dir, "/bin/true")
	_ = ended.Wait()
	for name, content := range map[string]string{
		"somebody else's": fmt.Sprintf("%d\n%s", stranger.Process.Pid, rest),
		"our own":         fmt.Sprintf("%d\n%s", os.Getpid(), rest),
		"nobody's":        fmt.Sprintf("%d\n%s", ended.Process.Pid, rest),
		"the same again":  recorded,
	} {
		t.Run(name, func(t *testing.T) { //nolint:paralleltest // they share the folder
			require.NoError(t, os.WriteFile(record, []byte(content), 0o600))
			require.NoError(t, account.own(record))
			again := start(t, s.Options())
			require.Equal(t, "1", query(t, again, "SELECT '1'"))
			require.NoError(t, again.Stop(newContext(t)))
		})
	}
	require.NoError(t, stranger.Process.Signal(syscall.Signal(0)), "the stranger must live")
}

func TestUnfinishedFolderIsMadeAnew(t *testing.T) {
	t.Parallel()
	dir := newFolder(t)
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "data.new", "base"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "data.new", "PG_VERSION"), []byte("15\n"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "password"), nil, 0o600))
	s := start(t, Options{Dir: dir})
	require.Equal(t, "1", query(t, s, "SELECT '1'"))
	require.NoDirExists(t, s.folder.newData())
}

func TestForeignFolderIsRefused(t *testing.T) {
	t.Parallel()
	dir := newFolder(t)
	require.NoError(t, os.Mkdir(dir, 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "thesis.txt"), []byte("x"), 0o600))
	before, err := os.Stat(dir)
	require.NoError(t, err)
	_, err = Start(newContext(t), Options{Dir: dir})
	require.ErrorIs(t, err, ErrNotOurs)
	require.ErrorContains(t, err, "thesis.txt")
	after, err := os.Stat(dir)
	require.NoError(t, err)
	require.Equal(t, before.Sys().(*syscall.Stat_t).Uid, after.Sys().(*syscall.Stat_t).Uid)
	require.Equal(t, before.Mode(), after.Mode())

	_, err = Start(newContext(t), Options{})
	require.ErrorContains(t, err, "no folder")
	file := filepath.Join(dir, "thesis.txt")
	_, err = Start(newContext(t), Options{Dir: file})
	require.Error(t, err)
}

func TestDataOfAnotherVersionIsRefused(t *testing.T) {
	t.Parallel()
	dir := newFolder(t)
	require.NoError(t, os.MkdirAll(filepath.Join(dir, "data"), 0o700))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "data", "PG_VERSION"), []byte("9\n"), 0o600))
	_, err := Start(newContext(t), Options{Dir: dir})
	require.ErrorIs(t, err, ErrNotFound)
	require.ErrorContains(t, err, "version 9")

	installed, err := Find()
	require.NoError(t, err)
	_, err = Start(newContext(t), Options{Dir: dir, BinDir: installed})
	require.ErrorContains(t, err, "was made with Postgres 9")

	_, err = Start(newContext(t), Options{Dir: dir, Download: true, CacheDir: t.TempDir()})
	require.ErrorIs(t, err, ErrNotFound)
	require.ErrorContains(t, err, "cannot be downloaded")
}

func TestLostPasswordIsSaid(t *testing.T) {
	t.Parallel()
	s := start(t, Options{Dir: newFolder(t)})
	require.NoError(t, s.Stop(newContext(t)))
	require.NoError(t, os.Remove(s.folder.password()))
	_, err := Start(newContext(t), s.Options())
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorContains(t, err, "password")
}

// Postgres refuses root, so the server runs as another user, who must get to the folder.
func TestUserOfTheServer(t *testing.T) {
	t.Parallel()
	dir := newFolder(t)
	account, err := serverAccount(filepath.Join(dir, "data"))
	require.NoError(t, err)
	if os.Geteuid() != 0 {
		require.Nil(t, account)
		return
	}
	require.NotNil(t, account)
	require.NotZero(t, account.uid)
	s := start(t, Options{Dir: dir})
	info, err := os.Stat(fmt.Sprintf("/proc/%d", s.PID()))
	require.NoError(t, err)
	require.EqualValues(t, account.uid, info.Sys().(*syscall.Stat_t).Uid)
	require.NoError(t, s.Stop(newContext(t)))

	// The owner of the data comes before any name.
	require.NoError(t, os.Lchown(s.folder.data(), 4321, 4321))
	account, err = serverAccount(s.folder.data())
	require.NoError(t, err)
	require.Equal(t, 4321, account.uid)
	require.Equal(t, 4321, account.gid)

	closed := filepath.Join(filepath.Dir(dir), "closed")
	require.NoError(t, os.Mkdir(closed, 0o700))
	_, err = Start(newContext(t), Options{Dir: filepath.Join(closed, "server")})
	require.ErrorIs(t, err, os.ErrPermission)
	require.ErrorContains(t, err, "cannot enter "+closed)
	require.ErrorContains(t, err, "open the folders above")

	_, err = Start(newContext(t), Options{Dir: filepath.Join(filepath.Dir(dir), "other"), BinDir: closedPrograms(t)})
	require.ErrorContains(t, err, "cannot run")
}

// closedPrograms makes a folder of the installed programs that only the user of the test can get into.
func closedPrograms(t *testing.T) string {
	t.Helper()
	installed, err := Find()
	require.NoError(t, err)
	dir := filepath.Join(t.TempDir(), "bin")
	require.NoError(t, os.Mkdir(dir, 0o700))
	for _, program := range []string{"postgres", "initdb"} {
		require.NoError(t, os.Symlink(filepath.Join(installed, program), filepath.Join(dir, program)))
	}
	return dir
}
