package bus

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// written is a connection that notes what is written to it.
type written struct {
	net.Conn
	all    [][]byte
	err    error
	closed bool
}

func (w *written) Write(p []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	w.all = append(w.all, bytes.Clone(p))
	return len(p), nil
}

func (w *written) SetWriteDeadline(time.Time) error { return nil }

func (w *written) Close() error {
	w.closed = true
	return nil
}

func write(t *testing.T, g *gathering, texts ...string) {
	t.Helper()
	for _, text := range texts {
		n, err := g.Write([]byte(text))
		require.NoError(t, err)
		require.Equal(t, len(text), n)
	}
}

func TestGatheringSendsWhatComesTogetherAtOnce(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		under := new(written)
		g := newGathering(under)
		write(t, g, "a")
		require.Len(t, under.all, 1, "after a pause nothing waits")
		write(t, g, "b", "c", "d")
		require.Len(t, under.all, 1)
		<-time.After(gatherTime)
		synctest.Wait()
		require.Equal(t, [][]byte{[]byte("a"), []byte("bcd")}, under.all)
		write(t, g, "e")
		<-time.After(gatherTime)
		synctest.Wait()
		<-time.After(gatherTime)
		write(t, g, "f")
		require.Equal(t, [][]byte{[]byte("a"), []byte("bcd"), []byte("e"), []byte("f")}, under.all)

		write(t, g, string(make([]byte, gatherBytes)))
		require.Len(t, under.all, 5, "much does not wait")
		write(t, g, "g")
		require.NoError(t, g.Close())
		require.Equal(t, []byte("g"), under.all[5], "also what is pending at the end is sent")
		require.True(t, under.closed)
		_, err := g.Write([]byte("h"))
		require.ErrorIs(t, err, net.ErrClosed)
		<-time.After(2 * gatherTime)
		synctest.Wait()
		require.Len(t, under.all, 6)
	})
}

func TestGatheringTellsOfAWriteThatFailed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		under := new(written)
		g := newGathering(under)
		write(t, g, "a", "b")
		under.err = errors.New("the line is cut")
		<-time.After(gatherTime)
		synctest.Wait()
		require.True(t, under.closed, "the reader must notice")
		_, err := g.Write([]byte("c"))
		require.ErrorIs(t, err, under.err)
		require.NoError(t, g.Close())
	})
}

// Everything arrives, whole and in order, over a real connection.
func TestGatheringKeepsTheOrder(t *testing.T) {
	t.Parallel()
	var config net.ListenConfig
	listener, err := config.Listen(t.Context(), "tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer listener.Close()
	got := make(chan []byte)
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			close(got)
			return
		}
		all, _ := io.ReadAll(conn) // what is missing shows
		got <- all
	}()
	conn, err := gatherer{}.Dial("tcp", listener.Addr().String())
	require.NoError(t, err)
	var want []byte
	for i := range 20_000 {
		text := fmt.Appendf(nil, "message %d;", i)
		want = append(want, text...)
		_, err := conn.Write(text)
		require.NoError(t, err)
	}
	require.NoError(t, conn.Close())
	require.Equal(t, want, <-got)
}
