package lifecycle_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/meetwire/meetwire/pkg/lifecycle"
)

func TestRetryUntilSuccess(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		calls := 0
		err := lifecycle.Retry(t.Context(), slog.New(slog.NewTextHandler(&out, nil)), "connect to nats", time.Second, time.Minute,
			func(context.Context) error {
				if calls++; calls < 4 {
					return errBroken
				}
				return nil
			})
		require.NoError(t, err)
		require.Equal(t, 4, calls)
		require.Equal(t, 3, bytes.Count(out.Bytes(), []byte(`level=WARN`)), "each failure that is repeated is logged")
		require.Contains(t, out.String(), `what="connect to nats"`)
		require.Contains(t, out.String(), `error=broken`)
	})
}

func TestRetryWaitsLongerEachTimeWithinBounds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		least := time.Duration(rapid.Int64Range(-5, int64(time.Minute)).Draw(rt, "least"))
		most := time.Duration(rapid.Int64Range(-5, int64(time.Hour)).Draw(rt, "most"))
		synctest.Test(t, func(t *testing.T) {
			var at []time.Time
			err := lifecycle.Retry(t.Context(), discard(), "test", least, most, func(context.Context) error {
				if at = append(at, time.Now()); len(at) == 12 {
					return nil
				}
				return errBroken
			})
			require.NoError(t, err)
			bound := max(least, time.Millisecond)
			limit := max(most, bound)
			for i := 1; i < len(at); i++ {
				waited := at[i].Sub(at[i-1])
				require.LessOrEqual(t, waited, bound, "wait %d", i)
				require.GreaterOrEqual(t, waited, bound/2, "wait %d", i)
				bound = min(2*bound, limit)
			}
		})
	})
}

func TestRetryBeginsAgainAfterALongCall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var began, ended []time.Time
		err := lifecycle.Retry(t.Context(), discard(), "follow", time.Second, time.Minute, func(context.Context) error {
			began = append(began, time.Now())
			defer func() { ended = append(ended, time.Now()) }()
			switch len(began) {
			case 10:
				<-time.After(time.Hour) // the clock of a synctest bubble
			case 11:
				return nil
			}
			return errBroken
		})
		require.NoError(t, err)
		require.LessOrEqual(t, began[10].Sub(ended[9]), time.Second)
		require.Greater(t, began[9].Sub(ended[8]), 20*time.Second)
	})
}

func TestRetryStopsAtAPermanentError(t *testing.T) {
	t.Parallel()
	calls := 0
	refuse := func(err error) error {
		return lifecycle.Retry(t.Context(), discard(), "test", time.Millisecond, time.Second, func(context.Context) error {
			calls++
			return err
		})
	}
	require.ErrorIs(t, refuse(lifecycle.Permanent(errBroken)), errBroken)
	require.EqualError(t, refuse(fmt.Errorf("open: %w", lifecycle.Permanent(errBroken))), "open: broken")
	require.Equal(t, 2, calls)
	require.NoError(t, refuse(lifecycle.Permanent(nil)))
	require.NoError(t, lifecycle.Permanent(nil))
}

func TestRetryStopsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		began := time.Now()
		err := lifecycle.Retry(ctx, discard(), "test", time.Hour, time.Hour, func(context.Context) error { return errBroken })
		require.Equal(t, time.Minute, time.Since(began), "while it waits")
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.EqualError(t, err, "context deadline exceeded, last failure: broken")
		require.NotErrorIs(t, err, errBroken, "callers see a context that ended and nothing else")
	})

	ctx, cancel := context.WithCancel(t.Context())
	err := lifecycle.Retry(ctx, discard(), "test", time.Hour, time.Hour, func(ctx context.Context) error {
		cancel()
		return fmt.Errorf("call: %w", ctx.Err())
	})
	require.Equal(t, context.Canceled, err, "while f runs")

	err = lifecycle.Retry(ctx, discard(), "test", time.Hour, time.Hour, func(context.Context) error { return nil })
	require.NoError(t, err, "a success is a success")
	require.ErrorIs(t, lifecycle.Permanent(errBroken), errBroken)
}
