package configfeed

import "time"

// Clock makes the watcher take the time from a clock.
func Clock(now func() time.Time) func(*Watcher) {
	return func(w *Watcher) { w.now = now }
}

// ReportEvery sets how often the uses of keys are reported.
func ReportEvery(interval time.Duration) func(*Watcher) {
	return func(w *Watcher) { w.reportEvery = interval }
}
