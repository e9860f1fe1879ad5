package core_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

func TestEngineDropsWhatWasErased(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		age    time.Duration // of the event
		state  core.State
		reason string
	}{
		"removed before its time": {age: time.Hour, state: core.StateDropped, reason: core.ReasonErased},
		"expired":                 {age: 31 * 24 * time.Hour, state: core.StateDeadLettered, reason: core.ReasonUndeliverable},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				b := setup(t)
				b.engine.EventsMaxAge = 30 * 24 * time.Hour
				task := task()
				task.Event, task.EventSequence = nil, 404
				task.AcceptedAt = b.clock.now().Add(-test.age)
				b.handle(t.Context(), task, b.first())
				record := b.record(t)
				require.Equal(t, test.state, record.State)
				require.Equal(t, test.reason, record.Reason)
			})
		})
	}
}
