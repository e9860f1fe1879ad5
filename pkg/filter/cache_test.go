package filter_test

import (
	"fmt"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/filter"
)

func TestTheSameSourceIsTheSameFilter(t *testing.T) {
	t.Parallel()
	var cache filter.Cache
	a, b, other := cache.Get(`event.a == 1`), cache.Get(`event.a == 1`), cache.Get(`event.a == 2`)
	require.Same(t, a, b)
	require.NotSame(t, a, other)
	require.Equal(t, 2, cache.Len())
	require.Equal(t, `event.a == 1`, a.Source())
	e := event(t, `{"a": 1}`)
	got, err := a.Match(e)
	require.NoError(t, err)
	require.True(t, got)
	got, err = other.Match(e)
	require.NoError(t, err)
	require.False(t, got)
	runtime.KeepAlive(b)
}

func TestAFilterThatDoesNotCompileSaysSoEachTime(t *testing.T) {
	t.Parallel()
	var cache filter.Cache
	shared := cache.Get(`event.a ==`)
	for range 2 {
		got, err := shared.Match(event(t, `{"a": 1}`))
		var wrong *filter.SourceError
		require.ErrorAs(t, err, &wrong)
		require.False(t, got)
	}
}

func TestAFilterThatNobodyUsesIsForgotten(t *testing.T) {
	t.Parallel()
	var cache filter.Cache
	kept := cache.Get(`event.kept == true`)
	for i := range 1000 {
		cache.Get(fmt.Sprintf(`event.a == %d`, i))
	}
	require.Eventually(t, func() bool {
		runtime.GC()
		return cache.Len() == 1
	}, 10*time.Second, 10*time.Millisecond)
	require.Same(t, kept, cache.Get(`event.kept == true`))
}

func TestTheCacheServesManyAtOnce(t *testing.T) {
	t.Parallel()
	var cache filter.Cache
	e := event(t, `{"a": 3}`)
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for i := range 500 {
				n := (worker + i) % 10
				got, err := cache.Get(fmt.Sprintf(`event.a == %d`, n)).Match(e)
				if err != nil || got != (n == 3) {
					t.Errorf("event.a == %d: %v, %v", n, got, err)
					return
				}
				if i%100 == 0 {
					runtime.GC()
				}
			}
		})
	}
	wg.Wait()
}
