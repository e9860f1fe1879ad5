package recorder_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/services/delivery/internal/recorder"
)

func TestKeptSinceIsTheFirstDayThatIsNotCleared(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	m := &recorder.Maintainer{
		Retention:  30 * day,
		Retentions: func() map[string]time.Duration { return map[string]time.Duration{"short": 2 * day, "long": 90 * day} },
		Now:        func() time.Time { return time.Date(2026, 3, 31, 23, 59, 0, 0, time.UTC) },
	}
	require.Equal(t, time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC), m.KeptSince("acme"))
	require.Equal(t, time.Date(2026, 3, 29, 0, 0, 0, 0, time.UTC), m.KeptSince("short"))
	require.Equal(t, time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC), m.KeptSince("long"))
}
