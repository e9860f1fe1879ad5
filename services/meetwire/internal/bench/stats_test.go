package bench

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestPercentile(t *testing.T) {
	t.Parallel()
	hundred := make([]time.Duration, 100)
	for i := range hundred {
		hundred[i] = time.Duration(i + 1)
	}
	rand.Shuffle(len(hundred), func(i, j int) { hundred[i], hundred[j] = hundred[j], hundred[i] })
	for _, c := range []struct {
		name   string
		values []time.Duration
		p      float64
		want   time.Duration
	}{
		{"of none", nil, 50, 0},
		{"of one", []time.Duration{7}, 99, 7},
		{"the smallest", hundred, 0, 1},
		{"in the middle", hundred, 50, 50},
		{"between two ranks", hundred, 50.5, 51},
		{"the last but one", hundred, 99, 99},
		{"the greatest", hundred, 100, 100},
		{"of an odd number, in any order", []time.Duration{9, 1, 5}, 50, 5},
		{"of few", []time.Duration{3, 1, 2}, 99, 3},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, c.want, percentile(append([]time.Duration(nil), c.values...), c.p))
		})
	}
}

func TestMedian(t *testing.T) {
	t.Parallel()
	require.Zero(t, median[int](nil))
	require.Equal(t, 4, median([]int{4}))
	require.Equal(t, 5, median([]int{9, 1, 5}))
	require.InDelta(t, 2.5, median([]float64{4, 1, 3, 2}), 0)
	require.Equal(t, 15*time.Millisecond, median([]time.Duration{20 * time.Millisecond, 10 * time.Millisecond}))
	values := []int{3, 1, 2}
	require.Equal(t, 2, median(values))
	require.Equal(t, []int{3, 1, 2}, values, "the order of the rounds stays")
}
