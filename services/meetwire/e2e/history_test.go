package e2e_test

import (
	"bufio"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/bus"
)

// operation is as REST shows it. JSON has 64-bit integers as text.
type operation struct {
	Name, Type, State                                                    string
	TotalCount, ProcessedCount, AffectedCount, SkippedCount, RepeatCount string
	Error                                                                struct{ Message string }
}

func (o *operation) affected(t *testing.T) int {
	t.Helper()
	return number(t, o.AffectedCount)
}

// number reads a count.
func number(t *testing.T, text string) int {
	t.Helper()
	if text == "" {
		return 0
	}
	n, err := strconv.Atoi(text)
	require.NoError(t, err)
	return n
}

// begin begins an operation.
func (o *tenant) begin(t *testing.T, path, body string) *operation {
	t.Helper()
	begun := &operation{}
	o.do(t, "POST", path, body, begun)
	return begun
}

// awaitOperation waits until an operation has ended in a state.
func (o *tenant) awaitOperation(t *testing.T, name, state string) *operation {
	t.Helper()
	current := &operation{}
	require.Eventually(t, func() bool {
		status, body := o.call(t, o.key, "GET", "/v1/"+name, "")
		if status != http.StatusOK {
			return false // its service is being started again
		}
		*current = operation{}
		require.NoError(t, json.Unmarshal([]byte(body), current))
		return current.State != "STATE_RUNNING"
	}, 2*patience, 50*time.Millisecond)
	require.Equal(t, state, current.State, "%+v", current)
	return current
}

// watch follows an operation until it has ended, and returns everything that was told.
func (o *tenant) watch(t *testing.T, name string) []operation {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, o.rest+"/v1/"+name+":watch", nil)
	require.NoError(t, err)
	request.Header.Set("Authorization", "Bearer "+o.key)
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	require.Equal(t, http.StatusOK, response.StatusCode)
	var all []operation
	lines := bufio.NewReader(response.Body)
	for {
		line, err := lines.ReadString('\n')
		if err == io.EOF {
			return all
		}
		require.NoError(t, err)
		if strings.TrimSpace(line) == "" {
			continue
		}
		var message struct{ Result operation }
		require.NoError(t, json.Unmarshal([]byte(line), &message), line)
		all = append(all, message.Result)
	}
}

// arrived counts requests by the id of the delivery.
func (r *receiver) arrived() map[string]int {
	all := make(map[string]int)
	for _, request := range r.requests() {
		all[request.header.Get("webhook-id")]++
	}
	return all
}

// history publishes events before anybody asks for them, and returns since when.
func (o *tenant) history(t *testing.T, prefix string, n int) (since string) {
	t.Helper()
	since = time.Now().Add(-time.Minute).UTC().Format(time.RFC3339Nano)
	for i := range n {
		o.publish(t, "meeting.booked", "/history", prefix+strconv.Itoa(i))
	}
	o.awaitIndexed(t, n)
	return since
}

// awaitIndexed waits until so many events are listed.
func (o *tenant) awaitIndexed(t *testing.T, n int) {
	t.Helper()
	require.Eventually(t, func() bool {
		var list struct{ Events []struct{ Name string } }
		o.do(t, "GET", o.path("/events?pageSize=1000"), "", &list)
		return len(list.Events) >= n
	}, patience, tick)
}

