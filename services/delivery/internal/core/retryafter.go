package core

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// maxRetryAfter bounds how long a receiver can put off the next attempt.
const maxRetryAfter = 24 * time.Hour

// RetryDelay returns how long the receiver asks to be left alone after an attempt that ended at this time: what its
// answer 429 or 503 says in Retry-After (RFC 9110, section 10.2.3), in seconds or as a date, at most 24 hours; 0 when
// it says nothing that can be read. The next attempt is made when both this and the retry policy's wait have passed:
// a receiver can ask for a longer wait, never for a shorter one.
func (a *Attempt) RetryDelay(ended time.Time) time.Duration {
	if a.StatusCode != http.StatusTooManyRequests && a.StatusCode != http.StatusServiceUnavailable {
		return 0
	}
	value := strings.TrimSpace(a.RetryAfter)
	if isDigits(value) {
		seconds, err := strconv.ParseInt(value, 10, 64)
		if err != nil || seconds > int64(maxRetryAfter/time.Second) {
			return maxRetryAfter // more digits than a number of 64 bits has
		}
		return time.Duration(seconds) * time.Second
	}
	at, err := http.ParseTime(value)
	if err != nil {
		return 0
	}
	return min(max(at.Sub(ended), 0), maxRetryAfter)
}

func isDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}
