package schema

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/filter"
	"github.com/meetwire/meetwire/services/ingest/internal/core"
)

// greedy is a filter that needs all the work it may cause, and no two of them are the same.
func greedy(n int) string {
	return fmt.Sprintf(`event.data.all(x, !(%d in event.data)) && event.data.all(x, event.data == event.data)`, n+2)
}

// Filters that need much must not keep a worker busy for as many times as there are webhooks, nor take away the answers of
// those that need little.
func TestFiltersShareTheWorkOfAnEvent(t *testing.T) {
	t.Parallel()
	var filters filter.Cache
	event, err := core.Parse([]byte(`{"specversion":"1.0","id":"1","source":"/s","type":"meeting.booked","data":[` +
		strings.TrimSuffix(strings.Repeat("1,", 20_000), ",") + `]}`))
	require.NoError(t, err)
	const webhooks = 2000
	began, alone, together := time.Now(), 0, 0
	for n := range webhooks {
		_, err := condition{filters.Get(greedy(n))}.Match(event)
		switch {
		case n == 0:
			require.ErrorIs(t, err, filter.ErrBudget)
			alone++
		case err == errShared: //nolint:errorlint // exactly this one
			together++
		default:
			require.ErrorIs(t, err, filter.ErrBudget)
			require.Zero(t, together, "what is spent stays spent")
			alone++
		}
		matched, err := condition{filters.Get(fmt.Sprintf(`event.id == "1" && event.type != "%d"`, n))}.Match(event)
		require.NoError(t, err)
		require.True(t, matched, "one that needs little has its own")
	}
	t.Log(time.Since(began))
	require.InDelta(t, shared/filter.Budget, alone, 1)
	require.Equal(t, webhooks-alone, together)

	// The next event begins anew.
	again, err := core.Parse(event.Raw)
	require.NoError(t, err)
	_, err = condition{filters.Get(greedy(0))}.Match(again)
	require.ErrorIs(t, err, filter.ErrBudget)
}
