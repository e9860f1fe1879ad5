package boot

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// How much a process allocates between two collections of garbage, unless GOGC says so: services make much garbage and keep
// little, and with Go's default, as much as is kept, have a sixth of their time spent on collecting it. Several times as much
// as is kept costs little while that is little. A large configuration, which is kept, must not make a process several times
// as large.
const (
	minGarbage    = 100       // in percent of what is kept
	maxGarbage    = 400       // the same
	spareGarbage  = 192 << 20 // bytes: what may be used for it beyond the first
	garbagePeriod = time.Second
)

// gcPercent is what GOGC is to be when so many bytes are kept.
func gcPercent(kept uint64) int {
	return int(min(max(uint64(spareGarbage)*100/max(kept, 1), minGarbage), maxGarbage))
}

// tuneGarbage has garbage collected as seldom as is reasonable for what the process keeps, until the context ends.
func tuneGarbage(ctx context.Context) {
	kept := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	ticker := time.NewTicker(garbagePeriod)
	defer ticker.Stop()
	for now := maxGarbage; ; {
		metrics.Read(kept)
		if wanted := gcPercent(kept[0].Value.Uint64()); wanted < now || wanted > now*5/4 {
			now = wanted
			debug.SetGCPercent(now)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}
