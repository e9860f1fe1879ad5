package bench

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/bus"
)

func TestEvents(t *testing.T) {
	t.Parallel()
	at := time.Unix(1_700_000_000, 123_456_789)
	for _, payload := range []int{minPayload, 1024, maxPayload} {
		template := newTemplate(payload)
		for _, number := range []int{0, 1, 99_999_999} {
			msg, id := template.message(mark{phase: 42, number: number, published: at})
			var event struct {
				SpecVersion, ID, Source, Type string
				Time                          time.Time
				Data                          json.RawMessage
			}
			require.NoError(t, json.Unmarshal(msg.Data, &event))
			require.Equal(t, "1.0", event.SpecVersion)
			require.Equal(t, trigger, event.Type)
			require.Equal(t, bus.EventSubject(organization, trigger), msg.Subject)
			require.Equal(t, bus.EventMsgID(organization, event.Source, event.ID), id)
			require.True(t, at.Equal(event.Time))
			require.Len(t, event.Data, payload)

			var data struct{ ID string }
			require.NoError(t, json.Unmarshal(event.Data, &data))
			require.NotEmpty(t, data.ID)
			found, err := findMark(msg.Data)
			require.NoError(t, err)
			require.Equal(t, mark{phase: 42, number: number, published: at}, found)
		}
	}
}

func TestPaddingIsNotTheSameTwice(t *testing.T) {
	t.Parallel()
	template := newTemplate(1024)
	first, _ := template.message(mark{number: 1, published: time.Now()})
	second, _ := template.message(mark{number: 2, published: time.Now()})
	require.NotEqual(t, first.Data[len(first.Data)-500:], second.Data[len(second.Data)-500:])
}

func FuzzFindMark(f *testing.F) {
	f.Add([]byte(`{"bench":"0001.00000002.1700000000123456789"}`))
	f.Add([]byte(`{"bench":"0001.00000002.170000000012345678`))
	f.Add([]byte(`{"bench":"0001-00000002.1700000000123456789"}`))
	f.Add([]byte(`{"bench":"-001.-0000002.-170000000012345678"}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		found, err := findMark(body)
		if err != nil {
			require.ErrorIs(t, err, errNoMark)
			return
		}
		require.GreaterOrEqual(t, found.phase, 0)
		require.GreaterOrEqual(t, found.number, 0)
	})
}
