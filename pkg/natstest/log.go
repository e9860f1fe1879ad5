package natstest

import (
	"fmt"
	"slices"
	"strings"
	"sync"
)

// logLines is how many of the latest warnings and errors of a server are kept.
const logLines = 30

// serverLog keeps what a server complains about, to be told when a test fails because of it. It satisfies
// server.Logger, and unlike the server's own logger does not end the process on a fatal error.
type serverLog struct {
	mu         sync.Mutex
	lines      []string
	firstFatal string
}

// Noticef ignores a notice.
func (l *serverLog) Noticef(string, ...any) {}

// Debugf ignores a debug line.
func (l *serverLog) Debugf(string, ...any) {}

// Tracef ignores a trace line.
func (l *serverLog) Tracef(string, ...any) {}

// Warnf keeps a warning.
func (l *serverLog) Warnf(format string, v ...any) { l.add("warning: ", format, v) }

// Errorf keeps an error.
func (l *serverLog) Errorf(format string, v ...any) { l.add("error: ", format, v) }

// Fatalf keeps what made the server unusable.
func (l *serverLog) Fatalf(format string, v ...any) {
	l.add("fatal: ", format, v)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.firstFatal == "" {
		l.firstFatal = fmt.Sprintf(format, v...)
	}
}

func (l *serverLog) add(level, format string, v []any) {
	line := level + fmt.Sprintf(format, v...)
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.lines) == logLines {
		l.lines = slices.Delete(l.lines, 0, 1)
	}
	l.lines = append(l.lines, line)
}

func (l *serverLog) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines, l.firstFatal = nil, ""
}

func (l *serverLog) fatal() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.firstFatal
}

func (l *serverLog) all() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.lines)
}

// tail is the latest lines for people.
func (l *serverLog) tail() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.lines) == 0 {
		return "nothing in its log"
	}
	return "its log ends with:\n" + strings.Join(l.lines, "\n")
}
