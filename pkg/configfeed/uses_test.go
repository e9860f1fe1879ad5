package configfeed_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/meetwire/meetwire/pkg/configfeed"
)

// answer takes the next report and answers it.
func (e *env) answer(t *testing.T, err error) map[string]time.Time {
	t.Helper()
	r := receive(t, e.feed.reports)
	r.answer <- err
	return r.uses
}

func TestLastUsesAreReportedAndNothingIsLost(t *testing.T) {
	t.Parallel()
	e := setupWith(t, configfeed.ReportEvery(20*time.Millisecond))
	e.watcher.KeyUsed("k1")
	e.watcher.KeyUsed("k2")
	first := make(map[string]time.Time)
	for len(first) < 2 { // a report may come between the two
		for id, at := range e.answer(t, status.Error(codes.Unavailable, "away")) {
			require.WithinDuration(t, e.now(), at, patience)
			first[id] = at
		}
	}
	// What could not be reported comes again, with what is newer.
	e.ahead.Store(int64(time.Hour))
	e.watcher.KeyUsed("k2")
	e.watcher.KeyUsed("k3")
	reported := make(map[string]time.Time)
	require.Eventually(t, func() bool {
		for id, at := range e.answer(t, nil) {
			reported[id] = at
		}
		return len(reported) == 3 && reported["k2"].After(first["k2"])
	}, patience, tick)
	require.Equal(t, first["k1"], reported["k1"])
	require.WithinDuration(t, e.now(), reported["k2"], patience)
	require.WithinDuration(t, e.now(), reported["k3"], patience)
}

func TestUsesAreReportedBeforeTheWatcherStops(t *testing.T) {
	t.Parallel()
	e := setup(t)
	var using sync.WaitGroup
	for worker := range 4 {
		using.Go(func() {
			for i := range 3000 {
				e.watcher.KeyUsed(fmt.Sprintf("k%d", worker*3000+i))
			}
		})
	}
	using.Wait()
	stopped := make(chan error, 1)
	go func() { stopped <- e.stop() }()
	one, other := e.answer(t, nil), e.answer(t, nil)
	require.NoError(t, receive(t, stopped))
	require.Len(t, one, 10_000, "what one report takes")
	require.Len(t, other, 2000)
	for id := range one {
		require.NotContains(t, other, id)
	}
}

func TestNothingIsReportedWhenNoKeyWasUsed(t *testing.T) {
	t.Parallel()
	e := setupWith(t, configfeed.ReportEvery(time.Millisecond))
	s := e.stream(t)
	s.snapshot(1, organization("acme"))
	e.waitFor(t, 1)
	require.NoError(t, e.stop())
	require.Empty(t, e.feed.reports)
}
