package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// Check is one thing that must hold before a process is ready.
type Check struct {
	// Name is shown to whoever asks for readiness: it names no host.
	Name string
	// Func returns nil when the check holds. It heeds its context.
	Func func(context.Context) error
}

// CheckError is the failure of one check.
type CheckError struct {
	Name string
	Err  error
}

// Error returns the name of the check and its failure.
func (e *CheckError) Error() string { return e.Name + ": " + e.Err.Error() }

// Unwrap returns the failure of the check.
func (e *CheckError) Unwrap() error { return e.Err }

// Ready runs all checks at once, waits for all, and joins their failures, each a *CheckError. A check that
// panics has failed.
func Ready(ctx context.Context, checks ...Check) error {
	failures := make([]error, len(checks))
	var running sync.WaitGroup
	for i, check := range checks {
		running.Go(func() {
			if err := call(ctx, check.Func); err != nil {
				failures[i] = &CheckError{Name: check.Name, Err: err}
			}
		})
	}
	running.Wait()
	return errors.Join(failures...)
}

func call(ctx context.Context, f func(context.Context) error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("panic: %v", r)
		}
	}()
	return f(ctx)
}

// FailedChecks returns the names of the checks that failed, without their errors, which may tell hosts. A check
// that is made of others is named with each of those that failed: `delivery.postgres`. It returns nothing for an
// error that comes from no check.
func FailedChecks(err error) []string {
	switch e := err.(type) { //nolint:errorlint // walks the whole tree
	case *CheckError:
		inner := FailedChecks(e.Err)
		if len(inner) == 0 {
			return []string{e.Name}
		}
		for i := range inner {
			inner[i] = e.Name + "." + inner[i]
		}
		return inner
	case interface{ Unwrap() error }:
		return FailedChecks(e.Unwrap())
	case interface{ Unwrap() []error }:
		var names []string
		for _, one := range e.Unwrap() {
			names = append(names, FailedChecks(one)...)
		}
		return names
	}
	return nil
}
