package bus

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
)

// scheduleAt begins the schedule of a timer.
const scheduleAt = "@at "

// errSchedule is returned for a message that is no timer.
var errSchedule = errors.New("not a timer")

// IsRetryTimer reports whether a subject of RETRIES is a timer's, and not that of one that has fired.
func IsRetryTimer(subject string) bool { return strings.HasPrefix(subject, "retries.at.") }

// RetrySchedule reads what ScheduleRetry has written: when a timer is due, and where it is then published.
func RetrySchedule(header nats.Header) (at time.Time, target string, err error) {
	value, ok := strings.CutPrefix(header.Get(headerSchedule), scheduleAt)
	if !ok {
		return time.Time{}, "", fmt.Errorf("%w: schedule %q", errSchedule, header.Get(headerSchedule))
	}
	at, err = time.Parse(time.RFC3339Nano, value)
	if err != nil {
		return time.Time{}, "", fmt.Errorf("%w: %w", errSchedule, err)
	}
	return at, header.Get(headerScheduleTarget), nil
}
