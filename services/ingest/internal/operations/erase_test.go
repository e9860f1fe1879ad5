package operations_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/operation"
	"github.com/meetwire/meetwire/services/ingest/internal/operations"
	"github.com/meetwire/meetwire/services/ingest/internal/pgstore"
)

// marker is what erased events say.
const marker = "somebody@example.org"

// said returns whether a stream, or Postgres, says the marker: the ids of events that do.
func (e *env) said(t *testing.T) (places []string) {
	t.Helper()
	for _, stream := range []string{bus.StreamEvents, bus.StreamRejects, bus.StreamFanOuts, bus.StreamDeliveries} {
		reader, err := e.js.Stream(newContext(t), stream)
		require.NoError(t, err)
		state := reader.CachedInfo().State
		for sequence := max(state.FirstSeq, 1); sequence <= state.LastSeq; sequence++ {
			msg, err := reader.GetMsg(newContext(t), sequence)
			if err != nil {
				continue // removed
			}
			if strings.Contains(string(msg.Data), marker) {
				places = append(places, stream)
			}
		}
	}
	for _, table := range []string{"event", "operation", "webhook_matching"} {
		var n int
		require.NoError(t, e.pool.QueryRow(newContext(t), `SELECT count(*) FROM ingest.`+table+` t WHERE t::text LIKE '%' || $1 || '%'`, marker).Scan(&n))
		for range n {
			places = append(places, table)
		}
	}
	return places
}

// tell publishes an event whose subject and data say the marker.
func (e *env) tell(t *testing.T, organization, trigger, id string) int64 {
	t.Helper()
	return e.publish(t, organization, trigger, id, `{"id":"`+marker+`","email":"`+marker+`"}`)
}

func selected(s pgstore.Selection) operations.Erase { return operations.Erase{Selection: s} }

func TestErasedEventsAreGone(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.fanOut(t)
	e.operate(t)
	first := e.tell(t, "acme", "meeting.booked", "1")
	second := e.tell(t, "acme", "meeting.canceled", "2")
	rejected := e.tell(t, "acme", "meeting.eaten", "3") // nobody knows such a trigger
	others := e.tell(t, "beta", "meeting.booked", "1")
	kept := e.publish(t, "acme", "meeting.booked", "4", `{"id":"m-4"}`)
	e.indexed(t, 5)
	before := e.said(t)
	require.Len(t, before, 4+1+4, "%v", before) // in EVENTS, REJECTS, and the index

	dry := e.await(t, e.begin(t, operations.TypeErase, 0, true, selected(pgstore.Selection{Sequences: []int64{first}})), operation.Succeeded)
	require.Equal(t, [5]int64{1, 1, 1, 0, 0}, counted(dry))
	require.Len(t, e.said(t), len(before))
	dry = e.await(t, e.begin(t, operations.TypeErase, 0, true, selected(pgstore.Selection{Subject: marker})), operation.Succeeded)
	require.Equal(t, [5]int64{3, 3, 3, 0, 0}, counted(dry))
	require.Equal(t, before, e.said(t), "nothing more: what was asked for is forgotten")

	e.delivery.set(func(d *delivery) { d.failed = 1 }) // it is asked again
	o := e.await(t, e.begin(t, operations.TypeErase, 0, false, selected(pgstore.Selection{Subject: marker})), operation.Succeeded)
	require.Equal(t, [5]int64{3, 3, 3, 0, 0}, counted(o))
	require.Equal(t, []string{bus.StreamEvents, "event"}, e.said(t), "those of beta")
	e.delivery.set(func(d *delivery) {
		require.Equal(t, [][]int64{{first, second, rejected}, {first, second, rejected}}, d.erased, "twice: something was being sent")
	})
	for _, sequence := range []int64{first, second, rejected} {
		row, err := e.rows.Event(newContext(t), "acme", sequence)
		require.NoError(t, err)
		require.False(t, row.Erased.IsZero())
		require.NotEmpty(t, row.ID)
		require.False(t, row.Accepted.IsZero())
	}
	for organization, sequence := range map[string]int64{"acme": kept, "beta": others} {
		row, err := e.rows.Event(newContext(t), organization, sequence)
		require.NoError(t, err)
		require.True(t, row.Erased.IsZero())
	}

	// By name: those of others, those that were erased, and those that never were are left.
	o = e.await(t, e.begin(t, operations.TypeErase, 0, false,
		selected(pgstore.Selection{Sequences: []int64{first, others, kept, 9999}})), operation.Succeeded)
	require.Equal(t, [5]int64{1, 1, 1, 3, 0}, counted(o))
	require.Equal(t, []string{bus.StreamEvents, "event"}, e.said(t))
	o = e.await(t, e.begin(t, operations.TypeErase, 0, false, selected(pgstore.Selection{ID: "none"})), operation.Succeeded)
	require.Equal(t, [5]int64{}, counted(o))
}

