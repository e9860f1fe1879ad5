package bench

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/meetwire/meetwire/pkg/bus"
)

// What is published: the trigger's schema asks for an id and allows further fields.
const (
	organization = "bench"
	trigger      = "contact.updated"
	source       = "/bench"
)

// minPayload is the least size of an event's data: its fields without any padding, and some room.
const minPayload = 128

// mark is what an event carries through everything to the receiver. Its text has a fixed length, so that it is
// found and read in next to no time.
type mark struct {
	phase     int
	number    int
	published time.Time
}

// markField begins a mark within the event's data.
const markField = `"bench":"`

// Widths of a mark's three numbers, with dots in between.
const (
	phaseWidth  = 4
	numberWidth = 8
	nanosWidth  = 19
	markLength  = phaseWidth + 1 + numberWidth + 1 + nanosWidth
)

func (m mark) append(b []byte) []byte {
	return fmt.Appendf(b, "%0*d.%0*d.%0*d", phaseWidth, m.phase, numberWidth, m.number, nanosWidth, m.published.UnixNano())
}

var errNoMark = errors.New("the body has no mark of the bench")

// findMark reads the mark of a body.
func findMark(body []byte) (mark, error) {
	_, rest, found := bytes.Cut(body, []byte(markField))
	if !found || len(rest) < markLength {
		return mark{}, errNoMark
	}
	text := string(rest[:markLength])
	if text[phaseWidth] != '.' || text[phaseWidth+1+numberWidth] != '.' {
		return mark{}, errNoMark
	}
	phase, err1 := strconv.Atoi(text[:phaseWidth])
	number, err2 := strconv.Atoi(text[phaseWidth+1 : phaseWidth+1+numberWidth])
	nanos, err3 := strconv.ParseInt(text[phaseWidth+1+numberWidth+1:], 10, 64)
	if errors.Join(err1, err2, err3) != nil || phase < 0 || number < 0 {
		return mark{}, errNoMark
	}
	return mark{phase: phase, number: number, published: time.Unix(0, nanos)}, nil
}

// template makes events whose data has a given size.
type template struct {
	noise   []byte // what padding is cut from
	padding int
}

// Events are padded with different parts of a text without repetitions, since streams are compressed.
const (
	noiseSize = 512 << 10
	noiseStep = 7919
)

func newTemplate(payload int) *template {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 ."
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // G404: padding, the same in every run
	t := &template{noise: make([]byte, noiseSize+maxPayload)}
	for i := range t.noise {
		t.noise[i] = letters[random.IntN(len(letters))]
	}
	t.padding = payload - len(t.data(nil, mark{published: time.Unix(0, 0)}))
	return t
}

// data appends an event's data.
func (t *template) data(b []byte, m mark) []byte {
	b = append(b, `{"id":"contact-`...)
	b = fmt.Appendf(b, "%0*d", numberWidth, m.number)
	b = append(b, `",`+markField...)
	b = m.append(b)
	b = append(b, `","note":"`...)
	if t.padding > 0 {
		from := m.number * noiseStep % noiseSize
		b = append(b, t.noise[from:from+t.padding]...)
	}
	return append(b, `"}`...)
}

// message is an event as its publisher would make it, and its message id.
func (t *template) message(m mark) (msg *nats.Msg, msgID string) { return t.messageOf(m, "") }

// messageOf is message for an event of an event type, which some webhooks ask for; empty: of none.
func (t *template) messageOf(m mark, eventType string) (msg *nats.Msg, msgID string) {
	id := strconv.Itoa(m.phase) + "-" + strconv.Itoa(m.number)
	if eventType != "" {
		id += "-" + eventType
	}
	b := make([]byte, 0, t.padding+2*minPayload+256)
	b = append(b, `{"specversion":"1.0","id":"`...)
	b = append(b, id...)
	b = append(b, `","source":"`+source+`","type":"`+trigger+`","time":"`...)
	b = m.published.UTC().AppendFormat(b, time.RFC3339Nano)
	if eventType != "" {
		b = append(b, `","mweventtype":"`+eventType...)
	}
	b = append(b, `","datacontenttype":"application/json","data":`...)
	b = t.data(b, m)
	msg = nats.NewMsg(bus.EventSubject(organization, trigger))
	msg.Data = append(b, '}')
	return msg, bus.EventMsgID(organization, source, id)
}
