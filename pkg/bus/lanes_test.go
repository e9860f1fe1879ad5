package bus_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/bus"
)

func TestLanesAreAddedAndEachRunsOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var began, ended counter
		lanes := make(chan []string)
		lanesRunning := run(t, func(ctx context.Context) error {
			return bus.RunLanes(ctx, lanes, func(ctx context.Context, lane string) error {
				began.add(lane)
				<-ctx.Done()
				ended.add(lane)
				return nil
			})
		})
		lanes <- []string{"a", "b", "a"}
		synctest.Wait()
		require.Equal(t, map[string]int{"a": 1, "b": 1}, began.counts)
		lanes <- nil
		lanes <- []string{"c", "b"}
		synctest.Wait()
		require.Equal(t, map[string]int{"a": 1, "b": 1, "c": 1}, began.counts)
		require.Empty(t, ended.counts)

		require.NoError(t, lanesRunning.stop(t))
		require.Equal(t, began.counts, ended.counts, "all have returned")
	})
}

func TestLaneThatFailsEndsAll(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		broken := errors.New("broken")
		var ended counter
		fail := make(chan struct{})
		lanes := make(chan []string)
		lanesRunning := run(t, func(ctx context.Context) error {
			return bus.RunLanes(ctx, lanes, func(ctx context.Context, lane string) error {
				defer ended.add(lane)
				if lane == "bad" {
					<-fail
					return broken
				}
				<-ctx.Done()
				return errors.New("a consequence")
			})
		})
		lanes <- []string{"a", "bad", "b"}
		close(fail)
		require.ErrorIs(t, lanesRunning.wait(t), broken)
		require.Equal(t, map[string]int{"a": 1, "bad": 1, "b": 1}, ended.counts)
	})
}

func TestFailureOfALaneThatStopsIsTold(t *testing.T) {
	t.Parallel()
	broken := errors.New("not finished")
	lanes := make(chan []string)
	lanesRunning := run(t, func(ctx context.Context) error {
		return bus.RunLanes(ctx, lanes, func(ctx context.Context, _ string) error {
			<-ctx.Done()
			return broken
		})
	})
	lanes <- []string{"a"}
	require.ErrorIs(t, lanesRunning.stop(t), broken)
}

func TestRunAllEndsWithTheFirstFailure(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	var ended counter
	waits := func(ctx context.Context) error {
		<-ctx.Done()
		ended.add("waits")
		return context.Cause(ctx)
	}
	require.ErrorIs(t, bus.RunAll(t.Context(), waits, waits, func(context.Context) error { return broken }), broken)
	require.Equal(t, map[string]int{"waits": 2}, ended.counts)

	all := run(t, func(ctx context.Context) error { return bus.RunAll(ctx, waits, waits) })
	require.ErrorIs(t, all.stop(t), context.Canceled)
	require.Equal(t, map[string]int{"waits": 4}, ended.counts)
	require.NoError(t, bus.RunAll(t.Context()))
}
