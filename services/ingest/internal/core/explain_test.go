package core_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/services/ingest/internal/core"
)

func TestCompleted(t *testing.T) {
	t.Parallel()
	for document, want := range map[string]string{
		`{}`:                      `{"id":"explained","source":"/explained"}`,
		` {"type":"a.b"}`:         ` {"id":"explained","source":"/explained","type":"a.b"}`,
		`{"id":"1","type":"a.b"}`: `{"source":"/explained","id":"1","type":"a.b"}`,
		`{"source":"/s"}`:         `{"id":"explained","source":"/s"}`,
		`{"id":null,"source":1}`:  `{"id":null,"source":1}`,
		`{"data":{"id":"1"}}`:     `{"id":"explained","source":"/explained","data":{"id":"1"}}`,
		`[{}]`:                    `[{}]`, `{`: `{`, ``: ``, `null`: `null`, `"{}"`: `"{}"`, `{}{}`: `{}{}`,
	} {
		require.Equal(t, want, string(core.Completed([]byte(document))), document)
	}
}

func (f full) IsFull(organization, webhook string) bool { return f.Full(organization, webhook) }

// counted counts the events that disabled webhooks get.
type counted struct{ events int }

func (c *counted) Full(string, string) bool {
	c.events++
	return false
}

func (c *counted) IsFull(string, string) bool { return false }

// Who asks why an event matches does not publish one.
func TestExplainingCountsNoEvent(t *testing.T) {
	t.Parallel()
	index, backlog := core.NewIndex(), &counted{}
	index.SetBacklog(backlog)
	index.Apply(core.Change{
		Organizations: []core.Organization{{ID: "a", WebhooksAvailable: true}},
		Webhooks:      []core.Webhook{{ID: "w", Organization: "a", Triggers: []string{"t.1"}, Disabled: true}},
	}, 1)
	event := &core.Event{Type: "t.1"}
	require.Equal(t, core.Matched, index.Explain("a", event, core.Page{Size: 10}).Decisions[0].Reason)
	require.Zero(t, backlog.events)
	require.Len(t, index.Match("a", event).Webhooks, 1)
	require.Equal(t, 1, backlog.events)
}
