package boot

import (
	"context"
	"runtime/debug"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestGarbageDependsOnWhatIsKept(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		kept uint64
		want int
	}{
		{0, 400}, {1, 400}, {10 << 20, 400}, {48 << 20, 400}, {64 << 20, 300}, {96 << 20, 200}, {192 << 20, 100}, {8 << 30, 100}, {1 << 62, 100},
	} {
		require.Equal(t, test.want, gcPercent(test.kept), "%d bytes", test.kept)
	}
}

// Not parallel: it is a setting of the process.
func TestGarbageIsTuned(t *testing.T) {
	before := debug.SetGCPercent(maxGarbage)
	defer debug.SetGCPercent(before)
	kept := make([]byte, 256<<20)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	tuned := make(chan struct{})
	go func() {
		defer close(tuned)
		tuneGarbage(ctx)
	}()
	require.Eventually(t, func() bool {
		debug.FreeOSMemory() // collects, after which it is known what is kept
		now := debug.SetGCPercent(100)
		debug.SetGCPercent(now)
		return now == minGarbage && kept[0] == 0
	}, 20*time.Second, 10*time.Millisecond)
	cancel()
	<-tuned
}
