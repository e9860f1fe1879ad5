package configfeed

import (
	"context"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/meetwire/meetwire/pkg/lifecycle"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
)

const (
	// maxReported is how many uses one report takes.
	maxReported = 10_000
	// reportWait is how long the answer to a report is waited for.
	reportWait = 5 * time.Second
	// lastReportWait is the same for a service that stops.
	lastReportWait = 3 * time.Second
)

// uses is when keys were last used, as far as it has not been reported.
type uses struct {
	mu   sync.Mutex
	last map[string]time.Time // by the id of the key
}

func newUses() *uses { return &uses{last: make(map[string]time.Time)} }

// note notes a use, unless a later one of the key is known.
func (u *uses) note(id string, at time.Time) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if at.After(u.last[id]) {
		u.last[id] = at
	}
}

// take returns what is to be reported, in the order of the ids, and forgets it.
func (u *uses) take() []*configv1.ReportApiKeyUseRequest_Use {
	u.mu.Lock()
	last := u.last
	u.last = make(map[string]time.Time)
	u.mu.Unlock()
	ids := make([]string, 0, len(last))
	for id := range last {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	all := make([]*configv1.ReportApiKeyUseRequest_Use, len(ids))
	for i, id := range ids {
		all[i] = &configv1.ReportApiKeyUseRequest_Use{ApiKey: id, LastUseTime: timestamppb.New(last[id])}
	}
	return all
}

// giveBack takes what could not be reported.
func (u *uses) giveBack(all []*configv1.ReportApiKeyUseRequest_Use) {
	for _, use := range all {
		u.note(use.GetApiKey(), use.GetLastUseTime().AsTime())
	}
}

// KeyUsed implements rpc.KeyUses: subscription hears of it within a minute.
func (w *Watcher) KeyUsed(id string) { w.uses.note(id, w.now()) }

// reportUses reports regularly which keys were used, and a last time after the context has ended.
func (w *Watcher) reportUses(ctx context.Context) {
	ticker := time.NewTicker(w.reportEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			w.report(ctx, reportWait)
		case <-ctx.Done():
			w.report(lifecycle.Grace(ctx), lastReportWait)
			return
		}
	}
}

// report reports everything that is known. What cannot be reported now is kept for the next time.
func (w *Watcher) report(ctx context.Context, wait time.Duration) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	all := w.uses.take()
	for len(all) > 0 {
		n := min(len(all), maxReported)
		if _, err := w.client.ReportApiKeyUse(ctx, &configv1.ReportApiKeyUseRequest{Uses: all[:n]}); err != nil {
			w.uses.giveBack(all)
			w.logger.Warn("uses of API keys cannot be reported now", "keys", len(all), "error", err)
			return
		}
		all = all[n:]
	}
}
