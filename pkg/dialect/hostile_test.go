package dialect_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/dialect"
)

// mutate calls f with a document again and again, each time with another part of it replaced.
func mutate(document any, replacement any, f func(document any)) {
	var walk func(part any)
	walk = func(part any) {
		switch p := part.(type) {
		case map[string]any:
			for name, member := range p {
				p[name] = replacement
				f(document)
				p[name] = member
				walk(member)
			}
		case []any:
			for i, element := range p {
				p[i] = replacement
				f(document)
				p[i] = element
				walk(element)
			}
		}
	}
	walk(document)
}

// Whatever is in place of a field, the body keeps its form.
func TestFieldsOfTheWrongTypeAreRendered(t *testing.T) {
	t.Parallel()
	for _, name := range []dialect.Name{dialect.Orufy, dialect.Harmonizely} {
		r := signing(t, name)
		members := strings.Fields("eventType meetData meetData.attendees meetData.payment meetData.cancellation reschedule")
		if name == dialect.Harmonizely {
			members = strings.Fields("data data.invitee.email data.event_type data.answers data.payment event uuid")
		}
		for trigger, replacements := range map[string][]any{
			"meeting.canceled":    {nil, true, 1.5, "x", []any{[]any{nil}, "y", nil, 1}, map[string]any{}},
			"meeting.rescheduled": {"x"},
			"meeting.notes_ready": {nil},
		} {
			var document any
			require.NoError(t, json.Unmarshal(sample(t, trigger), &document))
			for _, replacement := range replacements {
				mutate(document, replacement, func(document any) {
					data, err := json.Marshal(document)
					require.NoError(t, err)
					rendered, err := r.Render(happened(trigger, string(data)), attempt())
					require.NoError(t, err)
					var parsed map[string]any
					require.NoError(t, json.Unmarshal(rendered.Body, &parsed))
					for _, member := range members {
						require.NotEmpty(t, at(parsed, member), "%s %s", member, data)
					}
				})
			}
		}
	}
}

func TestDataThatIsNoObjectIsSentAsItWasPublished(t *testing.T) {
	t.Parallel()
	for _, data := range []string{`null`, `[1]`, `"x"`, `12`, `true`} {
		e := happened("meeting.booked", data)
		require.JSONEq(t, `{"eventType":"BOOK","meetData":`+data+`}`, body(t, dialect.Orufy, e))
		require.JSONEq(t, `{"data":`+data+`,"event":"meetingScheduled","uuid":"`+e.Delivery+`"}`, body(t, dialect.Harmonizely, e))
	}
}

func TestDeepDocumentsDoNotOverflow(t *testing.T) {
	t.Parallel()
	nested := func(depth int) string { return strings.Repeat(`[`, depth) + strings.Repeat(`]`, depth) }
	for _, name := range dialect.Names() {
		r := signing(t, name)
		_, err := r.Render(happened("meeting.booked", `{"answers":[{"value":`+nested(9_000)+`}]}`), attempt())
		require.NoError(t, err, name)
		_, err = r.Render(happened("meeting.booked", nested(1_000_000)), attempt())
		require.ErrorIs(t, err, dialect.ErrUnrenderable, name)
	}
}

func FuzzRender(f *testing.F) {
	for _, trigger := range []string{"meeting.booked", "meeting.canceled"} {
		f.Add(trigger, `{"type":"`+trigger+`","time":"2026-01-31T12:00:00Z","data":`+string(sample(f, trigger))+`}`)
	}
	for _, seed := range []string{
		`{"type":"a.b","data":{"n":1}}`, `{"type":"a.b","time":"x","data":"\ud800"}`, `{"type":null}`, `{"type":{}}`, `[`, ``,
		` {"type" : "a.b" , "data" : [ 1 ] } `, `{"type":1,"data":{"attendees":[{"is_no_show":1}],"hosts":{}}}`, `{}`,
		`{"\u0074ype":"x","data":{"a":"}\\\"]"},"data":-0e1}`, "{\"type\":\"\xff\",\"data\":\"\xff\"}",
	} {
		f.Add("meeting.rescheduled", seed)
		f.Add("x\"<\n", seed)
	}
	renderers := make(map[dialect.Name]*dialect.Renderer)
	for _, name := range dialect.Names() {
		renderers[name] = signing(f, name)
	}
	f.Fuzz(func(t *testing.T, trigger, document string) {
		e := event(trigger, document)
		want, isEvent := reference(e.Document, e.AcceptedAt)
		for name, r := range renderers {
			rendered, err := r.Render(e, attempt())
			if err != nil {
				require.ErrorIs(t, err, dialect.ErrUnrenderable)
				require.False(t, isEvent, "%s: %v", name, err)
				continue
			}
			require.True(t, json.Valid(rendered.Body), "%s: %s", name, rendered.Body)
			switch name {
			case dialect.Standard:
				require.Equal(t, want, string(rendered.Body))
			case dialect.CloudEvents:
				require.Equal(t, document, string(rendered.Body))
			default:
				var members map[string]json.RawMessage
				require.NoError(t, json.Unmarshal(rendered.Body, &members))
			}
			again, err := r.Render(e, attempt())
			require.NoError(t, err)
			require.Equal(t, rendered, again)
		}
	})
}
