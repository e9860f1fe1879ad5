package localpg

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Everybody on the machine can see the command lines of all processes, also of those that live for a moment.
func TestPasswordIsNowhereToBeSeen(t *testing.T) {
	t.Parallel()
	dir := newFolder(t)
	stop := make(chan struct{})
	var seen bytes.Buffer
	var watch sync.WaitGroup
	watch.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			files, err := filepath.Glob("/proc/[0-9]*/cmdline")
			if err != nil {
				t.Errorf("list processes: %v", err)
				return
			}
			for _, file := range append(files, globEnvironments(dir)...) {
				text, err := os.ReadFile(file)
				if err == nil && bytes.Contains(text, []byte("postgres")) {
					seen.Write(text)
				}
			}
		}
	})
	var log bytes.Buffer
	s, err := Start(newContext(t), Options{Dir: dir, Log: &log})
	close(stop)
	watch.Wait()
	require.NoError(t, err)

	execute(t, s, "SELECT 1")
	_, err = connect(t, s).Exec(newContext(t), "SELECT broken")
	require.Error(t, err)
	password := strings.TrimSpace(readFile(t, s.folder.password()))
	require.GreaterOrEqual(t, len(password), 20)
	process, err := os.FindProcess(s.PID())
	require.NoError(t, err)
	require.NoError(t, process.Kill())
	<-s.Done()
	for where, text := range map[string]string{
		"command lines": seen.String(),
		"the error":     s.Err().Error(),
		"options":       strings.Join(s.arguments(), " "),
		"formatting":    s.URL().String(),
	} {
		require.NotEmpty(t, text, where)
		require.NotContains(t, text, password, where)
	}
	require.Contains(t, seen.String(), "--pwfile", "the watcher must have seen initdb")
	require.NoError(t, s.Stop(newContext(t)))
	require.Contains(t, log.String(), "ready to accept connections")
	require.NotContains(t, log.String(), password)
}

// globEnvironments lists the environments of the processes that work in a folder.
func globEnvironments(dir string) []string {
	cwds, err := filepath.Glob("/proc/[0-9]*/cwd")
	if err != nil {
		return nil
	}
	var files []string
	for _, cwd := range cwds {
		if target, err := os.Readlink(cwd); err == nil && strings.HasPrefix(target, dir) {
			files = append(files, filepath.Join(filepath.Dir(cwd), "environ"))
		}
	}
	return files
}

// A session that computes does not notice that its server is gone. Until it has ended no new server may touch
// the data.
func TestSessionThatOutlivesItsServerIsEnded(t *testing.T) {
	t.Parallel()
	s := start(t, Options{Dir: newFolder(t)})
	execute(t, s, "CREATE TABLE things AS SELECT 'kept' AS name")
	conn := connect(t, s)
	result := make(chan error, 1)
	go func() {
		_, err := conn.Exec(newContext(t), "DO $$ BEGIN LOOP END LOOP; END $$")
		result <- err
	}()
	require.Eventually(t, func() bool {
		return query(t, s, "SELECT count(*)::text FROM pg_stat_activity WHERE query LIKE 'DO %' AND state = 'active'") == "1"
	}, 10*time.Second, 10*time.Millisecond)
	session := int(conn.PgConn().PID())

	kill(t, s.PID())
	<-s.Done()
	require.NoError(t, syscall.Kill(session, 0), "the session must have outlived the server, or this shows nothing")
	require.NoError(t, s.folder.close()) // as if this process had been killed as well
	again := start(t, s.Options())
	require.Error(t, <-result)
	require.Equal(t, "kept", query(t, again, "SELECT name FROM things"))
	pids, err := serversOf(newContext(t), s.folder.data())
	require.NoError(t, err)
	require.NotContains(t, pids, session)
	require.Contains(t, pids, again.PID())
}
