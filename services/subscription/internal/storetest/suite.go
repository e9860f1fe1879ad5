package storetest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/fault"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
)

// everything is more than any list of a check has.
const everything = 10_000

// errStop is what the functions that a store is given refuse with.
var errStop = fault.New(fault.FailedPrecondition, "STOP", "stop")

// suite is a store under test, with the clock that it sees. The clock is in another zone and has nanoseconds, both of
// which no store keeps.
type suite struct {
	Store

	clock *clock
}

// clock tells a time that moves a little each time it is asked, so that no two changes have the same.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

// Now returns the time.
func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(time.Microsecond)
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// stored returns the time as a store keeps it.
func (s *suite) stored() time.Time { return core.Stored(s.clock.Now()) }

// requireKind requires a fault of a kind.
func requireKind(t *testing.T, kind fault.Kind, err error, about ...any) {
	t.Helper()
	require.Error(t, err, about...)
	require.True(t, fault.Is(err, kind), "%v: %v", about, err)
}

// requireStored requires times as stores keep them.
func requireStored(t *testing.T, times ...time.Time) {
	t.Helper()
	for _, at := range times {
		require.Equal(t, time.UTC, at.Location())
		require.Equal(t, at, at.Truncate(time.Microsecond))
		require.False(t, at.IsZero())
	}
}

// together calls do n times at once and returns the errors.
func together(n int, do func(i int) error) []error {
	var wait sync.WaitGroup
	errs := make([]error, n)
	for i := range n {
		wait.Go(func() { errs[i] = do(i) })
	}
	wait.Wait()
	return errs
}

// traces is what changes leave besides the things themselves, in its order.
type traces struct {
	audit  []string   // action and resource
	feed   [][]string // the resources of each revision, those that were deleted with a minus sign
	events []string   // triggers
}

// watch returns which traces do has left.
func (s *suite) watch(t *testing.T, do func()) traces {
	t.Helper()
	before := s.revision(t)
	known := len(s.audit(t))
	s.drain(t)
	do()
	var left traces
	for _, entry := range s.audit(t)[known:] {
		left.audit = append(left.audit, string(entry.Action)+" "+entry.Resource)
	}
	for _, change := range s.changes(t, before) {
		var names []string
		for _, r := range change.GetResources() {
			name, _ := describe(r)
			names = append(names, name)
		}
		left.feed = append(left.feed, names)
	}
	for _, event := range s.drain(t) {
		left.events = append(left.events, event.Trigger)
	}
	return left
}

// leaves requires that do leaves exactly these traces.
func (s *suite) leaves(t *testing.T, want traces, do func(), about ...any) {
	t.Helper()
	require.Equal(t, want, s.watch(t, do), about...)
}

func (s *suite) revision(t *testing.T) int64 {
	t.Helper()
	revision, err := s.Revision(t.Context())
	require.NoError(t, err)
	return revision
}

// changes returns what is in the feed after a revision. There must be no gap up to the newest one.
func (s *suite) changes(t *testing.T, after int64) []*configv1.Change {
	t.Helper()
	newest := s.revision(t)
	changes, err := s.Changes(t.Context(), after, newest, everything)
	require.NoError(t, err)
	require.Len(t, changes, int(newest-after), "a revision is missing")
	for i, change := range changes {
		require.Equal(t, after+int64(i)+1, change.GetRevision())
		require.NotEmpty(t, change.GetResources())
	}
	return changes
}

// audit returns the whole audit log, the oldest first.
func (s *suite) audit(t *testing.T) []core.AuditEntry {
	t.Helper()
	entries, err := s.AuditEntries(t.Context(), core.AuditQuery{}, farFuture(), uuid.Max, everything)
	require.NoError(t, err)
	slices.Reverse(entries)
	return entries
}

// drain takes everything out of the outbox.
func (s *suite) drain(t *testing.T) []core.OutboxEvent {
	t.Helper()
	var events []core.OutboxEvent
	n, err := s.RelayOutbox(t.Context(), everything, func(_ context.Context, e core.OutboxEvent) error {
		events = append(events, e)
		return nil
	})
	require.NoError(t, err)
	require.Len(t, events, n)
	return events
}

func farFuture() time.Time { return time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC) }

// describe returns what a resource of the feed is about, with a minus sign when it was deleted, and that without.
func describe(r *configv1.Resource) (name, key string) {
	switch {
	case r.GetOrganization() != nil:
		key = "organization " + r.GetOrganization().GetId()
	case r.GetWebhook() != nil:
		key = "webhook " + r.GetWebhook().GetId()
	case r.GetTrigger() != nil:
		key = fmt.Sprintf("trigger %s/%s", r.GetTrigger().GetOrganization(), r.GetTrigger().GetId())
	case r.GetApiKey() != nil:
		key = "key " + r.GetApiKey().GetId()
	case r.GetDeletedTrigger() != nil:
		key = fmt.Sprintf("trigger %s/%s", r.GetDeletedTrigger().GetOrganization(), r.GetDeletedTrigger().GetId())
		return "-" + key, key
	case r.GetDeletedWebhook() != "":
		key = "webhook " + r.GetDeletedWebhook()
		return "-" + key, key
	case r.GetDeletedApiKey() != "":
		key = "key " + r.GetDeletedApiKey()
		return "-" + key, key
	default:
		key = "organization " + r.GetDeletedOrganization()
		return "-" + key, key
	}
	return key, key
}

// walk reads a list page by page, and calls between after each page. next returns the page after a value; nil: the
// first one.
func walk[T any](t *testing.T, size int, next func(after *T) ([]T, error), between func()) []T {
	t.Helper()
	var all []T
	var after *T
	for {
		page, err := next(after)
		require.NoError(t, err)
		require.LessOrEqual(t, len(page), size)
		all = append(all, page...)
		if len(page) < size {
			return all
		}
		after = &page[size-1]
		if between != nil {
			between()
		}
	}
}
