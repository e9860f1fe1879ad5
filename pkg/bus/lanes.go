package bus

import (
	"context"

	"golang.org/x/sync/errgroup"
)

// RunLanes runs one call of run for every lane that comes through the channel, each lane once, and adds calls
// as lanes are added. It returns after the context has ended, or a call has failed, and all calls have returned,
// with the first failure.
func RunLanes(ctx context.Context, lanes <-chan []string, run func(ctx context.Context, lane string) error) error {
	group, ctx := errgroup.WithContext(ctx)
	running := make(map[string]bool)
	for {
		select {
		case <-ctx.Done():
			return group.Wait()
		case now := <-lanes:
			for _, lane := range now {
				if running[lane] {
					continue
				}
				running[lane] = true
				group.Go(func() error { return run(ctx, lane) })
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
