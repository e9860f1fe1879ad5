package lifecycle_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/lifecycle"
)

func check(name string, err error) lifecycle.Check {
	return lifecycle.Check{Name: name, Func: func(context.Context) error { return err }}
}

func TestReady(t *testing.T) {
	t.Parallel()
	require.NoError(t, lifecycle.Ready(t.Context()))
	require.NoError(t, lifecycle.Ready(t.Context(), check("postgres", nil), check("nats", nil)))

	err := lifecycle.Ready(t.Context(), check("postgres", errBroken), check("feed", nil), check("nats", errors.New("away")))
	require.EqualError(t, err, "postgres: broken\nnats: away", "in the order of the checks")
	require.ErrorIs(t, err, errBroken)
	var failed *lifecycle.CheckError
	require.ErrorAs(t, err, &failed)
	require.Equal(t, "postgres", failed.Name)
}

func TestReadyRunsChecksAtOnce(t *testing.T) {
	t.Parallel()
	meet := make(chan struct{})
	err := lifecycle.Ready(t.Context(),
		lifecycle.Check{Name: "a", Func: func(context.Context) error { meet <- struct{}{}; return nil }},
		lifecycle.Check{Name: "b", Func: func(context.Context) error { <-meet; return nil }},
	)
	require.NoError(t, err)
}

func TestReadyPassesItsContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	err := lifecycle.Ready(ctx, lifecycle.Check{Name: "postgres", Func: func(ctx context.Context) error { return ctx.Err() }})
	require.ErrorIs(t, err, context.Canceled)
}

func TestReadySurvivesAPanickingCheck(t *testing.T) {
	t.Parallel()
	err := lifecycle.Ready(t.Context(),
		lifecycle.Check{Name: "cache", Func: func(context.Context) error { panic("ouch") }}, check("nats", nil))
	require.EqualError(t, err, "cache: panic: ouch")
}

func TestFailedChecks(t *testing.T) {
	t.Parallel()
	postgres := &lifecycle.CheckError{Name: "postgres", Err: errors.New("dial tcp 10.0.0.7:5432: refused")}
	feed := &lifecycle.CheckError{Name: "feed", Err: errBroken}
	tests := map[string]struct {
		err  error
		want []string
	}{
		"none":          {nil, nil},
		"not a check":   {errBroken, nil},
		"one":           {postgres, []string{"postgres"}},
		"wrapped":       {fmt.Errorf("ask: %w", postgres), []string{"postgres"}},
		"joined":        {errors.Join(postgres, errBroken, feed), []string{"postgres", "feed"}},
		"nested":        {&lifecycle.CheckError{Name: "delivery", Err: fmt.Errorf("x: %w", errors.Join(postgres, feed))}, []string{"delivery.postgres", "delivery.feed"}},
		"from Ready":    {lifecycle.Ready(t.Context(), check("a", feed), check("b", nil), check("c", errBroken)), []string{"a.feed", "c"}},
		"several %w in": {fmt.Errorf("%w and %w", feed, postgres), []string{"feed", "postgres"}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, test.want, lifecycle.FailedChecks(test.err))
		})
	}
}
