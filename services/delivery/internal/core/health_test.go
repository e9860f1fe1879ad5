package core_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

// fold folds attempts a minute apart, each of a delivery of its own, and returns the stages that each has reached.
func fold(h *core.Health, threshold core.Threshold, classes ...string) []core.Level {
	began := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	levels := make([]core.Level, len(classes))
	for i, class := range classes {
		before := h.Reached
		status := 500
		if class == "" {
			status = 200
		}
		h.Fold(core.Outcome{
			Organization: "acme", Delivery: fmt.Sprint(i), Generation: 1, At: began.Add(time.Duration(i) * time.Minute),
			StatusCode: status, ErrorClass: class,
		}, threshold)
		levels[i] = h.Reached &^ before
	}
	return levels
}

func TestHealthReachesItsStages(t *testing.T) {
	t.Parallel()
	const f, ok = core.ErrorStatus, ""
	for name, test := range map[string]struct {
		threshold core.Threshold
		classes   []string
		want      []core.Level
		reason    string
	}{
		"off": {
			classes: []string{f, f, f, f}, want: []core.Level{0, core.LevelFirst, 0, 0}, reason: core.ReasonConsecutiveFailures,
		},
		"at the first": {
			threshold: core.Threshold{Consecutive: 1}, classes: []string{f, f}, want: []core.Level{core.LevelDisable, 0},
			reason: core.ReasonConsecutiveFailures,
		},
		"at the second": {
			threshold: core.Threshold{Consecutive: 2}, classes: []string{f, ok, f, f}, want: []core.Level{0, 0, 0, core.LevelDisable},
			reason: core.ReasonConsecutiveFailures,
		},
		"at the third": {
			threshold: core.Threshold{Consecutive: 3}, classes: []string{f, f, f}, want: []core.Level{0, core.LevelHalf, core.LevelDisable},
			reason: core.ReasonConsecutiveFailures,
		},
		"at the eighth": {
			threshold: core.Threshold{Consecutive: 8}, classes: []string{f, f, f, f, f, f, f, f},
			want:   []core.Level{0, core.LevelFirst, 0, core.LevelHalf, 0, 0, 0, core.LevelDisable},
			reason: core.ReasonConsecutiveFailures,
		},
		"a success begins anew": {
			threshold: core.Threshold{Consecutive: 3}, classes: []string{f, f, ok, f, f, f},
			want:   []core.Level{0, core.LevelHalf, 0, 0, core.LevelHalf, core.LevelDisable},
			reason: core.ReasonConsecutiveFailures,
		},
		"without success": {
			threshold: core.Threshold{WithoutSuccess: 4 * time.Minute}, classes: []string{f, f, f, f, f},
			want: []core.Level{0, core.LevelFirst, core.LevelHalf, 0, core.LevelDisable}, reason: core.ReasonWithoutSuccess,
		},
		"rendering says nothing about the receiver": {
			threshold: core.Threshold{Consecutive: 2}, classes: []string{f, core.ErrorRender, core.ErrorRender, f},
			want: []core.Level{0, 0, 0, core.LevelDisable}, reason: core.ReasonConsecutiveFailures,
		},
		"nor do our own proxy and our own limits": {
			threshold: core.Threshold{Consecutive: 2}, classes: []string{core.ErrorProxy, core.ErrorProxy, f, core.ErrorOverload, core.ErrorProxy, f},
			want: []core.Level{0, 0, 0, 0, 0, core.LevelDisable}, reason: core.ReasonConsecutiveFailures,
		},
		"disabled is disabled": {
			threshold: core.Threshold{Consecutive: 2}, classes: []string{f, f, ok, f, f}, want: []core.Level{0, core.LevelDisable, 0, 0, 0},
			reason: core.ReasonConsecutiveFailures,
		},
	} {
		var h core.Health
		require.Equal(t, test.want, fold(&h, test.threshold, test.classes...), name)
		require.Equal(t, test.reason, h.Reason, name)
	}
}

