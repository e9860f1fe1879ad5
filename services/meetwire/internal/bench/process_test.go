package bench

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestFleetEndsWhatItStarted(t *testing.T) {
	t.Parallel()
	ctx, f := newFleet(t.Context())
	p, err := f.start("shell", "/bin/sh", []string{"-c", "echo ready; echo more; exec sleep 600"}, nil)
	require.NoError(t, err)
	line, err := p.firstLine(ctx)
	require.NoError(t, err)
	require.Equal(t, "ready", line)
	require.NoError(t, f.stop(ctx))
	<-p.done
	require.ErrorIs(t, context.Cause(ctx), context.Canceled)
}

func TestProcessThatEndsByItselfEndsTheRest(t *testing.T) {
	t.Parallel()
	ctx, f := newFleet(t.Context())
	p, err := f.start("shell", "/bin/sh", []string{"-c", "echo no such luck >&2; exit 3"}, nil)
	require.NoError(t, err)
	<-ctx.Done()
	require.ErrorContains(t, because(ctx, ctx.Err()), "shell ended by itself (exit status 3): no such luck")
	_, err = p.firstLine(context.WithoutCancel(ctx))
	require.ErrorContains(t, err, "no such luck")
	require.NoError(t, f.stop(ctx))
	require.NoError(t, because(ctx, nil))
}

func TestProcessThatDoesNotListenIsKilled(t *testing.T) {
	t.Parallel()
	ctx, f := newFleet(t.Context())
	p, err := f.start("shell", "/bin/sh", []string{"-c", "trap '' TERM; echo ready; while :; do read x || sleep 600; done"}, nil)
	require.NoError(t, err)
	_, err = p.firstLine(ctx)
	require.NoError(t, err)
	limited, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	f.stopping.Store(true)
	require.ErrorContains(t, p.end(limited), "killed")
	require.NoError(t, f.stop(ctx))
}

func TestProgramThatCannotBeStarted(t *testing.T) {
	t.Parallel()
	ctx, f := newFleet(t.Context())
	_, err := f.start("nothing", t.TempDir()+"/nothing", nil, nil)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.NoError(t, f.stop(ctx))
}

func TestOutputIsBounded(t *testing.T) {
	t.Parallel()
	var end tail
	require.Equal(t, "it said nothing", end.String())
	for range 100 {
		_, err := end.Write([]byte(strings.Repeat("x", 99) + "\n"))
		require.NoError(t, err)
	}
	require.Equal(t, 100, end.count())
	require.LessOrEqual(t, len(end.String()), maxTail)

	first := newHead()
	for _, part := range []string{"fi", "rst\nsec", "ond\n"} {
		_, err := first.Write([]byte(part))
		require.NoError(t, err)
	}
	require.Equal(t, "first", <-first.line)
}

func TestEnvironmentDoesNotConfigureMeetwire(t *testing.T) {
	t.Parallel()
	require.Equal(t, []string{"PATH=/bin", "GOGC=100"},
		cleanEnvironment([]string{"PATH=/bin", "MEETWIRE_CONCURRENCY=1", "GOGC=100", "MEETWIRE_DATABASE_URL=postgres://x"}))
}
