package boot

import (
	"context"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// envChild makes the test binary a process like those of the services; its value says which service.
const envChild = "MEETWIRE_BOOT_TEST_CHILD"

const (
	childObedient = "obedient"
	childStubborn = "stubborn" // ignores that it should stop
)

// child is main of that process.
func child(mode string) int {
	config := &settings{}
	return Main("child", "A process for a test.", config, &config.Config, os.Args[1:], os.Stderr,
		func(_ context.Context, _ *Runtime, c *settings) (Service, error) {
			return service{run: func(ctx context.Context) error {
				if mode == childStubborn {
					select {}
				}
				return untilStopped(ctx)
			}}, c.Validate()
		})
}

// startChild starts the process and waits until it has started.
func startChild(t *testing.T, mode string) (*exec.Cmd, *process) {
	t.Helper()
	binary, err := os.Executable()
	require.NoError(t, err)
	p := &process{done: make(chan struct{})}
	command := exec.CommandContext(t.Context(), binary)
	command.Env = append(os.Environ(), envChild+"="+mode)
	command.Stderr = &p.output
	command.WaitDelay = time.Second
	require.NoError(t, command.Start())
	go func() {
		defer close(p.done)
		// How it ended is in the state of the process.
		_ = command.Wait()
		p.code = command.ProcessState.ExitCode()
	}()
	t.Cleanup(func() {
		_ = command.Process.Kill()
		<-p.done
	})
	p.logged(t, "started")
	return command, p
}

func TestMainStopsOnASignal(t *testing.T) {
	t.Parallel()
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(signal.String(), func(t *testing.T) {
			t.Parallel()
			command, p := startChild(t, childObedient)
			require.NoError(t, command.Process.Signal(signal))
			require.Equal(t, exitStopped, p.wait(t))
			require.Equal(t, signal.String()+" signal received", p.logged(t, "stopping")["cause"])
			p.logged(t, "stopped")
		})
	}
}

func TestMainEndsAtOnceOnASecondSignal(t *testing.T) {
	t.Parallel()
	command, p := startChild(t, childStubborn)
	require.NoError(t, command.Process.Signal(syscall.SIGTERM))
	p.logged(t, "stopping")
	// The first signal takes effect a moment before signals do what they do by default again.
	require.Eventually(t, func() bool {
		_ = command.Process.Signal(syscall.SIGTERM) // the process may have ended
		select {
		case <-p.done:
			return true
		default:
			return false
		}
	}, 5*time.Second, 10*time.Millisecond, "well before the grace period is over")
	status, ok := command.ProcessState.Sys().(syscall.WaitStatus)
	require.True(t, ok)
	require.Equal(t, syscall.SIGTERM, status.Signal())
}
