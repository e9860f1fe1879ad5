package filter_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/meetwire/meetwire/pkg/filter"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// booked is an event as publishers write it.
const booked = `{
  "specversion": "1.0", "id": "e-1", "source": "/scheduler", "type": "meeting.booked", "subject": "meetings/m-1",
  "time": "2026-03-01T09:00:00Z", "mwteams": "sales,support",
  "data": {
    "id": "m-1", "duration": 45, "price": 19.5, "whole": 30.0, "huge": 9223372036854775808, "exponent": 1e2,
    "live": true, "note": null, "title": "Größe \"L\" \u2013 \ud83d\ude00", "start": "2026-03-02T10:30:00+02:00",
    "odd key": "x", "empty": [], "none": {},
    "event_type": {"slug": "demo", "kind": "solo"},
    "attendees": [
      {"email": "ada@example.com", "age": 36, "vip": true},
      {"email": "bob@example.org", "age": 41}
    ],
    "answers": {"budget": "high", "size": 12}
  }
}`

func compile(t *testing.T, source string) *filter.Filter {
	t.Helper()
	f, err := filter.Compile(source)
	require.NoError(t, err, source)
	return f
}

func event(t *testing.T, document string) *filter.Event {
	t.Helper()
	e, err := filter.NewEvent([]byte(document))
	require.NoError(t, err)
	return e
}
