package bus

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// written is a connection that notes what is written to it.
type written struct {
	net.Conn
	mu     sync.Mutex
	all    [][]byte
	err    error
	closed bool
}

// got is what was written, and whether it was closed.
func (w *written) got() (all [][]byte, closed bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.all), w.closed
}

func (w *written) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.err = err
}

func (w *written) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return 0, w.err
	}
	w.all = append(w.all, bytes.Clone(p))
	return len(p), nil
}

func (w *written) SetWriteDeadline(time.Time) error { return nil }

func (w *written) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	return nil
}

func requireWritten(t *testing.T, w *written, want ...string) {
	t.Helper()
	all, _ := w.got()
	texts := make([]string, len(all))
	for i, one := range all {
		texts[i] = string(one)
	}
	require.Equal(t, want, texts)
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
		requireWritten(t, under, "a") // after a pause nothing waits
		write(t, g, "b", "c", "d")
		requireWritten(t, under, "a")
		<-time.After(gatherTime)
		synctest.Wait()
		requireWritten(t, under, "a", "bcd")
		write(t, g, "e")
		<-time.After(gatherTime)
		synctest.Wait()
		<-time.After(gatherTime)
		write(t, g, "f")
		requireWritten(t, under, "a", "bcd", "e", "f")

		much := strings.Repeat("m", gatherBytes)
		write(t, g, much)
		requireWritten(t, under, "a", "bcd", "e", "f", much) // does not wait
		write(t, g, "g")
		require.NoError(t, g.Close())
		requireWritten(t, under, "a", "bcd", "e", "f", much, "g") // also what is pending at the end
		_, closed := under.got()
		require.True(t, closed)
		_, err := g.Write([]byte("h"))
		require.ErrorIs(t, err, net.ErrClosed)
		<-time.After(2 * gatherTime)
		synctest.Wait()
		requireWritten(t, under, "a", "bcd", "e", "f", much, "g")
	})
}

func TestGatheringTellsOfAWriteThatFailed(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		under := new(written)
		g := newGathering(under)
		write(t, g, "a", "b")
		cut := errors.New("the line is cut")
		under.fail(cut)
		<-time.After(gatherTime)
		synctest.Wait()
		_, closed := under.got()
		require.True(t, closed, "the reader must notice")
		_, err := g.Write([]byte("c"))
		require.ErrorIs(t, err, cut)
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

// A peer that reads nothing does not keep a connection from being closed.
func TestGatheringIsClosedInTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe() // has no buffer, and knows deadlines
		defer far.Close()
		g := newGathering(near)
		g.sent = time.Now()
		write(t, g, "a")
		began := time.Now()
		require.NoError(t, g.Close())
		require.Equal(t, closeTime, time.Since(began))
	})
}
