package cloudevent_test

import (
	"bytes"
	"encoding/json"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/cloudevent"
)

const document = `{"specversion":"1.0","id":"1","source":"/s","type":"meeting.booked","data":1}`

func header(more ...string) map[string][]string {
	all := map[string][]string{"ce-specversion": {"1.0"}, "Ce-Id": {"1"}, "CE-Source": {"/s"}, "ce-type": {"meeting.booked"}}
	for i := 0; i < len(more); i += 2 {
		all[more[i]] = append(all[more[i]], more[i+1])
	}
	return all
}

func TestDocumentOfAMessage(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		header     map[string][]string
		body, want string
	}{
		"no headers":      {nil, document, document},
		"other headers":   {map[string][]string{"Nats-Msg-Id": {"x"}, "Content-Type": {"application/json"}}, document, document},
		"structured":      {header("Content-Type", "application/cloudevents+json"), document, document},
		"binary":          {header(), `{"a": 1}`, `{"id":"1","source":"/s","specversion":"1.0","type":"meeting.booked","data":{"a": 1}}`},
		"without data":    {header(), ``, `{"id":"1","source":"/s","specversion":"1.0","type":"meeting.booked"}`},
		"percent-encoded": {header("ce-subject", "%E4%BC%9A%20%22"), `1`, `{"id":"1","source":"/s","specversion":"1.0","subject":"会 \"","type":"meeting.booked","data":1}`},
	} {
		got, err := cloudevent.Document(c.header, []byte(c.body))
		require.NoError(t, err, name)
		require.Equal(t, c.want, string(got), name)
	}
}

func TestMessagesWithoutADocument(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		header          map[string][]string
		body            string
		attribute, rule string
	}{
		"a batch":            {header("Content-Type", "application/cloudevents-batch+json"), `[]`, "", cloudevent.RuleContentType},
		"no JSON by name":    {header("Content-Type", "text/xml"), `1`, "datacontenttype", cloudevent.RuleContentType},
		"no JSON":            {header(), `{`, "data", cloudevent.RuleJSON},
		"no UTF-8":           {header(), "\"\xff\"", "data", cloudevent.RuleUTF8},
		"no UTF-8, encoded":  {header("ce-subject", "%ff"), `1`, "subject", cloudevent.RuleUTF8},
		"a name that is not": {header("ce-not_one", "x"), `1`, "not_one", cloudevent.RuleAttributeName},
		"data in a header":   {header("ce-data", "x"), `1`, "data", cloudevent.RuleAttributeName},
		"a header twice":     {header("ce-subject", "x", "ce-subject", "y"), `1`, "subject", cloudevent.RuleDuplicateKey},
		"in two spellings":   {header("ce-subject", "x", "CE-SUBJECT", "y"), `1`, "subject", cloudevent.RuleDuplicateKey},
	} {
		_, err := cloudevent.Document(c.header, []byte(c.body))
		var wrong *cloudevent.Error
		require.ErrorAs(t, err, &wrong, name)
		require.Equal(t, c.attribute, wrong.Attribute, name)
		require.Equal(t, c.rule, wrong.Rule, name)
		require.NotEmpty(t, wrong.Error(), name)
	}
}

// FuzzDocument holds that what is made of a message is one JSON document with the data in it, and always the same.
func FuzzDocument(f *testing.F) {
	f.Add("subject", "%E4%BC%9A", "application/json", []byte(`{"a":1}`))
	f.Add("id", `"a\"b\\c"`, "", []byte(``))
	f.Add("", "%", "application/cloudevents+json", []byte(document))
	f.Fuzz(func(t *testing.T, name, value, contentType string, body []byte) {
		message := header(cloudevent.HeaderPrefix+name, value, "Content-Type", contentType)
		got, err := cloudevent.Document(message, body)
		again, errAgain := cloudevent.Document(message, body)
		require.Equal(t, got, again)
		require.Equal(t, err == nil, errAgain == nil)
		if err != nil || len(got) == len(body) {
			return
		}
		require.True(t, utf8.Valid(got))
		var made map[string]json.RawMessage
		require.NoError(t, json.Unmarshal(got, &made), "%s", got)
		if len(body) > 0 {
			var want, have bytes.Buffer // no values: a number may be larger than any that Go has
			require.NoError(t, json.Compact(&want, body))
			require.NoError(t, json.Compact(&have, made["data"]))
			require.Equal(t, want.String(), have.String())
		}
	})
}
