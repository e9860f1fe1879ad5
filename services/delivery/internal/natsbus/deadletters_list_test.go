package natsbus

import (
	"bytes"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

// large makes dead letters with large events, of which every third has another reason, and returns their ids in order.
func (e *environment) large(t *testing.T, count, size int) (all []string) {
	t.Helper()
	for n := range count {
		one, reason := task(), core.ReasonAttemptsExhausted
		one.Event = append(append([]byte(`{"x": "`), bytes.Repeat([]byte("y"), size)...), `"}`...)
		if n%3 == 0 {
			reason = core.ReasonPoison
		}
		require.NoError(t, e.queue.DeadLetter(newContext(t), one, reason, time.Now(), uuid.NewString()))
		all = append(all, one.Delivery)
	}
	return all
}

// A list that is filtered by what only headers tell reads events only of what it shows.
func TestListWithAFilterReadsNoOtherEvents(t *testing.T) {
	t.Parallel()
	e := setup(t)
	const count, size = 60, 300_000
	all := e.large(t, count, size)
	received := func() int { return int(e.js.Conn().Stats().InBytes) }
	before := received()
	part, err := e.letters.List(newContext(t), Selection{Reason: core.ReasonWebhookDisabled}, 1, 0, 100)
	require.NoError(t, err)
	require.Equal(t, LetterPart{Read: count}, part)
	require.Less(t, received()-before, count*4096)

	before = received()
	var found []string
	for from, pages := uint64(1), 0; from > 0; pages++ {
		require.Less(t, pages, count)
		part, err := e.letters.List(newContext(t), Selection{Organization: "acme", Reason: core.ReasonPoison}, from, 0, 6)
		require.NoError(t, err)
		require.LessOrEqual(t, len(part.Letters), 6)
		for _, letter := range part.Letters {
			require.Greater(t, len(letter.Task.Event), size)
			require.NotZero(t, letter.Expires)
			found = append(found, letter.Task.Delivery)
		}
		from = part.Next
	}
	var want []string
	for n := 0; n < count; n += 3 {
		want = append(want, all[n])
	}
	require.Equal(t, want, found)
	require.Less(t, received()-before, (count/3+2)*size+20*count*4096)
	info, err := e.stream(t, bus.StreamDeadLetters).Info(newContext(t))
	require.NoError(t, err)
	require.Zero(t, info.State.Consumers, "nothing is left behind")
}

// A part has no more than about so much, and the next goes on behind it.
func TestListWithAFilterIsBounded(t *testing.T) {
	t.Parallel()
	e := setup(t)
	const count, size = 3 * wholeBatch, 700_000
	all := e.large(t, count, size)
	var found []string
	read, parts := 0, 0
	for from := uint64(1); from > 0; parts++ {
		require.Less(t, parts, count)
		part, err := e.letters.List(newContext(t), Selection{Since: time.Now().Add(-time.Hour)}, from, 0, count)
		require.NoError(t, err)
		require.LessOrEqual(t, len(part.Letters)*size, maxPartBytes+wholeBatch*size)
		for _, letter := range part.Letters {
			found = append(found, letter.Task.Delivery)
		}
		read += part.Read
		from = part.Next
	}
	require.Equal(t, all, found)
	require.Equal(t, count, read, "each is read once")
	require.GreaterOrEqual(t, parts, 3)
}

// What is behind the end of a list is not in it, and what has gone since its headers were read is left out.
func TestListWithAFilterEnds(t *testing.T) {
	t.Parallel()
	e := setup(t)
	all := e.large(t, 9, 10)
	part, err := e.letters.List(newContext(t), Selection{Reason: core.ReasonPoison}, 2, 8, 100)
	require.NoError(t, err)
	require.Zero(t, part.Next)
	require.Equal(t, 7, part.Read)
	require.Len(t, part.Letters, 2)
	require.Equal(t, []string{all[3], all[6]}, []string{part.Letters[0].Task.Delivery, part.Letters[1].Task.Delivery})

	var heads []bus.StoredMsg
	end, err := e.letters.heads(newContext(t), Selection{}.subject(), 1, func(msg bus.StoredMsg) (more, end bool) {
		heads = append(heads, msg)
		return true, false
	})
	require.NoError(t, err)
	require.True(t, end)
	require.Len(t, heads, 9)
	require.NoError(t, e.letters.stream.DeleteMsg(newContext(t), heads[4].Sequence))
	letters, err := e.letters.whole(newContext(t), heads)
	require.NoError(t, err)
	require.Len(t, letters, 8)
	for from := uint64(1); from < 12; from += 10 { // an empty stream, and one with nothing behind
		part, err = e.letters.List(newContext(t), Selection{Reason: core.ReasonPoison, Webhook: otherHook}, from, 0, 5)
		require.NoError(t, err)
		require.Equal(t, LetterPart{}, part)
	}
}
