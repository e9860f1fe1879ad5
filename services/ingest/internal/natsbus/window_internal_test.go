package natsbus

import (
	"errors"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestOneEventHasFewDeliveriesOnTheirWay(t *testing.T) {
	t.Parallel()
	for size, most := range map[int]int{0: windowMessages, 1 << 10: windowMessages, 64 << 10: 16, 256 << 10: 4, 2 << 20: 1} {
		var stored []string
		way := newWindow(size, func(sent sending) error {
			stored = append(stored, sent.webhook)
			return nil
		})
		for n := range most + 10 {
			require.NoError(t, way.add(sending{webhook: strconv.Itoa(n)}))
			require.Len(t, stored, max(n-most+2, 0), "%d bytes: no more than %d are on their way", size, most)
		}
		require.NoError(t, way.close())
		require.Len(t, stored, most+10)
		for n, webhook := range stored {
			require.Equal(t, strconv.Itoa(n), webhook, "the oldest first")
		}
	}
}

func TestWhatCannotBeStoredEndsTheFanOut(t *testing.T) {
	t.Parallel()
	lost := errors.New("the connection is closed")
	way := newWindow(windowBytes, func(sending) error { return lost })
	require.ErrorIs(t, way.add(sending{}), lost)
	way = newWindow(1, func(sending) error { return lost })
	require.NoError(t, way.add(sending{}))
	require.ErrorIs(t, way.close(), lost)
}