func TestNewWebhookIsBackfilled(t *testing.T) {
	t.Parallel()
	i := processesOf(t)
	o, stranger := i.tenant(t), i.tenant(t)
	const events = 60
	since := o.history(t, "a", events)
	stranger.publish(t, "meeting.booked", "/history", "theirs")
	r := newReceiver(t)
	h := o.webhook(t, r, "", "meeting.booked")

	dry := o.begin(t, "/v1/"+h.Name+":backfill", fmt.Sprintf(`{"startTime":%q,"dryRun":true}`, since))
	require.Equal(t, "backfill_webhook", dry.Type)
	dry = o.awaitOperation(t, dry.Name, "STATE_SUCCEEDED")
	require.Equal(t, events, dry.affected(t))
	require.Zero(t, r.count(), "a dry run sends nothing")

	// Five a second: there is time to stop it.
	running := o.begin(t, "/v1/"+h.Name+":backfill", fmt.Sprintf(`{"startTime":%q,"rate":5,"requestId":"11111111-1111-4111-8111-111111111111"}`, since))
	r.await(t, 1)
	o.do(t, "POST", "/v1/"+running.Name+":cancel", "{}", nil)
	o.awaitOperation(t, running.Name, "STATE_CANCELED")
	o.do(t, "POST", "/v1/"+running.Name+":resume", "{}", nil)
	told := o.watch(t, running.Name)
	last := told[len(told)-1]
	require.Equal(t, "STATE_SUCCEEDED", last.State)
	require.Equal(t, events, number(t, last.AffectedCount)+number(t, last.SkippedCount))
	require.Equal(t, strconv.Itoa(events), last.TotalCount)
	for at := 1; at < len(told); at++ {
		require.GreaterOrEqual(t, number(t, told[at].ProcessedCount), number(t, told[at-1].ProcessedCount))
	}
	r.await(t, events)
	for n := range events {
		id := bus.DeliveryID(o.name, "/history", "a"+strconv.Itoa(n), h.id())
		require.Equal(t, 1, r.arrived()[id], "event %d", n)
	}
	require.Equal(t, events, r.count())

	// Once more: everything has been delivered.
	again := o.begin(t, "/v1/"+h.Name+":backfill", fmt.Sprintf(`{"startTime":%q,"rate":10000}`, since))
	again = o.awaitOperation(t, again.Name, "STATE_SUCCEEDED")
	require.Zero(t, again.affected(t))
	require.Equal(t, strconv.Itoa(events), again.SkippedCount)
	require.Equal(t, events, r.count())

	status, body := i.call(t, stranger.key, "POST", "/v1/"+h.Name+":backfill", fmt.Sprintf(`{"startTime":%q}`, since))
	require.Equal(t, http.StatusForbidden, status, body)
}

func TestEventIsReplayed(t *testing.T) {
	t.Parallel()
	i := processesOf(t)
	o := i.tenant(t)
	first, second := newReceiver(t), newReceiver(t)
	one := o.webhook(t, first, "", "meeting.booked")
	two := o.webhook(t, second, "", "meeting.*")
	o.inForce(t)
	ack := o.publishRaw(t, "meeting.booked", "", o.document(t, "meeting.booked", "/history", "r1"))
	name := o.path("/events/" + strconv.FormatUint(ack.Sequence, 10))
	first.await(t, 1)
	second.await(t, 1)
	require.Eventually(t, func() bool { return len(o.deliveries(t, `event_id = "r1" AND state = STATE_SUCCEEDED`)) == 2 }, patience, tick)

	var sent struct {
		Deliveries    []string
		DeliveryCount int
	}
	o.do(t, "POST", name+":replay", `{}`, &sent)
	require.Equal(t, 2, sent.DeliveryCount)
	require.ElementsMatch(t, []string{
		"organizations/" + o.name + "/deliveries/" + bus.DeliveryID(o.name, "/history", "r1", one.id()),
		"organizations/" + o.name + "/deliveries/" + bus.DeliveryID(o.name, "/history", "r1", two.id()),
	}, sent.Deliveries)
	require.Equal(t, first.await(t, 2)[0].header.Get("webhook-id"), first.requests()[1].header.Get("webhook-id"))
	second.await(t, 2)
	require.True(t, first.requests()[1].verified)
	require.Eventually(t, func() bool {
		for _, d := range o.deliveries(t, `event_id = "r1"`) {
			if d.AttemptCount != 2 || d.State != "STATE_SUCCEEDED" {
				return false
			}
		}
		return true
	}, patience, tick, "attempts go on counting")

	o.do(t, "POST", name+":replay", fmt.Sprintf(`{"webhook":%q,"requestId":"22222222-2222-4222-8222-222222222222"}`, two.Name), &sent)
	require.Equal(t, 1, sent.DeliveryCount)
	second.await(t, 3)
	require.Equal(t, 2, first.count())
	status, body := o.call(t, o.key, "POST", o.path("/events/999999:replay"), `{}`)
	require.Equal(t, http.StatusNotFound, status, body)
}

