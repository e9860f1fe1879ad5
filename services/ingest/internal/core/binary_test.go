package core_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/services/ingest/internal/core"
)

// binary returns the headers of a valid event in binary mode, with some changed, and removed when empty.
func binary(changes ...string) map[string][]string {
	header := map[string][]string{
		"ce-specversion": {"1.0"}, "ce-id": {"bk_1"}, "ce-source": {"/bookings"}, "ce-type": {"meeting.booked"},
	}
	for i := 0; i < len(changes); i += 2 {
		if changes[i+1] == "" {
			delete(header, changes[i])
			continue
		}
		header[changes[i]] = []string{changes[i+1]}
	}
	return header
}

func TestEventsInBinaryMode(t *testing.T) {
	t.Parallel()
	const least = `"id":"bk_1","source":"/bookings","specversion":"1.0"`
	for name, c := range map[string]struct {
		header     map[string][]string
		body, want string
	}{
		"the least":             {binary(), `{"a": 1}`, `{` + least + `,"type":"meeting.booked","data":{"a": 1}}`},
		"no body":               {binary(), ``, `{` + least + `,"type":"meeting.booked"}`},
		"white space around":    {binary(), " [1]\n", `{` + least + `,"type":"meeting.booked","data": [1]` + "\n}"},
		"names in capitals":     {map[string][]string{"Ce-Specversion": {"1.0"}, "CE-ID": {"1"}, "cE-sOurce": {"s"}, "Ce-Type": {"t"}}, `1`, `{"id":"1","source":"s","specversion":"1.0","type":"t","data":1}`},
		"extensions":            {binary("ce-mwteams", "a,b", "ce-z9", "1"), `1`, `{` + least[:11] + `,"mwteams":"a,b",` + least[12:] + `,"type":"meeting.booked","z9":"1","data":1}`},
		"octets":                {binary("ce-id", "%E4%BC%9A%20%22%25"), `1`, `{"id":"会 \"%",` + least[12:] + `,"type":"meeting.booked","data":1}`},
		"octets in small":       {binary("ce-id", "a%c3%a9%zz%"), `1`, `{"id":"aé%zz%",` + least[12:] + `,"type":"meeting.booked","data":1}`},
		"decoded once":          {binary("ce-id", "%2541"), `1`, `{"id":"%41",` + least[12:] + `,"type":"meeting.booked","data":1}`},
		"quotation marks":       {binary("ce-id", `"a\"b\\c"`), `1`, `{"id":"a\"b\\c",` + least[12:] + `,"type":"meeting.booked","data":1}`},
		"characters":            {binary("ce-id", `会議`), `1`, `{"id":"会議",` + least[12:] + `,"type":"meeting.booked","data":1}`},
		"a content type":        {binary("Content-Type", "application/json"), `1`, `{"datacontenttype":"application/json",` + least + `,"type":"meeting.booked","data":1}`},
		"a kind of JSON":        {binary("content-type", "application/vnd.x+json; charset=utf-8"), `1`, `{"datacontenttype":"application/vnd.x+json; charset=utf-8",` + least + `,"type":"meeting.booked","data":1}`},
		"the binding of NATS":   {binary("ce-datacontenttype", "application/json", "content-type", "text/plain"), `1`, `{"datacontenttype":"application/json",` + least + `,"type":"meeting.booked","data":1}`},
		"other headers":         {binary("Nats-Msg-Id", "x", "Meetwire-Webhook-Id", "y", "traceparent", "z"), `1`, `{` + least + `,"type":"meeting.booked","data":1}`},
		"a document as data":    {binary(), minimal, `{` + least + `,"type":"meeting.booked","data":` + minimal + `}`},
		"a structured document": {map[string][]string{"content-type": {"application/cloudevents+json; charset=utf-8"}}, minimal, minimal},
		"both":                  {binary("content-type", "application/cloudevents+json"), minimal, minimal},
		"both, as one SDK says": {binary("Content-Type", "application/cloudevents"), minimal, minimal},
		"no headers":            {nil, minimal, minimal},
		"no event headers":      {map[string][]string{"Nats-Msg-Id": {"x"}, "Content-Type": {"application/json"}}, minimal, minimal},
		"a nonsense type":       {map[string][]string{"Content-Type": {"/;"}}, minimal, minimal},
		"no version":            {binary("ce-specversion", ""), minimal, minimal},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			document, err := core.FromMessage(c.header, []byte(c.body))
			require.NoError(t, err)
			require.Equal(t, c.want, string(document))
		})
	}
}

func TestEventsInBinaryModeThatAreRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		header     map[string][]string
		body       string
		path, rule string
	}{
		"no JSON":                   {binary(), `{"a":`, "event.data", core.RuleJSON},
		"a way out of the data":     {binary(), `1,"id":"other"`, "event.data", core.RuleJSON},
		"no UTF-8":                  {binary(), "\"\xff\"", "event.data", core.RuleUTF8},
		"no UTF-8 in a header":      {binary("ce-id", "%ff"), `1`, "event.id", core.RuleUTF8},
		"text":                      {binary("content-type", "text/plain"), `1`, "event.datacontenttype", core.RuleContentType},
		"XML by the other way":      {binary("ce-datacontenttype", "application/xml"), `<a/>`, "event.datacontenttype", core.RuleContentType},
		"a batch":                   {binary("content-type", "application/cloudevents-batch+json"), `[]`, "event", core.RuleContentType},
		"another format":            {map[string][]string{"content-type": {"application/cloudevents+avro"}}, `x`, "event", core.RuleContentType},
		"a header twice":            {map[string][]string{"ce-specversion": {"1.0"}, "ce-id": {"1", "2"}}, `1`, "event.id", core.RuleDuplicateKey},
		"a header in two cases":     {map[string][]string{"ce-specversion": {"1.0"}, "ce-id": {"1"}, "Ce-Id": {"2"}}, `1`, "event.id", core.RuleDuplicateKey},
		"a content type twice":      {map[string][]string{"ce-specversion": {"1.0"}, "Content-Type": {"a/b", "application/json"}}, `1`, "event.datacontenttype", core.RuleDuplicateKey},
		"a name with an underscore": {binary("ce-a_b", "1"), `1`, "event.a_b", core.RuleAttributeName},
		"data in a header":          {binary("ce-data", "1"), ``, "event.data", core.RuleAttributeName},
		"no name":                   {binary("ce-", "1"), `1`, "event", core.RuleAttributeName},
		"too large":                 {binary(), `"` + strings.Repeat("x", core.MaxEventBytes) + `"`, "event", core.RuleMaxBytes},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := core.FromMessage(c.header, []byte(c.body))
			requireViolation(t, err, c.path, c.rule)
		})
	}
}

// FuzzFromMessage checks that an event in binary mode becomes a document that says the same, and nothing else.
func FuzzFromMessage(f *testing.F) {
	f.Add("bk_1", "/bookings", "application/json", `{"a":1}`)
	f.Add("%E4%BC%9A", `"quoted"`, "", `[1e400]`)
	f.Add("%00", "a\r\nb", "application/cloudevents+json", minimal)
	f.Add(`"`, `\`, "text/plain", "\xff")
	f.Fuzz(func(t *testing.T, id, source, contentType, body string) {
		header := binary("ce-id", id, "ce-source", source, "content-type", contentType)
		document, err := core.FromMessage(header, []byte(body))
		if err != nil {
			require.True(t, fault.Is(err, fault.InvalidArgument))
			require.Len(t, fault.From(err).Fields, 1)
			return
		}
		again, err := core.FromMessage(header, []byte(body))
		require.NoError(t, err)
		require.Equal(t, document, again)
		if string(document) == body {
			return // structured
		}
		var made map[string]json.RawMessage
		require.NoError(t, json.Unmarshal(document, &made))
		for name := range made {
			require.Contains(t, []string{"specversion", "id", "source", "type", "datacontenttype", "data"}, name)
		}
		require.Equal(t, strings.TrimSpace(body), strings.TrimSpace(string(made["data"])))
		if event, err := core.Parse(document); err == nil {
			require.Equal(t, "meeting.booked", event.Type)
			require.NotContains(t, event.ID, "\n")
		}
	})
}
