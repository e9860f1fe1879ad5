package lifecycle

import "context"

// graceKey is the key of the context that ends with a group's grace deadline.
type graceKey struct{}

// Grace returns a context with the values of ctx that outlives ctx, for finishing what is in flight. It ends
// with context.DeadlineExceeded when the grace period of the group, in a part of which it is called, is over, and
// with context.Canceled after the group has stopped. As nobody knows when a stop will begin, it has no Deadline.
// Outside a group it never ends.
func Grace(ctx context.Context) context.Context {
	values := context.WithoutCancel(ctx)
	limit, ok := ctx.Value(graceKey{}).(context.Context)
	if !ok {
		return values
	}
	return graceContext{Context: values, limit: limit}
}

// graceContext has the values of one context and the end of another.
type graceContext struct {
	context.Context

	limit context.Context
}

// Done implements context.Context.
func (c graceContext) Done() <-chan struct{} { return c.limit.Done() }

// Err implements context.Context. The limit is canceled either way; its cause says whether time was up.
func (c graceContext) Err() error { return context.Cause(c.limit) }

// AfterFunc saves package context a goroutine for every context that is derived from this one.
func (c graceContext) AfterFunc(f func()) (stop func() bool) { return context.AfterFunc(c.limit, f) }
