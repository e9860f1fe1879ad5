package e2e_test

import (
	"encoding/json"
	"flag"
	"math/rand/v2"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/bus"
)

// kills is how often a service is killed: 50 times by `make chaos`.
var kills = flag.Int("kills", 5, "how often TestKilledAgainAndAgain kills a service") //nolint:gochecknoglobals // a test flag

// Load during the kills.
const (
	chaosFanOut = 5
	chaosAhead  = 2000 // deliveries that may be on their way
)

// TestKilledAgainAndAgain kills a service with SIGKILL at random moments under load, each time before it has worked off
// what the time before has left behind. The ledger compares every event and webhook with what arrived.
func TestKilledAgainAndAgain(t *testing.T) {
	t.Parallel()
	for _, victim := range []string{"ingest", "delivery"} {
		t.Run(victim, func(t *testing.T) {
			t.Parallel()
			i := processesOf(t)
			o := i.tenant(t)
			r := newReceiver(t)
			webhooks := make([]string, chaosFanOut)
			for n := range webhooks {
				webhooks[n] = o.webhook(t, r, "", "meeting.booked").id()
			}
			o.inForce(t)
			events := 0
			publish := func() {
				require.Eventually(t, func() bool { return events*chaosFanOut-r.count() < chaosAhead }, patience, time.Millisecond)
				o.publish(t, "meeting.booked", "/scheduler", "e"+strconv.Itoa(events))
				events++
			}
			for range *kills {
				for range rand.IntN(400) + 20 {
					publish()
				}
				i.kill(t, victim)
				for range rand.IntN(20) {
					o.publish(t, "meeting.booked", "/scheduler", "e"+strconv.Itoa(events)) // nobody works on it
					events++
				}
				i.restart(t, victim)
			}
			want := make(map[string]bool, events*chaosFanOut)
			for n := range events {
				for _, webhook := range webhooks {
					want[bus.DeliveryID(o.name, "/scheduler", "e"+strconv.Itoa(n), webhook)] = true
				}
			}
			all := func() bool { return len(r.arrivals()) >= len(want) }
			poisoned := func() int {
				var answer struct{ Deliveries []delivery }
				status, body := o.call(t, o.key, http.MethodGet, o.path("/deliveries?pageSize=1000&filter=state%3DSTATE_DEAD_LETTERED"), "")
				if status != http.StatusOK {
					return 0 // it is starting
				}
				require.NoError(t, json.Unmarshal([]byte(body), &answer))
				return len(answer.Deliveries)
			}
			require.Eventually(t, func() bool { return all() || len(r.arrivals())+poisoned() >= len(want) }, 2*patience, time.Second,
				"%s killed %d times: not all of %d deliveries arrived", victim, *kills, len(want))
			// Killed time and again, a delivery may have been taken up more than ten times without a result. It is a dead
			// letter then, as one that makes its process die has to be.
			dead := len(want) - len(r.arrivals())
			if dead > 0 {
				o.awaitOperation(t, o.begin(t, o.path("/deadLetters:replay"), `{"filter":"reason = poison","rate":1000}`).Name, "STATE_SUCCEEDED")
				require.Eventually(t, all, 2*patience, 100*time.Millisecond, "%d dead letters were replayed", dead)
			}
			got := r.arrivals()
			duplicates := 0
			for id, times := range got {
				require.True(t, want[id], "delivery %s is none of ours", id)
				duplicates += times - 1
			}
			t.Logf("%s killed %d times: %d events, %d deliveries, %d duplicates, %d replayed as poison", victim, *kills, events, len(got), duplicates, dead)
			if victim == "ingest" {
				require.Zero(t, duplicates, "a repeated fan-out is recognized")
			}
		})
	}
}

// arrivals returns how often each delivery has arrived.
func (r *receiver) arrivals() map[string]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	times := make(map[string]int, len(r.got))
	for _, request := range r.got {
		times[request.header.Get("webhook-id")]++
	}
	return times
}
