package schema_test

import (
	"fmt"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	"github.com/meetwire/meetwire/services/ingest/internal/core"
	"github.com/meetwire/meetwire/services/ingest/internal/schema"
)

// BenchmarkMatch measures what a hundred webhooks cost that ask for an event, and how much more they cost with a
// filter each: at most 2 µs per filter, reading the event included.
func BenchmarkMatch(b *testing.B) {
	document := []byte(`{"specversion":"1.0","id":"bk_1","source":"/bookings","type":"meeting.booked","data":{
		"title":"Intro","minutes":30,"price":1.25,"attendees":[{"email":"a@example.com"},{"email":"b@example.com"}]}}`)
	for name, source := range map[string]string{
		"without filters":   "",
		"with filters":      `event.data.minutes > %d`,
		"with text filters": `event.data.title == "Intro %d" || event.data.attendees[0].email == "x@example.com"`,
	} {
		b.Run(name, func(b *testing.B) {
			resources := []*configv1.Resource{organization("acme", true)}
			for i := range 100 {
				w := webhook(fmt.Sprintf("w%02d", i), "acme", active, "meeting.*")
				if source != "" {
					w.GetWebhook().Filter = fmt.Sprintf(source, 30+i)
				} else if i > 0 {
					w.GetWebhook().EventTypes = []string{"demo"}
				}
				resources = append(resources, w)
			}
			index := core.NewIndex()
			schema.New(index, slog.New(slog.DiscardHandler)).Reset(resources, 1)
			event, err := core.Parse(document)
			require.NoError(b, err)
			b.ReportAllocs()
			for b.Loop() {
				one := *event // as it comes: no filter has looked at it
				if match := index.Match("acme", &one); len(match.Failed) > 0 {
					b.Fatal("a filter failed")
				}
			}
		})
	}
}
