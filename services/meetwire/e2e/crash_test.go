package e2e_test

import (
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/bus"
)

// TestKilledServicesLoseNothing kills ingest, and then delivery, in the middle of 2,000 events. The ledger compares
// what was published with what arrived.
func TestKilledServicesLoseNothing(t *testing.T) {
	t.Parallel()
	const events = 2000
	for _, victim := range []string{"ingest", "delivery"} {
		t.Run(victim, func(t *testing.T) {
			t.Parallel()
			i := processesOf(t)
			o := i.tenant(t)
			r := newReceiver(t)
			o.webhook(t, r, "", "meeting.booked")
			o.inForce(t)
			var killed sync.Once
			for n := range events {
				o.publish(t, "meeting.booked", "/scheduler", "e"+strconv.Itoa(n))
				if r.count() > events/4 || n == events/2 {
					killed.Do(func() { i.kill(t, victim); i.restart(t, victim) })
				}
			}
			ledger := func() (arrived map[string]int) {
				arrived = make(map[string]int, events)
				for _, request := range r.requests() {
					arrived[request.header.Get("webhook-id")]++
				}
				return arrived
			}
			require.Eventually(t, func() bool { return len(ledger()) == events }, patience, 100*time.Millisecond,
				"%d of %d deliveries arrived", len(ledger()), events)
			duplicates := r.count() - events
			t.Logf("%s killed: %d events published, %d deliveries arrived, %d duplicates", victim, events, len(ledger()), duplicates)
			for n := range 10 {
				id := bus.DeliveryID(o.name, "/scheduler", "e"+strconv.Itoa(n*events/10), hookOf(t, o))
				require.Contains(t, ledger(), id)
			}
			if victim == "ingest" {
				require.Zero(t, duplicates, "a repeated fan-out is recognized")
			} else {
				// At most what was being sent, or sent and not yet acknowledged, when it died.
				require.LessOrEqual(t, duplicates, 1000)
			}
		})
	}
}

func hookOf(t *testing.T, o *tenant) string {
	t.Helper()
	var list struct{ Webhooks []hook }
	o.do(t, "GET", o.path("/webhooks"), "", &list)
	for _, h := range list.Webhooks {
		return h.id()
	}
	require.Fail(t, "no webhook")
	return ""
}
