package core

import (
	"sync"
	"time"
)

// Strain knows whether new deliveries have to wait on their way to this process: for JetStream, for ingest, or for a machine
// that all share. What can be put off is then better done later.
//
// It compares how old they are when they come with how old they were in the best moment of the last one to two minutes. So it
// does not matter how far the clocks of the servers are apart, or how long the way is.
type Strain struct {
	now func() time.Time

	mu      sync.Mutex
	average time.Duration    // moving average of their age
	seen    time.Time        // when the last one came
	least   [2]time.Duration // the least average of the current period, and of the one before
	began   time.Time        // when the current period did
}

const (
	// strainTime is what the average covers, and strainPeriod how long a way without obstacles is remembered at least.
	strainTime   = 10 * time.Millisecond
	strainPeriod = time.Minute
	// strainDelay is from when on deliveries wait.
	strainDelay = 2 * time.Millisecond
	// strainRest is how long none may have come for them to wait no more.
	strainRest = 100 * time.Millisecond
)

// NewStrain returns the Strain of a process.
func NewStrain(now func() time.Time) *Strain { return &Strain{now: now} }

// Came notes that a new delivery has come, whose event was accepted at a time.
func (s *Strain) Came(accepted time.Time) {
	now := s.now()
	age := now.Sub(accepted)
	s.mu.Lock()
	defer s.mu.Unlock()
	since := max(now.Sub(s.seen), 0).Seconds()
	weight := since / (since + strainTime.Seconds())
	s.seen = now
	s.average += time.Duration(float64(age-s.average) * weight)
	switch period := now.Sub(s.began); {
	case period >= 2*strainPeriod:
		s.least, s.began = [2]time.Duration{s.average, s.average}, now
	case period >= strainPeriod:
		s.least, s.began = [2]time.Duration{s.average, s.least[0]}, now
	default:
		s.least[0] = min(s.least[0], s.average)
	}
}

// Strained reports whether new deliveries wait now.
func (s *Strain) Strained() bool {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	return now.Sub(s.seen) < strainRest && s.average-min(s.least[0], s.least[1]) > strainDelay
}
