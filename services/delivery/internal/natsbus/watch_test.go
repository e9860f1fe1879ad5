package natsbus

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/bus"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

// watched is a record that a watcher was given.
type watched struct {
	id     string
	missed uint64
}

// watch begins to watch, and returns what comes, and how it has ended.
func (e *environment) watch(t *testing.T, ctx context.Context, organization, webhook string, behind uint64) (<-chan watched, <-chan error) {
	t.Helper()
	begun, seen, ended := make(chan struct{}), make(chan watched), make(chan error, 1)
	go func() {
		watcher := &Watcher{JetStream: e.js, Behind: behind}
		ended <- watcher.Watch(ctx, organization, webhook, func() error { close(begun); return nil }, func(record *deliveryv1.Record, missed uint64) error {
			select {
			case seen <- watched{record.GetId(), missed}:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	select {
	case <-begun:
	case err := <-ended:
		require.NoError(t, err)
	}
	return seen, ended
}

// record publishes the record of an attempt for a webhook.
func (e *environment) record(t *testing.T, organization, webhook string) *core.Record {
	t.Helper()
	task := task()
	task.Organization, task.Webhook = organization, webhook
	record := succeeded(task)
	require.NoError(t, e.queue.Record(newContext(t), record)())
	return record
}

func TestWatchersSeeWhatIsTheirs(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.record(t, "acme", hook) // before anybody watches
	ctx, cancel := context.WithCancel(newContext(t))
	defer cancel()
	one, oneEnded := e.watch(t, ctx, "acme", hook, 0)
	organization, organizationEnded := e.watch(t, ctx, "acme", bus.AnyToken, 0)
	all, allEnded := e.watch(t, ctx, bus.AnyToken, bus.AnyToken, 0)

	_, err := e.js.Publish(ctx, bus.RecordSubject("acme", hook), []byte("\xff no record"))
	require.NoError(t, err)
	first, second, third := e.record(t, "acme", hook), e.record(t, "acme", otherHook), e.record(t, "globex", hook)
	require.Equal(t, watched{id: first.ID}, <-one)
	for _, want := range []*core.Record{first, second} {
		require.Equal(t, watched{id: want.ID}, <-organization)
	}
	for _, want := range []*core.Record{first, second, third} {
		require.Equal(t, watched{id: want.ID}, <-all)
	}
	cancel()
	for _, ended := range []<-chan error{oneEnded, organizationEnded, allEnded} {
		require.ErrorIs(t, <-ended, context.Canceled)
	}
}

func TestSlowWatcherIsToldWhatItMissed(t *testing.T) {
	t.Parallel()
	e := setup(t)
	ctx, cancel := context.WithCancel(newContext(t))
	defer cancel()
	seen, ended := e.watch(t, ctx, "acme", hook, 100)
	const count = 500
	for range count {
		e.record(t, "acme", hook) // nobody takes them meanwhile
	}
	met, missed := 0, uint64(0)
	require.Eventually(t, func() bool {
		select {
		case w := <-seen:
			met++
			missed += w.missed
		default:
			if met > 0 {
				e.record(t, "acme", hook) // something must come that can tell
			}
		}
		return missed > 0
	}, patience, tick)
	require.Greater(t, missed, uint64(100))
	require.Less(t, met, count)
	cancel()
	require.ErrorIs(t, <-ended, context.Canceled)
}

func TestWatchingGoesOnAfterARestartOfNATS(t *testing.T) {
	t.Parallel()
	e := setup(t)
	ctx, cancel := context.WithCancel(newContext(t))
	defer cancel()
	seen, ended := e.watch(t, ctx, "acme", bus.AnyToken, 0)
	first := e.record(t, "acme", hook)
	require.Equal(t, first.ID, (<-seen).id)
	e.server.Restart(t)
	second := e.record(t, "acme", hook)
	require.Equal(t, second.ID, (<-seen).id)
	cancel()
	require.ErrorIs(t, <-ended, context.Canceled)
}

func TestErrorOfAWatcherEndsIt(t *testing.T) {
	t.Parallel()
	e := setup(t)
	refused := errors.New("refused")
	watcher := &Watcher{JetStream: e.js}
	err := watcher.Watch(newContext(t), "acme", hook, func() error { return refused }, nil)
	require.ErrorIs(t, err, refused)
	err = watcher.Watch(newContext(t), "acme", hook, func() error {
		e.record(t, "acme", hook)
		return nil
	}, func(record *deliveryv1.Record, _ uint64) error { return fmt.Errorf("%s: %w", record.GetId(), refused) })
	require.ErrorIs(t, err, refused)
}
