package core_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

// delays returns every delay of a policy without jitter, until it gives up.
func delays(t require.TestingT, policy core.Policy) []time.Duration {
	policy.Jitter = 0
	var all []time.Duration
	for attempts := 1; ; attempts++ {
		delay, again := policy.Next(attempts)
		if !again {
			require.Zero(t, delay)
			return all
		}
		all = append(all, delay)
		require.Less(t, len(all), 1000, "a policy must come to an end")
	}
}

func TestPolicyDelays(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		policy core.Policy
		want   []time.Duration
	}{
		"the default": {
			policy: standardPolicy(),
			want: []time.Duration{
				5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour,
				10 * time.Hour, 14 * time.Hour, 20 * time.Hour, 24 * time.Hour,
			},
		},
		"doubling": {
			policy: core.Policy{MaxRetries: 4, FirstDelay: time.Second, Factor: 2, MaxDelay: time.Hour},
			want:   []time.Duration{time.Second, 2 * time.Second, 4 * time.Second, 8 * time.Second},
		},
		"doubling up to a limit": {
			policy: core.Policy{MaxRetries: 5, FirstDelay: time.Second, Factor: 2, MaxDelay: 3 * time.Second},
			want:   []time.Duration{time.Second, 2 * time.Second, 3 * time.Second, 3 * time.Second, 3 * time.Second},
		},
		"always the same": {
			policy: core.Policy{MaxRetries: 3, FirstDelay: time.Minute, Factor: 1, MaxDelay: time.Hour},
			want:   []time.Duration{time.Minute, time.Minute, time.Minute},
		},
		"a limit below the first delay": {
			policy: core.Policy{MaxRetries: 2, FirstDelay: time.Minute, Factor: 2, MaxDelay: time.Second},
			want:   []time.Duration{time.Second, time.Second},
		},
		"no retries": {
			policy: core.Policy{FirstDelay: time.Second, Factor: 2, MaxDelay: time.Hour},
			want:   nil,
		},
		"growth beyond what a duration holds": {
			policy: core.Policy{MaxRetries: 3, FirstDelay: time.Hour, Factor: 1e300, MaxDelay: 24 * time.Hour},
			want:   []time.Duration{time.Hour, 24 * time.Hour, 24 * time.Hour},
		},
	} {
		require.Equal(t, test.want, delays(t, test.policy), name)
	}
}

// standardPolicy is what the Standard Webhooks specification suggests.
func standardPolicy() core.Policy {
	return core.Policy{
		Delays: []time.Duration{
			5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour,
			10 * time.Hour, 14 * time.Hour, 20 * time.Hour, 24 * time.Hour,
		},
		Jitter: 0.2,
	}
}

func TestPolicyVariesTheDefault(t *testing.T) {
	t.Parallel()
	seen := make(map[time.Duration]bool)
	for range 100 {
		delay, again := standardPolicy().Next(1)
		require.True(t, again)
		require.InDelta(t, 5*time.Second, delay, float64(time.Second))
		seen[delay] = true
	}
	require.Greater(t, len(seen), 50, "deliveries that failed together must not return together")
}

func TestPolicyVariesTheGreatestDelay(t *testing.T) {
	t.Parallel()
	policy := core.Policy{MaxRetries: 1, FirstDelay: time.Hour, Factor: 1, MaxDelay: time.Hour, Jitter: 0.5}
	seen := make(map[time.Duration]bool)
	for range 100 {
		delay, again := policy.Next(1)
		require.True(t, again)
		require.GreaterOrEqual(t, delay, time.Hour/2)
		require.LessOrEqual(t, delay, time.Hour)
		seen[delay] = true
	}
	require.Greater(t, len(seen), 50)
}

func TestPolicyKeepsItsBounds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		first := rapid.Int64Range(int64(time.Millisecond), int64(time.Hour)).Draw(t, "first")
		policy := core.Policy{
			MaxRetries: rapid.IntRange(0, 50).Draw(t, "retries"),
			FirstDelay: time.Duration(first),
			Factor:     rapid.Float64Range(1, 10).Draw(t, "factor"),
			MaxDelay:   time.Duration(rapid.Int64Range(first, int64(7*24*time.Hour)).Draw(t, "most")),
			Jitter:     rapid.Float64Range(0, 1).Draw(t, "jitter"),
		}
		base := delays(t, policy)
		require.Len(t, base, policy.MaxRetries, "it is exhausted after exactly this many retries")
		for i, want := range base {
			require.GreaterOrEqual(t, want, policy.FirstDelay)
			require.LessOrEqual(t, want, policy.MaxDelay)
			if i > 0 {
				require.GreaterOrEqual(t, want, base[i-1], "a later wait is never shorter")
			}
			got, again := policy.Next(i + 1)
			require.True(t, again)
			require.InDelta(t, want, got, float64(want)*policy.Jitter+1)
			require.GreaterOrEqual(t, got, time.Duration(0))
			require.LessOrEqual(t, got, policy.MaxDelay, "the greatest wait is the greatest, however it varies")
		}
		_, again := policy.Next(policy.MaxRetries + 1)
		require.False(t, again)
	})
}
