package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/meetwire/meetwire/pkg/webhook"
)

// phase is what a receiver is told to expect: every event of a phase at every webhook.
type phase struct {
	Number   int  `json:"number"`
	Webhooks int  `json:"webhooks"`
	Events   int  `json:"events"`
	Verify   bool `json:"verify"` // check signatures, which the measured phases do without
}

// arrivals is what a receiver has got of a phase.
type arrivals struct {
	Arrived    int             `json:"arrived"`
	Duplicates int             `json:"duplicates"`
	Wrong      int             `json:"wrong"` // with a wrong signature or an unknown body
	Last       time.Time       `json:"last"`  // when the last one that was missing arrived
	Latencies  []time.Duration `json:"latencies"`
}

// receiver answers every webhook with 200 at once and notes when it arrived. All lines have the same.
type receiver struct {
	verifier *webhook.Verifier
	buffers  sync.Pool
	counting atomic.Pointer[counting]
}

// counting is a phase in progress.
type counting struct {
	phase
	latencies           []atomic.Int64 // nanoseconds by webhook and event; 0: has not arrived
	arrived, duplicates atomic.Int64
	wrong               atomic.Int64
	last                atomic.Int64
	complete            chan struct{}
}

func newReceiver(secret string) (*receiver, error) {
	parsed, err := webhook.ParseSecret(secret)
	if err != nil {
		return nil, err
	}
	verifier, err := webhook.NewVerifier([]webhook.Secret{parsed})
	if err != nil {
		return nil, err
	}
	r := &receiver{verifier: verifier, buffers: sync.Pool{New: func() any { return new(bytes.Buffer) }}}
	r.begin(phase{})
	return r, nil
}

// Paths of the receiver.
const (
	pathWebhook = "/webhooks/"
	pathSlow    = "/slow"
	pathBegin   = "/control/begin"
	pathResult  = "/control/result"
)

func (r *receiver) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+pathWebhook+"{index}", r.receive)
	mux.HandleFunc("POST "+pathSlow, receiveSlowly)
	mux.HandleFunc("POST "+pathBegin, r.handleBegin)
	mux.HandleFunc("GET "+pathResult, r.handleResult)
	return mux
}

// receive takes one webhook.
func (r *receiver) receive(w http.ResponseWriter, request *http.Request) {
	body := r.buffers.Get().(*bytes.Buffer) //nolint:forcetypeassert // nothing else is put there
	defer r.buffers.Put(body)
	body.Reset()
	if _, err := body.ReadFrom(http.MaxBytesReader(w, request.Body, 2*maxPayload)); err != nil {
		http.Error(w, "the body cannot be read", http.StatusBadRequest)
		return
	}
	r.take(request.PathValue("index"), request.Header, body.Bytes())
	w.WriteHeader(http.StatusOK)
}

// take notes a webhook.
func (r *receiver) take(webhook string, header http.Header, body []byte) {
	at := time.Now()
	c := r.counting.Load()
	found, err := findMark(body)
	index, indexErr := strconv.Atoi(webhook)
	switch {
	case err != nil || indexErr != nil:
		c.wrong.Add(1)
	case found.phase != c.Number:
		// Of a phase that is over: nobody counts it.
	case found.number >= c.Events || index < 0 || index >= c.Webhooks:
		c.wrong.Add(1)
	case c.Verify && r.verifier.Verify(header, body) != nil:
		c.wrong.Add(1)
	default:
		c.count(index*c.Events+found.number, at, found.published)
	}
}

// slowAnswer is how long the slow endpoint takes.
const slowAnswer = 20 * time.Millisecond

// receiveSlowly takes a webhook that nobody counts.
func receiveSlowly(w http.ResponseWriter, request *http.Request) {
	timer := time.NewTimer(slowAnswer)
	defer timer.Stop()
	select {
	case <-timer.C:
		w.WriteHeader(http.StatusOK)
	case <-request.Context().Done():
	}
}

// count notes one arrival.
func (c *counting) count(place int, at, published time.Time) {
	if !c.latencies[place].CompareAndSwap(0, int64(max(at.Sub(published), 1))) {
		c.duplicates.Add(1)
		return
	}
	if int(c.arrived.Add(1)) == c.Webhooks*c.Events {
		c.last.Store(at.UnixNano())
		close(c.complete)
	}
}

// begin forgets the phase before.
func (r *receiver) begin(p phase) {
	r.counting.Store(&counting{
		phase: p, latencies: make([]atomic.Int64, p.Webhooks*p.Events), complete: make(chan struct{}),
	})
}

func (r *receiver) handleBegin(w http.ResponseWriter, request *http.Request) {
	var p phase
	if err := json.NewDecoder(request.Body).Decode(&p); err != nil || p.Webhooks < 1 || p.Events < 1 ||
		p.Webhooks > maxFanOut || p.Events > maxDeliveries {
		http.Error(w, "a phase is expected", http.StatusBadRequest)
		return
	}
	r.begin(p)
}

// handleResult answers when everything has arrived, or with what has when the time is over.
func (r *receiver) handleResult(w http.ResponseWriter, request *http.Request) {
	limit, err := time.ParseDuration(request.FormValue("within"))
	if err != nil {
		http.Error(w, "a time is expected", http.StatusBadRequest)
		return
	}
	c := r.counting.Load()
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-c.complete:
	case <-timer.C:
	case <-request.Context().Done():
		return
	}
	_ = json.NewEncoder(w).Encode(c.arrivals()) // whoever asked notices that the answer is not whole
}

func (c *counting) arrivals() arrivals {
	a := arrivals{
		Arrived: int(c.arrived.Load()), Duplicates: int(c.duplicates.Load()), Wrong: int(c.wrong.Load()),
		Last: time.Unix(0, c.last.Load()), Latencies: make([]time.Duration, 0, len(c.latencies)),
	}
	for i := range c.latencies {
		if latency := c.latencies[i].Load(); latency != 0 {
			a.Latencies = append(a.Latencies, time.Duration(latency))
		}
	}
	return a
}

// runReceiver is the helper.
func runReceiver(ctx context.Context, _ []string, ready func(string) error) error {
	r, err := newReceiver(os.Getenv(envSecret))
	if err != nil {
		return err
	}
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	light, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return errors.Join(fmt.Errorf("listen: %w", err), listener.Close())
	}
	server := &http.Server{Handler: r.handler(), ReadHeaderTimeout: 10 * time.Second}
	served := make(chan error, 2)
	go func() { served <- server.Serve(listener) }()
	go func() { served <- r.serveLight(light) }()
	stop := func() error { return errors.Join(server.Close(), light.Close()) }
	if err := ready("http://" + listener.Addr().String() + " http://" + light.Addr().String()); err != nil {
		return errors.Join(err, stop())
	}
	select {
	case err := <-served:
		return fmt.Errorf("serve: %w", errors.Join(err, stop()))
	case <-ctx.Done():
		return stop()
	}
}