func TestKilledIngestGoesOnWithItsBackfill(t *testing.T) {
	t.Parallel()
	i := processesOf(t)
	o := i.tenant(t)
	const events = 300
	since := o.history(t, "k", events)
	r := newReceiver(t)
	h := o.webhook(t, r, "", "meeting.booked")
	begun := o.begin(t, "/v1/"+h.Name+":backfill", fmt.Sprintf(`{"startTime":%q,"rate":50}`, since))
	r.await(t, events/3)
	i.kill(t, "ingest")
	i.restart(t, "ingest") // it goes on when the lease of the dead one ends
	o.awaitOperation(t, begun.Name, "STATE_SUCCEEDED")
	require.Eventually(t, func() bool { return len(r.arrived()) == events }, patience, tick, "%d of %d arrived", len(r.arrived()), events)
	require.Equal(t, events, r.count(), "what was repeated was recognized")
}

// said returns every place in NATS and in Postgres that says one of some words.
func (o *tenant) said(t *testing.T, words ...string) (places map[string]int) {
	t.Helper()
	places = make(map[string]int)
	names := o.js.StreamNames(t.Context())
	for name := range names.Name() {
		stream, err := o.js.Stream(t.Context(), name)
		require.NoError(t, err)
		state := stream.CachedInfo().State
		for sequence := max(state.FirstSeq, 1); sequence <= state.LastSeq; sequence++ {
			msg, err := stream.GetMsg(t.Context(), sequence)
			if err != nil {
				require.ErrorIs(t, err, jetstream.ErrMsgNotFound)
				continue
			}
			if text := fmt.Sprint(msg.Subject, msg.Header, string(msg.Data)); mentions(text, words) {
				places[name]++
			}
		}
	}
	require.NoError(t, names.Err())
	database, err := pgx.Connect(t.Context(), o.database.Reveal())
	require.NoError(t, err)
	defer database.Close(t.Context())
	tables, err := database.Query(t.Context(), `SELECT quote_ident(schemaname) || '.' || quote_ident(tablename) FROM pg_tables
		WHERE schemaname NOT IN ('pg_catalog', 'information_schema')`)
	require.NoError(t, err)
	all, err := pgx.CollectRows(tables, pgx.RowTo[string])
	require.NoError(t, err)
	for _, table := range all {
		rows, err := database.Query(t.Context(), `SELECT t::text FROM `+table+` t`)
		require.NoError(t, err)
		texts, err := pgx.CollectRows(rows, pgx.RowTo[string])
		require.NoError(t, err)
		for _, text := range texts {
			if mentions(text, words) {
				places[table]++
			}
		}
	}
	return places
}

// mentions reports whether a text has one of some words, also in the form in which Postgres shows bytes.
func mentions(text string, words []string) bool {
	for _, word := range words {
		if strings.Contains(text, word) || strings.Contains(text, hex.EncodeToString([]byte(word))) {
			return true
		}
	}
	return false
}

// telling is an event that says some words.
func (o *tenant) telling(t *testing.T, id, subject, title string) string {
	t.Helper()
	var data map[string]any
	require.NoError(t, json.Unmarshal([]byte(o.sample(t, "meeting.booked")), &data))
	data["id"], data["title"] = subject, title
	encoded, err := json.Marshal(map[string]any{
		"specversion": "1.0", "source": "/erasure", "id": id, "type": "meeting.booked", "data": data,
	})
	require.NoError(t, err)
	return string(encoded)
}

