package delivery_test

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/secret"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	"github.com/meetwire/meetwire/services/delivery"
)

// wire is the line between a service and NATS.
type wire struct {
	server, url string
	copies      sync.WaitGroup

	mu     sync.Mutex
	open   map[net.Conn]struct{}
	mark   []byte        // of what the server is to get without being heard; empty: nothing
	marked chan struct{} // closed when that is on its way
	deaf   bool          // what the server says is lost
	cut    bool          // nobody gets through
}

// newWire makes a line to the NATS of the installation.
func newWire(t *testing.T, i *installation) *wire {
	t.Helper()
	listener := listen(t)
	w := &wire{server: i.nats.URL()[len("nats://"):], url: "nats://" + listener.Addr().String(), open: make(map[net.Conn]struct{})}
	w.copies.Go(func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			w.join(near)
		}
	})
	t.Cleanup(func() {
		require.NoError(t, listener.Close())
		w.sever()
		w.copies.Wait()
	})
	return w
}

// join connects a client with the server.
func (w *wire) join(near net.Conn) {
	far, err := (&net.Dialer{Timeout: patience}).Dial("tcp", w.server)
	if err != nil {
		_ = near.Close() // the server is away
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.cut {
		_, _ = near.Close(), far.Close()
		return
	}
	w.open[near], w.open[far] = struct{}{}, struct{}{}
	w.copies.Go(func() { w.carry(near, far, w.spoken()) })
	w.copies.Go(func() { w.carry(far, near, w.heard) })
}

// carry passes on what comes, if pass says so, until one of the ends is closed.
func (w *wire) carry(from, to net.Conn, pass func([]byte) bool) {
	defer func() { _, _ = from.Close(), to.Close() }()
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 && pass(buffer[:n]) {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// spoken looks for the mark in what a client says, however that is cut up.
func (w *wire) spoken() func([]byte) bool {
	var text []byte
	return func(part []byte) bool {
		text = append(text, part...)
		w.mu.Lock()
		defer w.mu.Unlock()
		if len(w.mark) > 0 && bytes.Contains(text, w.mark) {
			w.mark, w.deaf = nil, true
			close(w.marked)
		}
		text = append(text[:0], text[max(len(text)-64, 0):]...) // longer than any mark
		return true
	}
}

func (w *wire) heard([]byte) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.deaf
}

// deafenAt has everything that the server says lost from when a client says something. That still arrives.
func (w *wire) deafenAt(mark string) (marked <-chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.mark, w.marked = []byte(mark), make(chan struct{})
	return w.marked
}

// sever closes all connections, and new ones at once.
func (w *wire) sever() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = true
	w.hangUp()
}

// mend closes what is deaf, and lets clients connect again.
func (w *wire) mend() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut, w.deaf = false, false
	w.hangUp()
}

func (w *wire) hangUp() {
	for conn := range w.open {
		_ = conn.Close()
	}
	clear(w.open)
}

// rewire runs the service, which is ready, anew over a line to NATS that can fail.
func (i *installation) rewire(t *testing.T, ackWait time.Duration) *wire {
	t.Helper()
	require.NoError(t, i.stop())
	i.config.Streams.AckWait = ackWait
	w := newWire(t, i)
	conn, err := bus.Connect(newContext(t), "meetwire-delivery", bus.NATSConfig{NATSURL: secret.New(w.url)}, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	t.Cleanup(conn.Close)
	listener, registry := listen(t), prometheus.NewRegistry()
	i.service, err = delivery.New(i.config, delivery.Deps{
		Logger: slog.New(slog.DiscardHandler), Registry: registry, DB: i.pool, NATS: conn, Scans: conn, Listener: listener,
		Subscription: dial(t, i.feedAt, i.config.ServiceToken), Grace: patience,
	})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- i.service.Run(ctx) }()
	i.stop = sync.OnceValue(func() error {
		cancel()
		return <-done
	})
	t.Cleanup(func() {
		w.mend()
		require.NoError(t, i.stop())
	})
	i.metrics, i.address = []*prometheus.Registry{registry}, listener.Addr().String()
	i.readyWhenOpen(t)
	i.callers(t)
	return w
}

// callers makes clients of the service that runs now.
func (i *installation) callers(t *testing.T) {
	t.Helper()
	known, key := newKey(t)
	i.feed.change(&configv1.Resource{Resource: &configv1.Resource_ApiKey{ApiKey: known}})
	i.call(dial(t, i.address, key))
}

// requireSettled waits until nothing is to be delivered any more.
func (i *installation) requireSettled(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool {
		return i.messages(t, bus.StreamDeliveries)+i.messages(t, bus.StreamRetries) == 0
	}, patience, tick)
}

// attempts returns the attempts of a delivery that are recorded.
func (i *installation) attempts(t *testing.T, id string) []*deliveryv1.Attempt {
	t.Helper()
	listed, err := i.delivers.ListAttempts(newContext(t), &deliveryv1.ListAttemptsRequest{Parent: "organizations/acme/deliveries/" + id})
	require.NoError(t, err)
	return listed.GetAttempts()
}

// answers answers the first requests with these statuses, and all others with the last of them.
func answers(codes ...int) func(http.ResponseWriter) {
	var n atomic.Int64
	return func(w http.ResponseWriter) { w.WriteHeader(codes[min(int(n.Add(1)), len(codes))-1]) }
}

// every is a policy of so many retries, each after a wait.
func every(wait time.Duration, retries int32) *configv1.RetryPolicy {
	return &configv1.RetryPolicy{MaxRetries: retries, FirstDelay: durationpb.New(wait), Factor: 1, MaxDelay: durationpb.New(wait)}
}

