package e2e_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/webhook"
)

// tenant is an organization of one test.
type tenant struct {
	*installation
	name string
	key  string // an admin's
}

func (i *installation) tenant(t *testing.T) *tenant {
	t.Helper()
	org := &tenant{installation: i, name: "t-" + uuid.NewString()[:8]}
	status, body := i.call(t, i.key, "POST", "/v1/organizations?organization_id="+org.name, `{"displayName":"Test","allowHttp":true}`)
	require.Equal(t, 200, status, body)
	org.key = org.newKey(t, "ROLE_ADMIN")
	// A key is known everywhere within a second.
	require.Eventually(t, func() bool {
		deliveries, _ := i.call(t, org.key, "GET", org.path("/deliveries"), "")
		events, _ := i.call(t, org.key, "POST", org.path("/events"), "{}")
		return deliveries == 200 && events == 400
	}, patience, 5*time.Millisecond)
	return org
}

func (o *tenant) newKey(t *testing.T, role string) string {
	t.Helper()
	status, body := o.call(t, o.installation.key, "POST", o.path("/apiKeys"), `{"displayName":"Test","role":"`+role+`"}`)
	require.Equal(t, 200, status, body)
	var key struct{ Key string }
	require.NoError(t, json.Unmarshal([]byte(body), &key))
	return key.Key
}

func (o *tenant) path(rest string) string { return "/v1/organizations/" + o.name + rest }

// do makes a REST call as the tenant's admin, which must succeed.
func (o *tenant) do(t *testing.T, method, path, body string, into any) {
	t.Helper()
	status, answer := o.call(t, o.key, method, path, body)
	require.Less(t, status, 300, "%s %s: %s", method, path, answer)
	if into != nil {
		require.NoError(t, json.Unmarshal([]byte(answer), into), answer)
	}
}

// hook is a webhook as REST shows it.
type hook struct {
	Name, Secret, Etag, TargetURL, Dialect, Status, StatusReason string
	Generation                                                   string // JSON has 64-bit integers as text
}

func (h *hook) id() string { return h.Name[strings.LastIndex(h.Name, "/")+1:] }

// webhook makes a webhook; more is JSON of further fields, with a comma in front.
func (o *tenant) webhook(t *testing.T, r *receiver, more string, triggers ...string) *hook {
	t.Helper()
	names, err := json.Marshal(triggers)
	require.NoError(t, err)
	secret, err := webhook.NewSecret()
	require.NoError(t, err)
	created := &hook{}
	o.do(t, "POST", o.path("/webhooks"), fmt.Sprintf(`{"displayName":"Test","targetUrl":%q,"triggers":%s,"secret":%q%s}`,
		r.server.URL, names, secret, more), created)
	require.Equal(t, secret, created.Secret)
	r.trust(t, secret)
	return created
}

// inForce waits until what the tenant configured before is in force. It asks with an event of a trigger that the caller
// does not use. That a second is enough is for testConfiguration to hold: here a busy machine may take longer.
func (o *tenant) inForce(t *testing.T) {
	t.Helper()
	probe := newReceiver(t)
	h := o.webhook(t, probe, "", "assessment.completed")
	deadline := time.Now().Add(patience)
	for probe.count() == 0 {
		require.True(t, time.Now().Before(deadline), "not in force")
		o.publish(t, "assessment.completed", "/probe", uuid.NewString())
		probe.wait(time.Now().Add(50 * time.Millisecond))
	}
	o.do(t, "DELETE", "/v1/"+h.Name, "", nil)
}

// document is an event with data that satisfies the trigger's schema.
func (o *tenant) document(t *testing.T, trigger, source, id string) string {
	t.Helper()
	return fmt.Sprintf(`{"specversion":"1.0","source":%q,"id":%q,"type":%q,"time":"2026-01-31T12:00:00Z","data":%s}`,
		source, id, trigger, o.sample(t, trigger))
}

// samples are the same in every installation.
var samples sync.Map //nolint:gochecknoglobals // shared by the tests of this package

func (o *tenant) sample(t *testing.T, trigger string) string {
	t.Helper()
	if known, ok := samples.Load(trigger); ok {
		return known.(string)
	}
	var answer struct{ Sample string }
	o.do(t, "GET", o.path("/triggers/"+trigger), "", &answer)
	samples.Store(trigger, answer.Sample)
	return answer.Sample
}

// publish publishes an event to NATS, as an internal service does, and returns the document.
func (o *tenant) publish(t *testing.T, trigger, source, id string) string {
	t.Helper()
	document := o.document(t, trigger, source, id)
	o.publishRaw(t, trigger, bus.EventMsgID(o.name, source, id), document)
	return document
}

func (o *tenant) publishRaw(t *testing.T, trigger, msgID, body string) *jetstream.PubAck {
	t.Helper()
	msg := nats.NewMsg(bus.EventSubject(o.name, trigger))
	msg.Data = []byte(body)
	ack, err := o.js.PublishMsg(t.Context(), msg, jetstream.WithMsgID(msgID))
	require.NoError(t, err)
	return ack
}

