package boot

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestGarbageDependsOnWhatIsKeptAndAllocated(t *testing.T) {
	t.Parallel()
	const mib = 1 << 20
	for _, test := range []struct {
		kept, perSecond, allowed uint64
		want                     int
	}{
		{0, 0, 0, 400}, {1, 1 << 40, 0, 400}, {10 * mib, 1 << 40, 0, 400}, {48 * mib, 0, 0, 400}, // in proportion
		{64 * mib, 0, 0, 300}, {96 * mib, 0, 0, 200}, {192 * mib, 0, 0, 100}, {8 << 30, 0, 0, 100}, {1 << 62, 1 << 62, 0, 100},
		{10 * mib, 10 * mib, 384 * mib, 400}, {10 * mib, 20 * mib, 384 * mib, 600}, // three seconds
		{10 * mib, 128 * mib, 384 * mib, 3840}, {10 * mib, 1 << 63, 384 * mib, 3840}, // no more than that
		{96 * mib, 1 << 40, 384 * mib, 400}, {384 * mib, 1 << 40, 384 * mib, 100}, {0, 1 << 40, 384 * mib, 9600},
	} {
		var g garbage
		g.allowed.Store(test.allowed)
		require.Equal(t, test.want, g.percent(test.kept, test.perSecond), "%+v", test)
	}
}

func TestWhatABusyProcessAllocatedCountsForMinutes(t *testing.T) {
	t.Parallel()
	const before = 100 << 20
	g, rate := newGarbage(), uint64(before)
	require.EqualValues(t, 2*before, g.remembered(before, 2*before))
	for range 60 {
		rate = g.remembered(rate, 1)
	}
	require.Greater(t, rate, uint64(before*3/4), "after a minute")
	for range 14 * 60 {
		rate = g.remembered(rate, 1)
	}
	require.Less(t, rate, uint64(before/20), "after a quarter of an hour")
}

// Not parallel: it is a setting of the process.
func TestGarbageIsTuned(t *testing.T) {
	before := debug.SetGCPercent(maxGarbage)
	defer debug.SetGCPercent(before)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	runtime, _ := setup(t)
	runtime.garbage.decline = 2
	tuned := make(chan struct{})
	go func() {
		defer close(tuned)
		runtime.garbage.run(ctx)
	}()
	percent := func() int {
		sample := []metrics.Sample{{Name: "/gc/gogc:percent"}}
		metrics.Read(sample)
		return int(sample[0].Value.Uint64())
	}
	allocate := func() bool { return make([]byte, 1<<20)[0] == 0 }
	runtime.AllowGarbage(384 << 20)
	require.Eventually(t, func() bool { return allocate() && percent() > 2*maxGarbage }, 20*time.Second, 10*time.Millisecond, "while much is allocated")
	require.Eventually(t, func() bool { return percent() <= maxGarbage*5/4 }, 20*time.Second, 10*time.Millisecond, "when little is any more")
	kept := make([]byte, 256<<20)
	require.Eventually(t, func() bool {
		debug.FreeOSMemory() // collects, after which it is known what is kept
		return percent() <= minGarbage*5/4 && kept[0] == 0
	}, 20*time.Second, 100*time.Millisecond, "when much is kept")
	cancel()
	<-tuned
}