func TestErasureFindsWhatCouldNotBeRead(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.fanOut(t)
	e.operate(t)
	e.publish(t, "acme", "meeting.booked", "1", `{"id":"`+marker+`","id":"`+marker+`"}`) // a duplicate key
	e.indexed(t, 1)
	require.Contains(t, e.said(t), bus.StreamRejects)
	o := e.await(t, e.begin(t, operations.TypeErase, 0, false, selected(pgstore.Selection{Subject: marker})), operation.Succeeded)
	require.EqualValues(t, 1, o.Affected)
	require.Empty(t, e.said(t))
}

func TestErasureOfAnEventMeansItsRepetitionsToo(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.fanOut(t)
	e.operate(t)
	first := e.tell(t, "acme", "meeting.booked", "1")
	again := e.tell(t, "acme", "meeting.booked", "1")
	e.indexed(t, 2)
	o := e.await(t, e.begin(t, operations.TypeErase, 0, false, selected(pgstore.Selection{Sequences: []int64{first}})), operation.Succeeded)
	require.Equal(t, [5]int64{2, 2, 2, 0, 0}, counted(o))
	require.Empty(t, e.said(t))
	e.delivery.set(func(d *delivery) { require.Contains(t, d.erased[0], again) })
}

func TestErasureWaitsUntilTheEventIsKnown(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.operate(t)
	_, err := e.js.CreateConsumer(newContext(t), bus.StreamEvents, e.worker.Config.EventIndexConsumer())
	require.NoError(t, err)
	e.tell(t, "acme", "meeting.booked", "1")
	id := e.begin(t, operations.TypeErase, 0, false, selected(pgstore.Selection{ID: "1"}))
	require.Eventually(t, func() bool {
		var stage string
		require.NoError(t, e.pool.QueryRow(newContext(t), `SELECT coalesce(progress->>'stage', '') FROM ingest.operation`).Scan(&stage))
		return stage == "fan_out"
	}, patience, tick)
	e.fanOut(t)
	o := e.await(t, id, operation.Succeeded)
	require.Equal(t, [5]int64{1, 1, 1, 0, 0}, counted(o))
	require.Empty(t, e.said(t))
}

func TestInterruptedErasureGoesOn(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.fanOut(t)
	for range 3 {
		e.tell(t, "acme", "meeting.booked", "1")
	}
	e.indexed(t, 3)
	e.delivery.set(func(d *delivery) { d.failed = 1 })
	id := e.begin(t, operations.TypeErase, 0, false, selected(pgstore.Selection{Subject: marker}))
	stop := e.operate(t)
	require.Eventually(t, func() bool {
		left := -1
		e.delivery.set(func(d *delivery) { left = d.failed })
		return left == 0
	}, patience, tick)
	stop()
	e.operate(t)
	o := e.await(t, id, operation.Succeeded)
	require.Equal(t, [5]int64{3, 3, 3, 0, 0}, counted(o))
	require.Empty(t, e.said(t))
}
