package core_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

func TestRetryDelay(t *testing.T) {
	t.Parallel()
	ended := time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	for value, want := range map[string]time.Duration{
		"":                                 0,
		"0":                                0,
		"7":                                7 * time.Second,
		" 7 ":                              7 * time.Second,
		"86400":                            24 * time.Hour,
		"86401":                            24 * time.Hour,
		"99999999999999999999999999":       24 * time.Hour,
		"-7":                               0,
		"+7":                               0,
		"1.5":                              0,
		"soon":                             0,
		"Sat, 31 Jan 2026 12:01:00 GMT":    time.Minute,
		"Saturday, 31-Jan-26 12:01:00 GMT": time.Minute,
		"Sat Jan 31 12:01:00 2026":         time.Minute,
		"Sat, 31 Jan 2026 11:59:00 GMT":    0,
		"Sun, 31 Jan 2027 12:00:00 GMT":    24 * time.Hour,
	} {
		for _, status := range []int{http.StatusTooManyRequests, http.StatusServiceUnavailable} {
			attempt := core.Attempt{StatusCode: status, RetryAfter: value}
			require.Equal(t, want, attempt.RetryDelay(ended), "%q", value)
		}
		attempt := core.Attempt{StatusCode: http.StatusInternalServerError, RetryAfter: value}
		require.Zero(t, attempt.RetryDelay(ended), "it means something after 429 and 503 only")
	}
}

func FuzzRetryDelay(f *testing.F) {
	f.Add("7")
	f.Add("Sat, 31 Jan 2026 12:01:00 GMT")
	f.Fuzz(func(t *testing.T, value string) {
		attempt := core.Attempt{StatusCode: http.StatusTooManyRequests, RetryAfter: value}
		got := attempt.RetryDelay(time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC))
		require.GreaterOrEqual(t, got, time.Duration(0))
		require.LessOrEqual(t, got, 24*time.Hour)
	})
}
