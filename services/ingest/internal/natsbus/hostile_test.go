package natsbus_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/services/ingest/internal/core"
)

const (
	// hostile is how many documents are published to a lane, and astray how many of every kind, also to where no lane is.
	hostile = 90_000
	astray  = 10_000
	// hostilePatience is how long the workers may take for them, on a machine with other things to do.
	hostilePatience = 4 * time.Minute
)

// attacker makes documents that nobody should publish, the same ones in every run.
type attacker struct{ *rand.Rand }

// message returns the nth message, to a subject.
func (a attacker) message(n int, subject string) *nats.Msg {
	msg := nats.NewMsg(subject)
	id := fmt.Sprintf("%d-%016x", n, a.Uint64()) // that no change makes that of another
	valid := event("/s", id, "meeting.booked", `{"title":"a title","when":[1,2.5,{"zone":"Europe/Vienna"}]}`)
	switch a.IntN(9) {
	case 0:
		msg.Data = []byte(event("/s", id, "meeting.booked", a.nested()))
	case 1:
		msg.Data = []byte(event("/s", id, "meeting.booked", `{"n":`+a.number()+`}`))
	case 2:
		msg.Data = a.insert([]byte(valid), a.bytes())
	case 3:
		msg.Data = []byte(strings.Replace(valid, `"title"`, a.pick(`"title":1,"title"`, `"when":1,"\u0074itle":"x","title"`, `"a":{"b":1,"b":2},"title"`), 1))
	case 4:
		name := a.pick(`"id"`, `"source"`, `"type"`, `"specversion"`, `"data"`)
		msg.Data = []byte(strings.Replace(valid, name, a.pick(`"other"`, `""`, `"ID"`, name[:len(name)-1]+`\u0000"`), 1))
	case 5:
		msg.Data = []byte(strings.Replace(valid, a.pick(`"a title"`, `"/s"`, `"`+id+`"`, `"1.0"`), a.pick(`null`, `{}`, `[[]]`, `1e99`, `true`, `"\ud800"`, ``), 1))
	case 6:
		a.binary(msg, id)
	default:
		msg.Data = a.mutate([]byte(valid))
	}
	return msg
}

func (a attacker) pick(from ...string) string { return from[a.IntN(len(from))] }

// nested returns something deep, which may not end.
func (a attacker) nested() string {
	open, shut := "[", "]"
	if a.IntN(2) == 0 {
		open, shut = `{"a":`, "}"
	}
	depth := a.IntN(a.IntN(400) + 60)
	return strings.Repeat(open, depth) + "1" + strings.Repeat(shut, max(0, depth-a.IntN(2)))
}

// number returns a number, or nearly one.
func (a attacker) number() string {
	digits := strings.Repeat(a.pick("9", "1", "0"), a.IntN(500))
	return a.pick("", "-", "+") + a.pick("1", "0", "", "9") + digits + a.pick("", ".5", ".") + a.pick("", "e", "E+", "e-") + a.pick("", "1", "308", "309", digits)
}

func (a attacker) bytes() []byte {
	some := make([]byte, 1+a.IntN(4))
	for i := range some {
		some[i] = byte(a.IntN(256))
	}
	return some
}

func (a attacker) insert(into, what []byte) []byte {
	at := a.IntN(len(into) + 1)
	return bytes.Join([][]byte{into[:at], what, into[at:]}, nil)
}

