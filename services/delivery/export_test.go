package delivery

import "time"

// ageTimers is by how much a service that hastens timers is ahead: by more than any of them waits.
const ageTimers = 365 * 24 * time.Hour

// HastenTimers has what looks for stuck timers take each for stuck that is set, as soon as it is. It is to be called before
// Run.
func (s *Service) HastenTimers() {
	s.pace.sweeps = 50 * time.Millisecond
	s.pace.sweepNow = func() time.Time { return time.Now().Add(ageTimers) }
}

// LimitBacklog says how many timers may wait for one webhook. It is to be called before Run.
func (s *Service) LimitBacklog(limit int) { s.pace.backlog = limit }
