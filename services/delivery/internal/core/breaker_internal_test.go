package core

import (
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestBreakerKeepsItsRules(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		b, now := new(breaker), time.Unix(1_770_000_000, 0)
		deliveries := rapid.SampledFrom([]string{"a", "b", "c"})
		type attempt struct {
			delivery string
			probe    bool
		}
		var active []attempt
		failures, probes := 0, 0
		t.Repeat(map[string]func(*rapid.T){
			"take": func(t *rapid.T) {
				delivery := deliveries.Draw(t, "delivery")
				switch b.admit(delivery, now) {
				case admitAll:
					require.Less(t, failures, breakerFailures, "it is left alone after so many failures")
					active = append(active, attempt{delivery, false})
				case admitProbe:
					require.GreaterOrEqual(t, failures, breakerFailures)
					b.probing = true
					probes++
					active = append(active, attempt{delivery, true})
				case admitNone:
					require.GreaterOrEqual(t, failures, breakerFailures)
					at := b.next(now)
					require.True(t, at.After(now))
					require.LessOrEqual(t, at.Sub(now), maxBreakerOpen)
					b.waits(delivery, at, now)
				}
				require.LessOrEqual(t, probes, 1)
			},
			"end": func(t *rapid.T) {
				if len(active) == 0 {
					return
				}
				i := rapid.IntRange(0, len(active)-1).Draw(t, "which")
				one := active[i]
				active = append(active[:i], active[i+1:]...)
				verdict := rapid.SampledFrom([]Verdict{VerdictNone, VerdictSuccess, VerdictFailure, VerdictFailure, VerdictFailure, VerdictTimeout}).Draw(t, "verdict")
				before := b.open()
				opened := b.ended(one.delivery, verdict, one.probe, now)
				if one.probe {
					probes--
				}
				switch verdict {
				case VerdictSuccess:
					failures = 0
					require.False(t, b.open(), "a success closes it")
				case VerdictFailure, VerdictTimeout:
					failures++
				}
				require.Equal(t, failures >= breakerFailures, b.open())
				require.Equal(t, !before && b.open(), opened)
				require.Equal(t, probes == 1, b.probing)
				require.LessOrEqual(t, b.backoff, maxBreakerOpen)
			},
			"let time pass": func(t *rapid.T) {
				now = now.Add(time.Duration(rapid.Int64Range(0, int64(2*time.Minute)).Draw(t, "time")))
				if len(active) == 0 && b.open() && !now.Before(b.until) {
					require.Equal(t, admitProbe, b.admit("a", now), "it does not stay so for ever")
				}
			},
			"": func(t *rapid.T) {
				require.LessOrEqual(t, len(b.waiting), maxRemembered)
				if !b.probing {
					b := *b
					b.waiting = nil
					require.NotEqual(t, admitNone, b.admit("a", now), "the only one that waits is never held up")
				}
			},
		})
	})
}

func TestBreakerOpensForLongerAfterEachProbe(t *testing.T) {
	t.Parallel()
	b, now := new(breaker), time.Unix(1_770_000_000, 0)
	for i := range breakerFailures {
		require.False(t, b.open())
		require.Equal(t, i == breakerFailures-1, b.ended(strconv.Itoa(i), VerdictFailure, false, now))
	}
	for _, seconds := range []int{1, 2, 4, 8, 16, 32, 60, 60} {
		open := time.Duration(seconds) * time.Second
		require.Equal(t, admitNone, b.admit("new", now))
		require.Equal(t, now.Add(open), b.next(now))
		require.Equal(t, BreakerOpen, b.state(now))
		now = now.Add(open)
		require.Equal(t, BreakerHalfOpen, b.state(now))
		require.Equal(t, admitProbe, b.admit("new", now))
		b.probing = true
		require.Equal(t, admitNone, b.admit("another", now), "one at a time")
		b.waits("another", b.next(now), now)
		require.False(t, b.ended("new", VerdictTimeout, true, now), "it has been open")
	}
}

func TestBreakerRemembersOnlyAFew(t *testing.T) {
	t.Parallel()
	b, now := new(breaker), time.Unix(1_770_000_000, 0)
	b.waits("of a webhook that works", now, now)
	require.Empty(t, b.waiting)
	for i := range 100 {
		b.ended(strconv.Itoa(i), VerdictFailure, false, now)
	}
	require.Len(t, b.waiting, maxRemembered)
	require.False(t, b.alone("99", now))
	now = now.Add(2 * rememberTime)
	require.True(t, b.alone("99", now), "the others have gone elsewhere, or ended")
	b.waits("99", now.Add(time.Hour), now)
	require.Len(t, b.waiting, 1)
	b.waits("99", time.Time{}, now)
	require.Empty(t, b.waiting)
}