// lostAckWait is short, so that what was given out to somebody who did not hear it comes again soon.
const lostAckWait = 2 * time.Second

// The stream has stored what was published, and nobody hears that it has.
func TestServiceRepeatsWhatWasStoredUnheard(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		mark, stream string
		retries      int32
		answers      []int
		state        deliveryv1.Delivery_State
		attempts     int
	}{
		"a timer": {
			mark: "PUB retries.at.", stream: bus.StreamRetries, retries: 3, answers: []int{500, 204},
			state: deliveryv1.Delivery_STATE_SUCCEEDED, attempts: 2,
		},
		"the record of a success": {
			mark: "PUB records.", stream: bus.StreamRecords, answers: []int{204},
			state: deliveryv1.Delivery_STATE_SUCCEEDED, attempts: 1,
		},
		"the record of a failure, and its dead letter": {
			mark: "PUB records.", stream: bus.StreamDeadLetters, answers: []int{500},
			state: deliveryv1.Delivery_STATE_DEAD_LETTERED, attempts: 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i := start(t)
			i.webhook.RetryPolicy = every(time.Second, test.retries)
			i.webhook.FailureThreshold = &configv1.FailureThreshold{ConsecutiveFailures: 2}
			i.respond(answers(test.answers...))
			i.ready(t)
			w := i.rewire(t, lostAckWait)
			unheard := w.deafenAt(test.mark)
			id := i.publish(t, "bk_1")
			<-unheard
			require.Eventually(t, func() bool { return i.messages(t, test.stream) > 0 }, patience, tick, "it is stored")
			w.mend()

			for range test.attempts {
				require.Equal(t, id, i.received(t).header.Get("webhook-id"))
			}
			i.requireState(t, id, test.state, int32(test.attempts))
			i.requireSettled(t)
			require.Len(t, i.attempts(t, id), test.attempts, "what is recorded twice has happened once")
			dead := uint64(0)
			if test.state == deliveryv1.Delivery_STATE_DEAD_LETTERED {
				dead = 1
			}
			require.Equal(t, dead, i.messages(t, bus.StreamDeadLetters))
			for _, report := range i.feed.reports() {
				require.NotEqual(t, configv1.ReportWebhookHealthRequest_LEVEL_DISABLE, report.GetLevel(), "one failure is not two")
			}
			require.Empty(t, i.calls)
		})
	}
}

// A receiver that has said that it has the event is not asked again, though NATS is away for longer than AckWait.
func TestServiceHoldsASuccessWhileNATSIsAway(t *testing.T) {
	t.Parallel()
	for name, away := range map[string]func(t *testing.T, i *installation, w *wire) (back func()){
		"NATS is away": func(t *testing.T, i *installation, _ *wire) func() {
			t.Helper()
			i.nats.Shutdown()
			return func() { i.nats.Restart(t) }
		},
		"the worker is cut off": func(_ *testing.T, _ *installation, w *wire) func() {
			w.sever()
			return w.mend
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i := start(t)
			answer := make(chan struct{})
			i.respond(func(w http.ResponseWriter) {
				<-answer
				w.WriteHeader(http.StatusOK)
			})
			const ackWait = time.Second
			i.ready(t)
			w := i.rewire(t, ackWait)
			id := i.publish(t, "bk_1")
			i.received(t)
			back := away(t, i, w)
			close(answer)
			require.Eventually(t, func() bool { return metric(t, i.metrics[0], "meetwire_delivery_attempts_total") == 1 }, patience, tick)
			require.Never(t, func() bool { return len(i.calls) > 0 }, ackWait+ackWait/2, tick)
			back()
			require.Eventually(t, func() bool { return i.service.Ready(t.Context()) == nil }, patience, tick)
			i.requireState(t, id, deliveryv1.Delivery_STATE_SUCCEEDED, 1)
			require.Eventually(t, func() bool {
				stream, err := i.js.Stream(t.Context(), bus.StreamDeliveries)
				return err == nil && stream.CachedInfo().State.Msgs == 0
			}, patience, tick)
			require.Len(t, i.attempts(t, id), 1)
			require.Empty(t, i.calls)
		})
	}
}

// A receiver may take longer than a message may be worked on without a sign of life: that is given, for first tries and
// for retries.
func TestServiceKeepsWhatTakesLongerThanAckWait(t *testing.T) {
	t.Parallel()
	i := start(t)
	i.webhook.RetryPolicy = every(200*time.Millisecond, 3)
	i.ready(t)
	const ackWait = 2 * time.Second
	i.rewire(t, ackWait)
	i.run(t) // would be given what nobody seems to work on
	var n atomic.Int64
	i.respond(func(w http.ResponseWriter) {
		if n.Add(1) == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		<-time.After(ackWait + ackWait/2)
	})
	again := i.publish(t, "bk_1")
	i.received(t)
	first := i.publish(t, "bk_2")
	require.ElementsMatch(t, []string{again, first}, []string{i.received(t).header.Get("webhook-id"), i.received(t).header.Get("webhook-id")})
	i.requireState(t, again, deliveryv1.Delivery_STATE_SUCCEEDED, 2)
	i.requireState(t, first, deliveryv1.Delivery_STATE_SUCCEEDED, 1)
	i.requireSettled(t)
	require.Len(t, i.attempts(t, again), 2)
	require.Len(t, i.attempts(t, first), 1)
	require.Empty(t, i.calls, "each was made once")
}
