package localpg

import (
	"bytes"
	"io"
	"strings"
	"sync"
)

// tailSize is how much of the latest log is kept for errors.
const tailSize = 4 << 10

// tail passes a log on and keeps its end, to be told with the error of a server that does not start.
type tail struct {
	mu   sync.Mutex
	next io.Writer // may be nil
	kept []byte
}

// Write keeps and passes on. It reports success even if the log cannot be passed on: a full disk under the log
// must not take the server's standard error away.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.next != nil {
		if _, err := t.next.Write(p); err != nil {
			t.next = nil
			t.keep([]byte("\n(the log could not be passed on: " + err.Error() + ")\n"))
		}
	}
	t.keep(p)
	return len(p), nil
}

func (t *tail) keep(p []byte) {
	t.kept = append(t.kept, p...)
	if extra := len(t.kept) - tailSize; extra > 0 {
		t.kept = append(t.kept[:0], t.kept[extra:]...)
	}
}

// String is the end of the log, in whole lines.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	text := t.kept
	if len(text) == tailSize {
		if _, rest, found := bytes.Cut(text, []byte("\n")); found {
			text = rest
		}
	}
	if s := strings.TrimSpace(string(text)); s != "" {
		return s
	}
	return "nothing in its log"
}