// mutate changes some bytes; sometimes none.
func (a attacker) mutate(document []byte) []byte {
	for range a.IntN(4) {
		at := a.IntN(len(document))
		switch a.IntN(3) {
		case 0:
			document[at] = byte(a.IntN(256))
		case 1:
			document = append(document[:at], document[at+1:]...)
		case 2:
			document = a.insert(document, []byte(a.pick(`"`, `{`, `}`, `\`, `,`, `:`, `[`, `null`, "\x00", `\ud83d`)))
		}
	}
	return document
}

// binary makes an event in binary mode with something wrong about it.
func (a attacker) binary(msg *nats.Msg, id string) {
	msg.Header = nats.Header{
		"ce-specversion": {a.pick("1.0", "1.0", "1.0", "0.3", "%31%2E%30")}, "ce-id": {id}, "ce-source": {"/s"},
		a.pick("ce-type", "CE-TYPE", "ce-typ"):                  {"meeting.booked"},
		a.pick("content-type", "Content-Type"):                  {a.pick("application/json", "text/plain", "", ";", "application/cloudevents+json", "application/cloudevents-batch+json")},
		a.pick("ce-x", "ce-X", "ce-x_y", "ce-", "ce-data", "x"): {a.pick("1", "%00", "%ff", "%", `"`, "é", "\x80")},
	}
	msg.Data = []byte(a.pick(`{"title":"a"}`, `{"title":1}`, `{`, ``, `1,"id":"x"`, "\xff", `[1e999]`))
}

// attack publishes messages to some subjects.
func (e *env) attack(t *testing.T, messages int, subjects ...string) {
	t.Helper()
	a := attacker{rand.New(rand.NewPCG(1, 2))}
	futures := make([]jetstream.PubAckFuture, 0, messages)
	for n := range messages {
		future, err := bus.PublishAsync(e.js, a.message(n, a.pick(subjects...)), "")
		require.NoError(t, err)
		futures = append(futures, future)
	}
	for _, future := range futures {
		_, err := bus.Await(t.Context(), future)
		require.NoError(t, err)
	}
}

// read goes through all messages of a stream.
func (e *env) read(t *testing.T, stream, filter string, note func(bus.StoredMsg)) {
	t.Helper()
	reader := &bus.BatchReader{JetStream: e.js, Stream: stream}
	for from := uint64(1); ; {
		batch, err := reader.Batch(newContext(t), filter, from, 5000)
		require.NoError(t, err)
		if len(batch) == 0 {
			return
		}
		for _, msg := range batch {
			note(msg)
			from = msg.Sequence + 1
		}
	}
}

// Whatever is published is either fanned out or rejected: nothing crashes, and nothing is lost.
func TestHostileDocuments(t *testing.T) {
	t.Parallel()
	e := setup(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- e.worker.Run(ctx, "meeting.booked") }()
	e.attack(t, hostile, bookedSubject)
	require.Eventually(t, func() bool {
		durable, err := e.js.Consumer(newContext(t), bus.StreamEvents, "ingest-meeting-booked")
		return err == nil && durable.CachedInfo().AckFloor.Stream == hostile
	}, hostilePatience, 100*time.Millisecond)
	cancel()
	require.NoError(t, <-done)
	// Every rule is met that bytes alone can break.
	e.requireLedger(t, hostile, core.RuleUTF8, core.RuleJSON, core.RuleDepth, core.RuleNumber, core.RuleDuplicateKey, core.RuleAttributeName,
		core.RuleContentType, core.RuleRequired, core.RuleType, core.RuleControlCharacter, core.RuleValue, core.RuleSchema)
}

func TestHostileDocumentsAnywhere(t *testing.T) {
	t.Parallel()
	e := setup(t)
	stop := e.run(t)
	e.attack(t, astray, bookedSubject, "events.acme.meeting.eaten", "events.nobody.meeting.booked", "events.acme", "events.acme.a.b.c.d.e",
		"events.acme.custom.no", "events.beta.meeting.booked", "events.acme.custom.door.opened")
	require.Eventually(t, func() bool { return e.unsettled(t) == 0 }, hostilePatience, 100*time.Millisecond)
	stop()
	e.requireLedger(t, astray, core.RuleUnknownTrigger, core.RuleUnknownOrganization, core.RuleJSON)
}

// requireLedger asserts that each of the events either has deliveries or is rejected, once, by these rules among others.
func (e *env) requireLedger(t *testing.T, events int, met ...string) {
	t.Helper()
	rejected, delivered, rules := make(map[string]int), make(map[string]int), make(map[string]int)
	e.read(t, bus.StreamDeliveries, "deliveries.>", func(msg bus.StoredMsg) { delivered[msg.Header.Get(bus.HeaderEventSequence)]++ })
	e.read(t, bus.StreamRejects, "rejects.>", func(msg bus.StoredMsg) {
		rejected[msg.Header.Get(bus.HeaderEventSequence)]++
		rules[msg.Header.Get(bus.HeaderReason)]++
	})
	for n := range events {
		at := strconv.Itoa(n + 1)
		if delivered[at]+rejected[at] == 0 || delivered[at] > 0 && rejected[at] > 0 || rejected[at] > 1 {
			require.Fail(t, "event "+at, "%d deliveries, %d rejects", delivered[at], rejected[at])
		}
	}
	require.Equal(t, events, len(delivered)+len(rejected))
	require.Greater(t, len(delivered), events/100, "some are valid")
	require.Greater(t, len(rejected), events/2, "most are not")
	for _, rule := range met {
		require.Positive(t, rules[rule], "%s: %v", rule, rules)
	}
}