func TestHealthNeedsThreeDeliveriesThatFailForATime(t *testing.T) {
	t.Parallel()
	var h core.Health
	began := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	threshold := core.Threshold{WithoutSuccess: time.Hour}
	for i := range 10 {
		h.Fold(core.Outcome{Delivery: fmt.Sprint(i % 2), Generation: 1, At: began, ErrorClass: core.ErrorDNS}, threshold)
	}
	h.Check(threshold, began.Add(100*time.Hour))
	require.Equal(t, core.LevelFirst, h.Reached)
	h.Fold(core.Outcome{Delivery: "third", Generation: 1, At: began.Add(time.Minute), ErrorClass: core.ErrorDNS}, threshold)
	h.Check(threshold, began.Add(time.Hour-1))
	require.Equal(t, core.LevelFirst|core.LevelHalf, h.Reached)
	h.Check(threshold, began.Add(time.Hour))
	require.Equal(t, core.LevelFirst|core.LevelHalf|core.LevelDisable, h.Reached)
	require.Equal(t, began, h.FailingSince)
	for _, want := range []core.Level{core.LevelFirst, core.LevelHalf, core.LevelDisable, 0} {
		require.Equal(t, want, h.Due(), "the lowest first")
		h.Reported |= h.Due()
	}
}

func TestHealthOfAGoneReceiver(t *testing.T) {
	t.Parallel()
	gone := core.Outcome{Delivery: "d", Generation: 1, StatusCode: 410, ErrorClass: core.ErrorStatus}
	var h core.Health
	h.Fold(gone, core.Threshold{Gone: true})
	require.Equal(t, core.LevelDisable, h.Reached)
	require.Equal(t, core.ReasonGone, h.Reason)
	h = core.Health{}
	h.Fold(gone, core.Threshold{Consecutive: 2})
	require.Zero(t, h.Reached, "where 410 means nothing it is a failure like others")
}

func TestHealthIsThatOfOneGeneration(t *testing.T) {
	t.Parallel()
	threshold := core.Threshold{Consecutive: 2}
	at := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	outcome := func(generation int64) core.Outcome {
		return core.Outcome{Organization: "acme", Delivery: "d", Generation: generation, At: at, ErrorClass: core.ErrorTLS}
	}
	var h core.Health
	h.Fold(outcome(1), threshold)
	h.Fold(outcome(1), threshold)
	require.Equal(t, core.LevelDisable, h.Reached)
	h.Fold(outcome(2), threshold)
	require.Equal(t, core.Health{
		Organization: "acme", Generation: 2, ConsecutiveFailures: 1, FailingSince: at, FailingDeliveries: []string{"d"},
		LastFailure: at, LastErrorClass: core.ErrorTLS,
	}, h)
	h.Fold(outcome(1), threshold)
	require.EqualValues(t, 1, h.ConsecutiveFailures, "what was sent before it was enabled does not count")
	h.Fold(outcome(0), threshold)
	require.EqualValues(t, 1, h.ConsecutiveFailures)
}

func TestHealthIsDisabledAfterExactlySoManyFailures(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 6).Draw(t, "threshold")
		attempts := rapid.SliceOfN(rapid.Bool(), 0, 40).Draw(t, "failures")
		var h core.Health
		streak, disabled := 0, false
		for i, fails := range attempts {
			class := ""
			if fails {
				class = core.ErrorConnect
				streak++
			} else {
				streak = 0
			}
			disabled = disabled || streak >= n
			h.Fold(core.Outcome{Delivery: fmt.Sprint(i), Generation: 1, At: time.Unix(int64(i), 0), ErrorClass: class}, core.Threshold{Consecutive: n})
			require.Equal(t, disabled, h.Reached&core.LevelDisable != 0, "after attempt %d", i)
			require.LessOrEqual(t, len(h.FailingDeliveries), 3)
			if !disabled {
				require.EqualValues(t, streak, h.ConsecutiveFailures)
			}
		}
	})
}