// receiver is an HTTP server that keeps what it gets. It verifies with the library of the Standard Webhooks
// project, not with ours.
type receiver struct {
	server *httptest.Server

	mu       sync.Mutex
	verifier []*standardwebhooks.Webhook
	got      []request
	answer   func(n int, r *http.Request) int // status for the n-th request, from 1
	says     string                           // body of each answer
	changed  chan struct{}
}

type request struct {
	at       time.Time
	header   http.Header
	body     string
	verified bool
	status   int
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{changed: make(chan struct{}), answer: func(int, *http.Request) int { return 200 }}
	r.server = httptest.NewServer(r)
	t.Cleanup(r.server.Close)
	return r
}

// answering makes the receiver answer with what f says.
func (r *receiver) answering(f func(n int, r *http.Request) int) *receiver {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = f
	return r
}

// saying makes the receiver answer with a body.
func (r *receiver) saying(body string) *receiver {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.says = body
	return r
}

func (r *receiver) trust(t *testing.T, secret string) {
	t.Helper()
	verifier, err := standardwebhooks.NewWebhook(secret)
	require.NoError(t, err)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.verifier = append(r.verifier, verifier)
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		http.Error(w, "cannot read the body", http.StatusBadRequest)
		return
	}
	r.mu.Lock()
	got := request{at: time.Now(), header: req.Header, body: string(body)}
	for _, verifier := range r.verifier {
		got.verified = got.verified || verifier.Verify(body, req.Header) == nil
	}
	answer, says, n := r.answer, r.says, len(r.got)+1
	r.got = append(r.got, got)
	close(r.changed)
	r.changed = make(chan struct{})
	r.mu.Unlock()

	status := answer(n, req)
	r.mu.Lock()
	r.got[n-1].status = status
	r.mu.Unlock()
	w.WriteHeader(status)
	_, _ = io.WriteString(w, says) // of what is too long the end is not read
}

func (r *receiver) requests() []request {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]request(nil), r.got...)
}

func (r *receiver) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.got)
}

// wait returns when something arrives, or at the deadline.
func (r *receiver) wait(deadline time.Time) {
	r.mu.Lock()
	changed := r.changed
	r.mu.Unlock()
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	select {
	case <-changed:
	case <-timer.C:
	}
}

// await waits for n requests and returns what has arrived.
func (r *receiver) await(t *testing.T, n int) []request {
	t.Helper()
	require.Eventually(t, func() bool { return r.count() >= n }, patience, 5*time.Millisecond, "%d requests wanted, %d came", n, r.count())
	return r.requests()
}

// delivery and attempt are as REST shows them.
type delivery struct {
	Name, Webhook, Trigger, EventSource, State, Reason string
	EventID                                            string `json:"eventId"`
	AttemptCount                                       int
}

type attempt struct {
	Name                     string
	Number, StatusCode       int
	ErrorClass, ErrorMessage string
	RequestURL               string
	NextAttemptTime          string
	RequestText              string
	ResponseText             string
	RequestBody              []byte
	ResponseBody             []byte
	ResponseTruncated        bool
}

// deliveries lists those that a filter selects.
func (o *tenant) deliveries(t *testing.T, filter string) []delivery {
	t.Helper()
	var answer struct{ Deliveries []delivery }
	o.do(t, "GET", o.path("/deliveries?pageSize=1000&filter="+url.QueryEscape(filter)), "", &answer)
	return answer.Deliveries
}

// awaitState waits for the one delivery of an event to reach a state.
func (o *tenant) awaitState(t *testing.T, eventID, state string) delivery {
	t.Helper()
	var found []delivery
	require.Eventually(t, func() bool {
		found = o.deliveries(t, fmt.Sprintf("event_id = %q AND state = %s", eventID, state))
		return len(found) == 1
	}, patience, 10*time.Millisecond, "no delivery of %s is %s", eventID, state)
	return found[0]
}

// awaitLetter waits for the one delivery of an event to be a dead letter, which is recorded before it is kept.
func (o *tenant) awaitLetter(t *testing.T, eventID string) delivery {
	t.Helper()
	d := o.awaitState(t, eventID, "STATE_DEAD_LETTERED")
	require.Eventually(t, func() bool {
		status, _ := o.call(t, o.key, "GET", "/v1/"+strings.Replace(d.Name, "/deliveries/", "/deadLetters/", 1), "")
		return status == http.StatusOK
	}, patience, tick, "no dead letter of %s", eventID)
	return d
}

func (o *tenant) attempts(t *testing.T, of delivery) []attempt {
	t.Helper()
	var answer struct{ Attempts []attempt }
	o.do(t, "GET", "/v1/"+of.Name+"/attempts", "", &answer)
	return answer.Attempts
}
