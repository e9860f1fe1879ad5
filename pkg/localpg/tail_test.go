package localpg

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTailKeepsTheEndInWholeLines(t *testing.T) {
	t.Parallel()
	var all bytes.Buffer
	log := &tail{next: &all}
	require.Equal(t, "nothing in its log", log.String())
	for i := range 1000 {
		_, err := fmt.Fprintf(log, "line %d\n", i)
		require.NoError(t, err)
	}
	require.Equal(t, 1000, strings.Count(all.String(), "\n"))
	require.LessOrEqual(t, len(log.String()), tailSize)
	require.True(t, strings.HasPrefix(log.String(), "line "), log.String()[:20])
	require.True(t, strings.HasSuffix(log.String(), "line 999"))
}

type brokenWriter struct{ calls int }

func (w *brokenWriter) Write([]byte) (int, error) {
	w.calls++
	return 0, errors.New("disk full")
}

func TestTailOutlivesALogThatFails(t *testing.T) {
	t.Parallel()
	broken := &brokenWriter{}
	log := &tail{next: broken}
	for range 2 {
		n, err := log.Write([]byte("line\n"))
		require.NoError(t, err)
		require.Equal(t, 5, n)
	}
	require.Equal(t, 1, broken.calls)
	require.Contains(t, log.String(), "disk full")
	require.Contains(t, log.String(), "line")
}
