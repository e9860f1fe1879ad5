//go:build unix

package localpg

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	// fastWait is how long a fast shutdown may take: clients are cut off, and memory is written to disk.
	fastWait = 15 * time.Second
	// quitWait is how long an immediate shutdown may take; Postgres itself kills what remains after 5 s.
	quitWait = 10 * time.Second
	// killWait is how long the system may take to end killed processes.
	killWait = 10 * time.Second
	// pipeWait is how long the log is read after the server has ended, when others hold its end open.
	pipeWait = 2 * time.Second
	// pollEvery is how often the end of processes that are not our children is looked for.
	pollEvery = 20 * time.Millisecond
)

// process is a running server.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	err  error         // how it ended; to be read after done
}

// launch starts a command. Its goroutine keeps its thread until the command has ended: on Linux the command
// gets a signal when the thread that started it dies.
func launch(cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			p.err = cmd.Wait()
			close(p.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	return p, nil
}

// stop ends the process: in order, or by force when that takes too long or the context ends. It returns an
// error when force was needed.
func (p *process) stop(ctx context.Context) error {
	select {
	case <-p.done:
		return nil
	default:
	}
	steps := []struct {
		signal syscall.Signal
		limit  time.Duration
		end    <-chan struct{}
	}{
		{signal: syscall.SIGINT, limit: fastWait, end: ctx.Done()},
		{signal: syscall.SIGQUIT, limit: quitWait},
		{signal: syscall.SIGKILL, limit: killWait},
	}
	for i, step := range steps {
		if err := p.cmd.Process.Signal(step.signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("signal the server: %w", err)
		}
		timer := time.NewTimer(step.limit)
		select {
		case <-p.done:
			timer.Stop()
			if i == 0 {
				return nil
			}
			return fmt.Errorf("the server did not stop in order and was ended with %q; it recovers at the next start", step.signal)
		case <-step.end:
			timer.Stop()
		case <-timer.C:
		}
	}
	return errors.New("the server cannot be ended")
}

// endServersOf ends what runs on a data folder without belonging to a live process of ours: the server of a
// process that was killed, or sessions that outlived their server. It returns when they are gone.
func endServersOf(ctx context.Context, data string) error {
	steps := []struct {
		signal syscall.Signal
		limit  time.Duration
	}{{syscall.SIGINT, fastWait}, {syscall.SIGQUIT, quitWait}, {syscall.SIGKILL, killWait}}
	var pids []int
	for _, step := range steps {
		var err error
		pids, err = serversOf(ctx, data)
		if err != nil || len(pids) == 0 {
			return err
		}
		for _, pid := range pids {
			if err := syscall.Kill(pid, step.signal); err != nil && !errors.Is(err, syscall.ESRCH) {
				return fmt.Errorf("end process %d, a server of the same folder: %w", pid, err)
			}
		}
		gone, err := waitGone(ctx, data, step.limit)
		if gone || err != nil {
			return err
		}
	}
	return fmt.Errorf("processes %v of an earlier server of the folder cannot be ended", pids)
}

func waitGone(ctx context.Context, data string, limit time.Duration) (bool, error) {
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	for {
		pids, err := serversOf(ctx, data)
		if err != nil || len(pids) == 0 {
			return err == nil, err
		}
		select {
		case <-ticker.C:
		case <-deadline.C:
			return false, nil
		case <-ctx.Done():
			return false, fmt.Errorf("wait for the end of an earlier server of the folder: %w", ctx.Err())
		}
	}
}

// recordedPID returns the process that last ran on a data folder, 0 when it ended in order.
func recordedPID(data string) (int, error) {
	text, err := os.ReadFile(filepath.Join(data, "postmaster.pid")) //nolint:gosec // G304: the folder is the caller's
	switch {
	case errors.Is(err, os.ErrNotExist):
		return 0, nil
	case err != nil:
		return 0, fmt.Errorf("read the process id of an earlier server: %w", err)
	}
	first, _, _ := strings.Cut(string(text), "\n")
	if pid, err := strconv.Atoi(strings.TrimSpace(first)); err == nil && pid > 0 {
		return pid, nil
	}
	return 0, nil // half written: Postgres itself decides
}
