package boot

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"sync/atomic"
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

// What is allowed beyond that is used by a process that is busy: it collects what it allocates in allowedTime at once. What
// it allocated per second before counts for some minutes more: memory that is given back to the system, and taken again a
// little later, costs more than what is collected in it.
const (
	allowedTime    = 3 * time.Second
	garbageDecline = 256     // this part is forgotten each second: half of it in three minutes
	leastKept      = 4 << 20 // bytes: with less, Go takes so much
)

// garbage decides how much of it a process may have.
type garbage struct {
	allowed atomic.Uint64 // bytes, however little is kept
	decline uint64        // the part of the rate of allocation that is forgotten each second
}

func newGarbage() *garbage { return &garbage{decline: garbageDecline} }

// percent is what GOGC is to be when so many bytes are kept, stacks and globals included, and so many are allocated per second.
func (g *garbage) percent(kept, perSecond uint64) int {
	kept = max(kept, leastKept)
	inProportion := min(max(spareGarbage*100/kept, minGarbage), maxGarbage)
	allowed := g.allowed.Load()
	busy := min(min(perSecond, allowed)*uint64(allowedTime/time.Second), allowed) * 100 / kept
	return int(max(inProportion, busy)) //nolint:gosec // G115: at most what is allowed, times 100
}

// remembered is what counts as allocated per second, one second after it was so much.
func (g *garbage) remembered(before, now uint64) uint64 { return max(now, before-before/g.decline) }

// run has garbage collected as seldom as is reasonable for what the process keeps and allocates, until the context ends.
func (g *garbage) run(ctx context.Context) {
	sample := []metrics.Sample{
		{Name: "/gc/heap/allocs:bytes"}, {Name: "/gc/heap/live:bytes"}, {Name: "/gc/scan/stack:bytes"}, {Name: "/gc/scan/globals:bytes"},
	}
	metrics.Read(sample)
	allocated, at := sample[0].Value.Uint64(), time.Now()
	ticker := time.NewTicker(garbagePeriod)
	defer ticker.Stop()
	perSecond := uint64(0)
	for now := maxGarbage; ; {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		metrics.Read(sample)
		seconds := max(time.Since(at), garbagePeriod/2).Seconds()
		current := uint64(float64(sample[0].Value.Uint64()-allocated) / seconds)
		allocated, at = sample[0].Value.Uint64(), time.Now()
		perSecond = g.remembered(perSecond, current)
		kept := sample[1].Value.Uint64() + sample[2].Value.Uint64() + sample[3].Value.Uint64()
		// A small change is not worth it: each stops the world.
		if wanted := g.percent(kept, perSecond); wanted < now*4/5 || wanted > now*5/4 {
			now = wanted
			debug.SetGCPercent(now)
		}
	}
}
