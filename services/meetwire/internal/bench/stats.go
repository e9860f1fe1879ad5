package bench

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// percentile returns the smallest value that at least p percent of the values do not exceed (nearest rank); 0 of
// none. It sorts the values.
func percentile(values []time.Duration, p float64) time.Duration {
	if len(values) == 0 {
		return 0
	}
	slices.Sort(values)
	rank := int(math.Ceil(p / 100 * float64(len(values))))
	return values[min(max(rank, 1), len(values))-1]
}

// number is what a median can be taken of.
type number interface {
	cmp.Ordered
	~int | ~int64 | ~float64
}

// median returns the value in the middle, or between the two in the middle; 0 of none.
func median[N number](values []N) N {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	middle := len(sorted) / 2
	if len(sorted)%2 == 1 {
		return sorted[middle]
	}
	return (sorted[middle-1] + sorted[middle]) / 2
}
