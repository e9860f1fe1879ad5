package bus

import (
	"context"
	"sync"

	"golang.org/x/sync/errgroup"
)

// RunLanes runs one call of run for every lane that comes through the channel, each lane once, and adds calls
// as lanes are added. It returns after the context has ended, or the first call has failed, and all calls have
// returned.
func RunLanes(ctx context.Context, lanes <-chan []string, run func(ctx context.Context, lane string) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var calls sync.WaitGroup
	defer calls.Wait()

	running := make(map[string]bool)
	for {
		select {
		case <-ctx.Done():
			calls.Wait()
			if cause := context.Cause(ctx); cause != ctx.Err() { //nolint:errorlint // identity: has a call failed, or the parent ended?
				return cause
			}
			return nil
		case now := <-lanes:
			for _, lane := range now {
				if running[lane] {
					continue
				}
				running[lane] = true
				calls.Go(func() {
					if err := run(ctx, lane); err != nil {
						cancel(err)
					}
				})
			}
		}
	}
}

// RunAll runs all functions at once and returns after every one has. The first that fails ends the others.
func RunAll(ctx context.Context, functions ...func(context.Context) error) error {
	group, ctx := errgroup.WithContext(ctx)
	for _, function := range functions {
		group.Go(func() error { return function(ctx) })
	}
	return group.Wait()
}
