package dialect_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/meetwire/meetwire/pkg/dialect"
)

var update = flag.Bool("update", false, "write the golden files anew")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	keyNow    = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
	keyBefore = "whsec_YWJjZGVmMDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODk="
	keyOther  = "whsec_ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA="
	textNow   = "a secret with a ü in it"
	textOther = "another one"
)

// catalogue is where the built-in triggers are described. Their samples are what every dialect must be able to show.
const catalogue = "../../services/subscription/internal/catalogue"

// triggers are those that come with the program.
func triggers() []string {
	return []string{
		"meeting.booked", "meeting.rescheduled", "meeting.canceled", "meeting.no_show", "meeting.notes_ready",
		"contact.updated", "enrolment.created", "assessment.completed",
	}
}

// sample returns the sample data of a built-in trigger.
func sample(t testing.TB, trigger string) []byte {
	t.Helper()
	pretty, err := os.ReadFile(filepath.Join(catalogue, "triggers", trigger+".sample.json"))
	require.NoError(t, err)
	var compact bytes.Buffer
	require.NoError(t, json.Compact(&compact, pretty))
	return compact.Bytes()
}

// attempt is when the requests of the tests are made: half a second before the next second, to see that it is not
// rounded.
func attempt() time.Time { return time.Unix(1769860800, 500_000_000) }

// secretOf returns the secret that the tests use with a dialect.
func secretOf(name dialect.Name) string {
	d, _ := dialect.Lookup(name)
	if d.Traits().Secret.Keyed {
		return keyNow
	}
	return textNow
}

// requireEvery checks that a table of a test has every dialect, so that a new one is not forgotten there.
func requireEvery(t testing.TB, names ...dialect.Name) {
	t.Helper()
	require.ElementsMatch(t, dialect.Names(), names, "the table has not every dialect")
}

func renderer(t testing.TB, c dialect.Config) *dialect.Renderer {
	t.Helper()
	if c.UserAgent == "" {
		c.UserAgent = "Meetwire/1.2.3"
	}
	r, err := dialect.New(c)
	require.NoError(t, err)
	return r
}

// signing returns the renderer of a webhook with a secret.
func signing(t testing.TB, name dialect.Name) *dialect.Renderer {
	t.Helper()
	c := dialect.Config{Name: name, Secrets: []string{secretOf(name)}}
	if name == dialect.Axcelerate {
		c.Options.ClientID = 12345678
	}
	return renderer(t, c)
}

// event is a delivery of a CloudEvent.
func event(trigger, document string) *dialect.Event {
	return &dialect.Event{
		Delivery: "0b3c7f6e-1111-5222-8333-444455556666", Webhook: "w", Organization: "acme",
		Trigger: trigger, Source: "/bookings", ID: "bk_1", Sequence: 4711,
		AcceptedAt: time.Date(2026, 1, 31, 12, 0, 1, 500_000_000, time.FixedZone("CET", 3600)),
		Document:   []byte(document),
	}
}

// happened is an event with data.
func happened(trigger, data string) *dialect.Event {
	return event(trigger, `{"specversion":"1.0","id":"bk_1","source":"/bookings","type":"`+trigger+
		`","time":"2026-01-31T12:00:00.25+01:00","data":`+data+`}`)
}

func render(t testing.TB, name dialect.Name, e *dialect.Event) dialect.Rendered {
	t.Helper()
	rendered, err := signing(t, name).Render(e, attempt())
	require.NoError(t, err)
	return rendered
}

// body returns the body of an event in a dialect.
func body(t testing.TB, name dialect.Name, e *dialect.Event) string {
	t.Helper()
	return string(render(t, name, e).Body)
}

// bodyOf returns the parsed body of a trigger's sample.
func bodyOf(t testing.TB, name dialect.Name, trigger string) map[string]any {
	t.Helper()
	var parsed map[string]any
	require.NoError(t, json.Unmarshal([]byte(body(t, name, sampled(t, trigger))), &parsed))
	return parsed
}

// sampled is the event of a trigger's sample.
func sampled(t testing.TB, trigger string) *dialect.Event {
	t.Helper()
	e, err := dialect.SampleEvent("acme", trigger, sample(t, trigger), time.Date(2026, 3, 10, 9, 12, 46, 0, time.UTC))
	require.NoError(t, err)
	return e
}

// at returns what a path such as data.answers[].value leads to: every value for which it exists.
func at(value any, path string) []any {
	if path == "" {
		return []any{value}
	}
	first, rest, _ := strings.Cut(path, ".")
	name, isList := strings.CutSuffix(first, "[]")
	members, ok := value.(map[string]any)
	if !ok {
		return nil
	}
	member, ok := members[name]
	if !ok {
		return nil
	}
	if !isList {
		return at(member, rest)
	}
	var found []any
	list, _ := member.([]any)
	for _, element := range list {
		found = append(found, at(element, rest)...)
	}
	return found
}
