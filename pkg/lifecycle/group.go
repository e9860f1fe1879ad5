// Package lifecycle owns how the parts of a process start, stop and wait for each other: an ordered stop under
// one deadline, repeated attempts, readiness. It must know nothing of what the parts do, open nothing and end no
// process.
package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strings"
	"time"
)

// ErrGraceExceeded is in the error of a group that could not stop within its grace period.
var ErrGraceExceeded = errors.New("grace period exceeded")

// errEnded is the failure of a part that returned without being told to.
var errEnded = errors.New("ended by itself")

// Group runs named parts until its context ends or one of them returns. It stops them one after the other, the
// last added first, all under one grace deadline.
//
// Inside a part of another group it stops no later than that group's deadline, too.
type Group struct {
	logger *slog.Logger
	grace  time.Duration
	parts  []*part
}

type part struct {
	name   string
	run    func(context.Context) error
	cancel context.CancelFunc
	done   chan struct{}
	err    error // may be read when done is closed
}

// NewGroup makes a group whose stop may take as long as grace.
func NewGroup(logger *slog.Logger, grace time.Duration) *Group {
	return &Group{logger: logger, grace: grace}
}

// Add adds a part; not while the group runs. All parts start at once, when the group does. Its run blocks; when
// its context ends it finishes what is in flight, for which Grace has a context, and returns. When it returns
// before that, with or without an error, the whole group stops.
func (g *Group) Add(name string, run func(ctx context.Context) error) {
	g.parts = append(g.parts, &part{name: name, run: run, done: make(chan struct{})})
}

// Run runs all parts, once, and returns after the last has returned, however long that takes: nil after an
// ordered stop, else the failures, the one that came first in front. A part that panics has failed; its stack is
// in the log. ErrGraceExceeded is among the failures when the grace period was over before all had returned.
func (g *Group) Run(ctx context.Context) error {
	// Parts outlive ctx, because they are stopped one by one.
	limit, end := context.WithCancelCause(Grace(ctx))
	defer end(context.Canceled)
	values := context.WithValue(limit, graceKey{}, limit)

	ended := make(chan *part, len(g.parts))
	for _, p := range g.parts {
		var partCtx context.Context
		partCtx, p.cancel = context.WithCancel(values)
		go func() {
			defer func() {
				close(p.done)
				ended <- p
			}()
			p.err = g.call(partCtx, p)
		}()
	}

	var failures []error
	var failed *part
	select {
	case <-ctx.Done():
	case failed = <-ended:
		err := failed.err
		if err == nil {
			err = errEnded
		}
		failures = append(failures, fmt.Errorf("%s: %w", failed.name, err))
	}
	return errors.Join(append(failures, g.stop(end, failed)...)...)
}

// stop stops the parts in reverse order and returns the failures of all but the one that has failed already.
func (g *Group) stop(end context.CancelCauseFunc, failed *part) (failures []error) {
	overdue := make(chan []string, 1)
	deadline := time.AfterFunc(g.grace, func() {
		overdue <- g.running()
		end(context.DeadlineExceeded)
	})
	for i := len(g.parts) - 1; i >= 0; i-- {
		p := g.parts[i]
		p.cancel()
		<-p.done
		if p == failed || p.err == nil || isCancellation(p.err) {
			continue
		}
		failures = append(failures, fmt.Errorf("%s: %w", p.name, p.err))
	}
	if !deadline.Stop() {
		if names := <-overdue; len(names) > 0 {
			failures = append(failures, fmt.Errorf("%w: %s by %s", ErrGraceExceeded, g.grace, strings.Join(names, ", ")))
		}
	}
	return failures
}

// running returns the names of the parts that have not returned, in the order in which they are stopped.
func (g *Group) running() (names []string) {
	for i := len(g.parts) - 1; i >= 0; i-- {
		select {
		case <-g.parts[i].done:
		default:
			names = append(names, g.parts[i].name)
		}
	}
	return names
}

// call runs a part and turns its panic into an error.
func (g *Group) call(ctx context.Context, p *part) (err error) {
	defer func() {
		if r := recover(); r != nil {
			g.logger.ErrorContext(ctx, "part panicked", "part", p.name, "panic", fmt.Sprint(r), "stack", string(debug.Stack()))
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	return p.run(ctx)
}

// Stopped returns nil for an error that says nothing but that the context has ended: a part that was told to stop while it
// was starting has not failed. Any other error it returns as it is.
func Stopped(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil && isCancellation(err) {
		return nil
	}
	return err
}

// isCancellation reports whether an error says nothing but that its context was canceled, which is how a part
// may answer a stop. A failure that was joined with a cancellation is still a failure.
func isCancellation(err error) bool {
	switch wrapped := err.(type) { //nolint:errorlint // one link of a chain that is walked here
	case interface{ Unwrap() error }:
		return wrapped.Unwrap() != nil && isCancellation(wrapped.Unwrap())
	case interface{ Unwrap() []error }:
		for _, e := range wrapped.Unwrap() {
			if !isCancellation(e) {
				return false
			}
		}
		return len(wrapped.Unwrap()) > 0
	}
	return errors.Is(err, context.Canceled) // package net has an error of its own for it
}
