package e2e_test

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/bus"
)

// TestWhatGoesWrong runs what goes wrong for one webhook, and then for the process that calls it.
func TestWhatGoesWrong(t *testing.T) {
	t.Parallel()
	i := processesOf(t)
	t.Run("scenarios", func(t *testing.T) {
		for name, scenario := range map[string]func(*testing.T, *installation){
			"one event, published at once in every way": testPublishedAtOnce,
			"events that nobody gets":                   testNobodyGets,
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				scenario(t, i)
			})
		}
	})
	t.Run("a worker dies", func(t *testing.T) { testWorkerDies(t, i) })
}

// post publishes an event over REST, from any goroutine.
func (o *tenant) post(ctx context.Context, document string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, o.rest+o.path("/events"), strings.NewReader(document))
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+o.key)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode >= http.StatusMultipleChoices {
		return fmt.Errorf("publish an event: %s", response.Status)
	}
	return nil
}

// testPublishedAtOnce publishes each event over NATS, with and without a message id, and over REST, at the same time.
func testPublishedAtOnce(t *testing.T, i *installation) {
	o := i.tenant(t)
	r := newReceiver(t)
	h := o.webhook(t, r, "", "meeting.booked")
	o.inForce(t)
	const events, times = 5, 4
	done := make(chan error, 3*events*times)
	for n := range events {
		id := "e" + strconv.Itoa(n)
		document := o.document(t, "meeting.booked", "/s", id)
		for range times {
			for _, header := range []nats.Header{nil, {nats.MsgIdHdr: {bus.EventMsgID(o.name, "/s", id)}}} {
				go func() {
					_, err := o.js.PublishMsg(t.Context(), &nats.Msg{Subject: bus.EventSubject(o.name, "meeting.booked"), Header: header, Data: []byte(document)})
					done <- err
				}()
			}
			go func() { done <- o.post(t.Context(), document) }()
		}
	}
	for range cap(done) {
		require.NoError(t, <-done)
	}
	for n := range events {
		o.awaitState(t, "e"+strconv.Itoa(n), "STATE_SUCCEEDED")
	}
	// What comes after all of them shows that none of them is still on its way.
	o.publish(t, "meeting.booked", "/s", "after")
	o.awaitState(t, "after", "STATE_SUCCEEDED")
	for n := range events {
		require.Equal(t, 1, r.arrived()[bus.DeliveryID(o.name, "/s", "e"+strconv.Itoa(n), h.id())])
	}
	require.Equal(t, events+1, r.count())
}

// testNobodyGets publishes what matches nothing, what is for a paused webhook, and what is for a disabled one.
func testNobodyGets(t *testing.T, i *installation) {
	o := i.tenant(t)
	r := newReceiver(t)
	paused := o.webhook(t, r, "", "meeting.booked")
	gone := newReceiver(t).answering(func(int, *http.Request) int { return http.StatusGone })
	// A retry would come long after the webhook has been disabled.
	off := o.webhook(t, gone, `,"retryPolicy":{"maxRetries":1,"firstDelay":"3600s"}`, "meeting.canceled")
	o.do(t, "POST", "/v1/"+paused.Name+":pause", "{}", nil)
	o.inForce(t)
	o.publish(t, "meeting.canceled", "/s", "gone")
	require.Eventually(t, func() bool { return o.status(t, off) == "DISABLED gone" }, patience, tick)
	o.inForce(t)
	first := o.document(t, "meeting.booked", "/s", "paused0")
	skipped := o.publishRaw(t, "meeting.booked", "", first)
	o.publish(t, "meeting.booked", "/s", "paused1")
	o.publish(t, "meeting.canceled", "/s", "disabled")
	alone := o.document(t, "contact.updated", "/s", "unmatched")
	unmatched := o.publishRaw(t, "contact.updated", "", alone)

	var matching struct{ SkippedSince, SkippedCount string }
	require.Eventually(t, func() bool {
		o.do(t, "GET", "/v1/"+paused.Name+"/matching", "", &matching)
		return matching.SkippedCount == "2"
	}, patience, tick)
	for _, event := range []struct {
		sequence      uint64
		document      string
		skipped, gets int
	}{{skipped.Sequence, first, 1, 0}, {unmatched.Sequence, alone, 0, 0}} {
		var kept struct {
			Event, AcceptTime          string
			MatchedCount, SkippedCount *int
		}
		name := o.path("/events/" + strconv.FormatUint(event.sequence, 10))
		require.Eventually(t, func() bool {
			status, body := o.call(t, o.key, "GET", name, "")
			return status == http.StatusOK && strings.Contains(body, `"matchedCount"`)
		}, patience, tick)
		o.do(t, "GET", name, "", &kept)
		require.Equal(t, event.document, kept.Event, "it stays, byte for byte")
		require.NotNil(t, kept.MatchedCount)
		require.Equal(t, event.gets, *kept.MatchedCount)
		if event.skipped > 0 {
			require.Equal(t, event.skipped, *kept.SkippedCount)
			require.Equal(t, kept.AcceptTime, matching.SkippedSince)
		}
	}
	require.Equal(t, "webhook_disabled", o.awaitState(t, "disabled", "STATE_DEAD_LETTERED").Reason)
	require.Empty(t, o.deliveries(t, fmt.Sprintf("webhook = %q", paused.Name)))
	require.Zero(t, r.count())
	require.Equal(t, 1, gone.count())
}

// testWorkerDies kills the worker while a receiver is about to say that it has an event: only that one comes again.
func testWorkerDies(t *testing.T, i *installation) {
	o := i.tenant(t)
	var held atomic.Bool
	answer := make(chan struct{})
	r := newReceiver(t).answering(func(_ int, request *http.Request) int {
		if held.Load() {
			select {
			case <-answer:
			case <-request.Context().Done():
			}
		}
		return http.StatusOK
	})
	h := o.webhook(t, r, "", "meeting.booked")
	o.inForce(t)
	o.publish(t, "meeting.booked", "/s", "done")
	o.awaitState(t, "done", "STATE_SUCCEEDED")
	held.Store(true)
	o.publish(t, "meeting.booked", "/s", "held")
	r.await(t, 2)
	i.kill(t, "delivery")
	held.Store(false)
	close(answer)
	i.restart(t, "delivery")
	i.connect(t)
	require.Equal(t, 1, o.awaitState(t, "held", "STATE_SUCCEEDED").AttemptCount, "what nobody could record was no attempt")
	o.publish(t, "meeting.booked", "/s", "after")
	o.awaitState(t, "after", "STATE_SUCCEEDED")
	for id, times := range map[string]int{"done": 1, "held": 2, "after": 1} {
		require.Equal(t, times, r.arrived()[bus.DeliveryID(o.name, "/s", id, h.id())], id)
	}
}
