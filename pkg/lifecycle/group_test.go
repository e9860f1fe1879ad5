package lifecycle_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/meetwire/meetwire/pkg/lifecycle"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const grace = 10 * time.Second

var errBroken = errors.New("broken")

// journal is what happened, in order.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) add(line string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, line)
}

func (j *journal) read() []string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return append([]string(nil), j.lines...)
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// running is a group that runs in the background.
type running struct {
	*lifecycle.Group

	stop   context.CancelFunc
	result chan error
}

func newRunning() *running {
	return &running{Group: lifecycle.NewGroup(discard(), grace), result: make(chan error, 1)}
}

func (r *running) start(ctx context.Context) {
	ctx, r.stop = context.WithCancel(ctx)
	go func() { r.result <- r.Run(ctx) }()
}

// obedient is a part that returns err when it is told to stop, after a while.
func obedient(j *journal, name string, drain time.Duration, err error) func(context.Context) error {
	return func(ctx context.Context) error {
		j.add("start " + name)
		<-ctx.Done()
		j.add("drain " + name)
		<-time.After(drain) // the clock of a synctest bubble
		j.add("end " + name)
		return err
	}
}

func TestGroupStopsInReverseOrderOneAfterTheOther(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		j := &journal{}
		g := newRunning()
		g.Add("database", obedient(j, "database", time.Second, nil))
		g.Add("server", obedient(j, "server", 2*time.Second, context.Canceled))
		g.Add("consumer", obedient(j, "consumer", 3*time.Second, fmt.Errorf("consume: %w", context.Canceled)))
		g.start(t.Context())
		synctest.Wait()
		require.ElementsMatch(t, []string{"start database", "start server", "start consumer"}, j.read())

		began := time.Now()
		g.stop()
		require.NoError(t, <-g.result)
		require.Equal(t, 6*time.Second, time.Since(began), "parts are stopped one after the other")
		require.Equal(t, []string{
			"drain consumer", "end consumer", "drain server", "end server", "drain database", "end database",
		}, j.read()[3:])
	})
}

func TestGroupStopsWhenAPartReturns(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		run  func(context.Context) error
		want string
	}{
		"with an error":    {func(context.Context) error { return errBroken }, "first: broken"},
		"without an error": {func(context.Context) error { return nil }, "first: ended by itself"},
		"as if canceled":   {func(context.Context) error { return context.Canceled }, "first: context canceled"},
		"by a panic":       {func(context.Context) error { panic("ouch") }, "first: panic: ouch"},
		"by Goexit":        {func(context.Context) error { runtime.Goexit(); return nil }, "first: ended by itself"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				j := &journal{}
				g := newRunning()
				g.Add("other", obedient(j, "other", time.Second, nil))
				g.Add("first", test.run)
				g.start(t.Context())
				require.EqualError(t, <-g.result, test.want)
				require.Equal(t, []string{"start other", "drain other", "end other"}, j.read(), "the rest was stopped in order")
				g.stop()
			})
		})
	}
}

func TestGroupJoinsFailuresTheFirstInFront(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		j := &journal{}
		errDrain := errors.New("drain failed")
		g := newRunning()
		g.Add("a", obedient(j, "a", 0, errors.Join(context.Canceled, errDrain)))
		g.Add("b", func(context.Context) error { <-time.After(time.Minute); return errBroken })
		g.Add("c", obedient(j, "c", 0, context.Canceled))
		g.Add("d", obedient(j, "d", 0, errDrain))
		g.start(t.Context())
		err := <-g.result
		require.EqualError(t, err, "b: broken\nd: drain failed\na: context canceled\ndrain failed")
		require.ErrorIs(t, err, errBroken)
		require.ErrorIs(t, err, errDrain)
		g.stop()
	})
}

func TestGroupReportsAFailureDuringTheStop(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		j := &journal{}
		g := newRunning()
		g.Add("fails while the other drains", func(ctx context.Context) error {
			<-time.After(3 * time.Second)
			require.NoError(t, ctx.Err(), "it has not been told to stop yet")
			return errBroken
		})
		g.Add("slow", obedient(j, "slow", 5*time.Second, nil))
		g.start(t.Context())
		synctest.Wait()
		g.stop()
		require.EqualError(t, <-g.result, "fails while the other drains: broken")
	})
}

func TestGroupWithoutPartsWaitsForItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.NoError(t, lifecycle.NewGroup(discard(), grace).Run(ctx))
}

func TestGroupEndsEverythingAfterTheGracePeriod(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		j := &journal{}
		g := newRunning()
		g.Add("database", obedient(j, "database", 0, nil))
		g.Add("drains too long", func(ctx context.Context) error {
			<-ctx.Done()
			inFlight := lifecycle.Grace(ctx)
			require.NoError(t, inFlight.Err())
			<-inFlight.Done()
			return inFlight.Err()
		})
		g.start(t.Context())
		synctest.Wait()
		began := time.Now()
		g.stop()
		err := <-g.result
		require.Equal(t, grace, time.Since(began))
		require.ErrorIs(t, err, lifecycle.ErrGraceExceeded)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.EqualError(t, err, "drains too long: context deadline exceeded\ngrace period exceeded: 10s by drains too long, database")
	})
}

func TestGroupJoinsEvenWhoIgnoresTheGracePeriod(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		j := &journal{}
		g := newRunning()
		g.Add("stubborn", obedient(j, "stubborn", time.Hour, nil))
		g.start(t.Context())
		synctest.Wait()
		g.stop()
		require.ErrorIs(t, <-g.result, lifecycle.ErrGraceExceeded)
		require.Equal(t, []string{"start stubborn", "drain stubborn", "end stubborn"}, j.read())
	})
}

func TestGroupLogsThePanicOfAPart(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	g := lifecycle.NewGroup(slog.New(slog.NewTextHandler(&out, nil)), grace)
	g.Add("dispatcher", func(context.Context) error {
		var nobody *journal
		nobody.add("line")
		return nil
	})
	require.ErrorContains(t, g.Run(t.Context()), "dispatcher: panic: runtime error: invalid memory address")
	require.Contains(t, out.String(), "part=dispatcher")
	require.Contains(t, out.String(), "group_test.go", "the stack leads to the defect")
}

func TestGroupKnowsTheCancellationsOfOthers(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	dialing := make(chan struct{})
	g := lifecycle.NewGroup(discard(), grace)
	g.Add("dialer", func(ctx context.Context) error {
		close(dialing)
		<-ctx.Done()
		_, err := (&net.Dialer{}).DialContext(ctx, "tcp", "127.0.0.1:1")
		return fmt.Errorf("dial: %w", err) // package net has its own error for a canceled context
	})
	go func() {
		<-dialing
		cancel()
	}()
	require.NoError(t, g.Run(ctx))
}

func TestStoppedWhileStarting(t *testing.T) {
	t.Parallel()
	errBroken := errors.New("broken")
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	started := fmt.Errorf("ensure a stream: %w", context.Canceled)
	require.NoError(t, lifecycle.Stopped(ended, started))
	require.NoError(t, lifecycle.Stopped(ended, nil))
	require.ErrorIs(t, lifecycle.Stopped(ended, errBroken), errBroken)
	require.ErrorIs(t, lifecycle.Stopped(ended, errors.Join(started, errBroken)), errBroken)
	require.ErrorIs(t, lifecycle.Stopped(t.Context(), started), context.Canceled, "somebody else's")
}
