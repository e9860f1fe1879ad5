package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// fleet is processes that live and end together. When one ends by itself, so does the context that the fleet was
// made with, and its cause tells why.
type fleet struct {
	fail      context.CancelCauseFunc
	stopping  atomic.Bool
	processes []*process
}

// newFleet makes a fleet without processes and the context of whatever uses them.
func newFleet(ctx context.Context) (context.Context, *fleet) {
	ctx, fail := context.WithCancelCause(ctx)
	return ctx, &fleet{fail: fail}
}

// because returns, for an error, why the context has ended, if it has: what the error says is then only what
// followed from that.
func because(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); err != nil && cause != nil {
		return cause
	}
	return err
}

// process is one program that was started.
type process struct {
	name   string
	cmd    *exec.Cmd
	stdin  io.Closer // helpers end when it is closed, also by our death
	stdout *head
	stderr *tail
	done   chan struct{}
	err    error // how it ended; to be read after done
}

// start starts a program. It gets the environment of this process without Meetwire's variables, and env.
func (f *fleet) start(name, path string, args, env []string) (*process, error) {
	p := &process{name: name, stdout: newHead(), stderr: &tail{}, done: make(chan struct{})}
	p.cmd = exec.Command(path, args...) //nolint:gosec,noctx // G204: our own programs; stop ends them in order
	p.cmd.Env = append(cleanEnvironment(os.Environ()), env...)
	p.cmd.Stdout, p.cmd.Stderr = p.stdout, p.stderr
	// What is typed at the terminal is for us: we end the others, in order.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	dieWithParent(p.cmd.SysProcAttr)
	stdin, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p.stdin = stdin

	started := make(chan error)
	go func() {
		// The system ends the program when the thread that started it dies.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err != nil {
			return
		}
		p.err = p.cmd.Wait()
		if !f.stopping.Load() {
			f.fail(p.unasked())
		}
		close(p.done)
	}()
	if err := <-started; err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", name, err), stdin.Close())
	}
	f.processes = append(f.processes, p)
	return p, nil
}

// killTime is how long a program may take to end before it is killed.
const killTime = 15 * time.Second

// stop ends all processes, the one started last first, and the context of the fleet.
func (f *fleet) stop(ctx context.Context) error {
	f.stopping.Store(true)
	defer f.fail(nil)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
	defer cancel()
	var failures []error
	for len(f.processes) > 0 {
		last := f.processes[len(f.processes)-1]
		f.processes = f.processes[:len(f.processes)-1]
		failures = append(failures, last.end(ctx))
	}
	return errors.Join(failures...)
}

// signal tells a process to end.
func (p *process) signal() error {
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("end %s: %w", p.name, err)
	}
	return nil
}

// end tells a process to end and waits until it has; one that does not is killed, which is an error.
func (p *process) end(ctx context.Context) error {
	if err := p.signal(); err != nil {
		return err
	}
	timer := time.NewTimer(killTime)
	defer timer.Stop()
	select {
	case <-p.done:
		return nil
	case <-timer.C:
	case <-ctx.Done():
	}
	if err := p.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("kill %s: %w", p.name, err)
	}
	<-p.done
	return fmt.Errorf("%s did not end in order and was killed: %s", p.name, p.stderr)
}

// unasked says how a process ended that nobody told to.
func (p *process) unasked() error {
	how := "exit status 0"
	if p.err != nil {
		how = p.err.Error()
	}
	return fmt.Errorf("%s ended by itself (%s): %s", p.name, how, p.stderr)
}

// pid is the process's number.
func (p *process) pid() int { return p.cmd.Process.Pid }

// firstLine waits for the first line of a program's output.
func (p *process) firstLine(ctx context.Context) (string, error) {
	select {
	case line := <-p.stdout.line:
		return line, nil
	case <-p.done:
		return "", p.unasked()
	case <-ctx.Done():
		return "", ctx.Err()
	}
}

// head passes the first line on and drops the rest.
type head struct {
	line   chan string
	partly []byte
	done   bool
}

func newHead() *head { return &head{line: make(chan string, 1)} }

// Write implements io.Writer. It is called from one goroutine.
func (h *head) Write(b []byte) (int, error) {
	if !h.done {
		h.partly = append(h.partly, b...)
		if first, _, whole := bytes.Cut(h.partly, []byte("\n")); whole {
			h.done = true
			h.line <- strings.TrimSpace(string(first))
		}
	}
	return len(b), nil
}

// maxTail is how much of a program's messages is kept.
const maxTail = 4 << 10

// tail keeps the end of what is written to it and counts lines.
type tail struct {
	mu    sync.Mutex
	text  []byte
	lines int
}

// Write implements io.Writer.
func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lines += bytes.Count(b, []byte("\n"))
	t.text = append(t.text, b...)
	if over := len(t.text) - maxTail; over > 0 {
		t.text = append(t.text[:0], t.text[over:]...)
	}
	return len(b), nil
}

// count returns how many lines there were.
func (t *tail) count() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.lines
}

// String returns the end of what was written.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.text) == 0 {
		return "it said nothing"
	}
	return strings.TrimSpace(string(t.text))
}
