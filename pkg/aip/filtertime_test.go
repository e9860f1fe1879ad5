package aip_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/aip"
	"github.com/meetwire/meetwire/pkg/fault"
)

func TestParseTimeFilter(t *testing.T) {
	t.Parallel()
	may, june := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC), time.Date(2026, 6, 1, 10, 30, 0, 5, time.UTC)
	for filter, want := range map[string]struct {
		values map[string]string
		times  aip.TimeRange
	}{
		``:                                      {map[string]string{}, aip.TimeRange{}},
		`action = "x"`:                          {map[string]string{"action": "x"}, aip.TimeRange{}},
		`action = pause`:                        {map[string]string{"action": "pause"}, aip.TimeRange{}},
		`create_time >= "2026-05-01T00:00:00Z"`: {map[string]string{}, aip.TimeRange{From: may}},
		`create_time < "2026-06-01T12:30:00.000000005+02:00"`: {map[string]string{}, aip.TimeRange{Before: june}},
		`create_time < "2026-06-01T10:30:00.000000005Z" AND actor = "apiKeys/a" AND (create_time >= "2026-05-01T00:00:00Z")`: {
			map[string]string{"actor": "apiKeys/a"}, aip.TimeRange{From: may, Before: june},
		},
	} {
		values, times, err := aip.ParseTimeFilter(filter, "create_time", "actor", "action")
		require.NoError(t, err, filter)
		require.Equal(t, want.values, values, filter)
		require.Equal(t, want.times, times, filter)
	}
}

func TestParseTimeFilterSaysWhatIsAllowed(t *testing.T) {
	t.Parallel()
	for _, filter := range []string{
		`create_time = "2026-05-01T00:00:00Z"`, `create_time > "2026-05-01T00:00:00Z"`, `create_time <= "2026-05-01T00:00:00Z"`,
		`create_time >= "yesterday"`, `create_time >= 2026`, `create_time >= "2026-05-01"`, `create_time >= "0001-01-01T00:00:00Z"`,
		`create_time >= "2026-05-01T00:00:00Z" AND create_time >= "2026-05-01T00:00:00Z"`, `create_time >= actor`,
		`actor >= "2026-05-01T00:00:00Z"`, `actor < "x"`, `update_time < "2026-05-01T00:00:00Z"`,
		`create_time >= "2026-05-01T00:00:00Z" OR actor = "x"`, `NOT create_time >= "2026-05-01T00:00:00Z"`,
	} {
		_, _, err := aip.ParseTimeFilter(filter, "create_time", "actor", "action")
		require.True(t, fault.Is(err, fault.InvalidArgument), "%s: %v", filter, err)
		require.ErrorContains(t, err, "filter: ")
		require.ErrorContains(t, err, "actor", filter)
	}
	_, err := aip.ParseFilter(`create_time >= "2026-05-01T00:00:00Z"`, "create_time")
	require.True(t, fault.Is(err, fault.InvalidArgument), "only where a list has a time")
}