func TestErasedEventLeavesNoTrace(t *testing.T) {
	t.Parallel()
	i := processesOf(t)
	o, stranger := i.tenant(t), i.tenant(t)
	echo := newReceiver(t)
	failing := newReceiver(t).answering(func(int, *http.Request) int { return 500 })
	gone := newReceiver(t).answering(func(int, *http.Request) int { return 410 })
	for _, r := range []*receiver{echo, failing, gone} {
		o.webhook(t, r, "", "meeting.booked")
	}
	theirs := newReceiver(t)
	stranger.webhook(t, theirs, "", "meeting.booked")
	o.inForce(t)
	const subject, title, others = "mtg-of-somebody", "Somebody Private", "Somebody Else"
	ack := o.publishRaw(t, "meeting.booked", "", o.telling(t, "x1", subject, title))
	rejected := o.publishRaw(t, "meeting.booked", "", fmt.Sprintf(`{"specversion":"1.0","source":"/erasure","id":"x2","type":"meeting.booked","data":{"id":%q,"title":%q}}`, subject, title))
	awaitReject(t, o, rejected.Sequence)
	stranger.publishRaw(t, "meeting.booked", "", stranger.telling(t, "x1", subject, others))
	o.publishRaw(t, "meeting.booked", "", o.telling(t, "y1", "another", others))
	theirs.await(t, 1)
	states := func() map[string]int {
		all := make(map[string]int)
		for _, d := range o.deliveries(t, `event_id = "x1"`) {
			all[d.State+" "+d.Reason]++
		}
		return all
	}
	require.Eventually(t, func() bool {
		now := states()
		return now["STATE_SUCCEEDED "] == 1 && now["STATE_PENDING "] == 1 && now["STATE_DEAD_LETTERED webhook_disabled"] == 1
	}, patience, tick, "%v", states())
	o.awaitIndexed(t, 3)
	before := o.said(t, title)
	for _, place := range []string{bus.StreamEvents, bus.StreamDeadLetters, bus.StreamRecords, bus.StreamRejects} {
		require.Positive(t, before[place], "%s: %v", place, before)
	}
	kept := o.said(t, others)

	erasure := o.begin(t, o.path("/events:erase"), fmt.Sprintf(`{"subject":%q}`, subject))
	erasure = o.awaitOperation(t, erasure.Name, "STATE_SUCCEEDED")
	require.Equal(t, 2, erasure.affected(t))
	require.Empty(t, o.said(t, title))
	require.Equal(t, map[string]int{"STATE_SUCCEEDED ": 1, "STATE_DROPPED erased": 2}, states(), "ids stay")
	for _, d := range o.deliveries(t, `event_id = "x1" AND state = STATE_SUCCEEDED`) {
		attempts := o.attempts(t, d)
		require.Len(t, attempts, 1)
		require.Equal(t, 200, attempts[0].StatusCode)
		require.Empty(t, attempts[0].RequestText)
		require.Empty(t, attempts[0].RequestBody)
	}
	var event struct{ ID, Subject, EraseTime, AcceptTime, Event string }
	o.do(t, "GET", o.path("/events/"+strconv.FormatUint(ack.Sequence, 10)), "", &event)
	require.Equal(t, "x1", event.ID)
	require.NotEmpty(t, event.EraseTime)
	require.NotEmpty(t, event.AcceptTime)
	require.Empty(t, event.Subject+event.Event)
	retries, err := o.js.Stream(t.Context(), bus.StreamRetries)
	require.NoError(t, err)
	for timer := range subjects(t, retries, bus.RetryTimersFilter(o.name, bus.AnyToken)) {
		msg, err := retries.GetLastMsgForSubject(t.Context(), timer)
		require.NoError(t, err)
		require.Equal(t, "y1", msg.Header.Get(bus.HeaderEventID), "nothing of the event waits any more")
	}

	// What others have said, and what else this organization has, is still there.
	after := o.said(t, others)
	for place, n := range kept {
		if place != bus.StreamRecords && !strings.HasPrefix(place, "delivery.") { // retries go on
			require.Equal(t, n, after[place], place)
		}
	}
	var audit struct {
		Entries []struct{ Action, Resource string } `json:"auditLogEntries"`
	}
	o.do(t, "GET", o.path("/auditLogEntries?pageSize=100"), "", &audit)
	actions := make(map[string]int)
	for _, entry := range audit.Entries {
		actions[entry.Action]++
	}
	require.Equal(t, 1, actions["erase"], "%v", audit)
}
