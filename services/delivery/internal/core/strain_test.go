package core_test

import (
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

// strain is a Strain under test.
type strain struct {
	*core.Strain

	clock *clock
}

func newStrain() *strain {
	c := newClock()
	return &strain{Strain: core.NewStrain(c.now), clock: c}
}

// come lets deliveries of an age come for a time, one every so often.
func (s *strain) come(age, every, during time.Duration) {
	for range during / every {
		s.clock.advance(every)
		s.Came(s.clock.now().Add(-age))
	}
}

func TestStrain(t *testing.T) {
	t.Parallel()
	const ms, second = time.Millisecond, time.Second
	for name, test := range map[string]struct {
		comes func(s *strain)
		want  bool
	}{
		"nothing has come":         {comes: func(*strain) {}},
		"the first is old":         {comes: func(s *strain) { s.come(10*second, ms, ms) }},
		"all are as old":           {comes: func(s *strain) { s.come(50*ms, ms, second) }},
		"they are older than they": {comes: func(s *strain) { s.come(50*ms, ms, second); s.come(53*ms, ms, second/10) }, want: true},
		"a little older":           {comes: func(s *strain) { s.come(50*ms, ms, second); s.come(51*ms, ms, second) }},
		"one is older": {comes: func(s *strain) {
			s.come(ms, ms, second)
			s.come(15*ms, ms, ms)
		}},
		"one of few is older": {comes: func(s *strain) {
			s.come(ms, 50*ms, second)
			s.come(15*ms, 50*ms, 50*ms)
		}, want: true},
		"they were older": {comes: func(s *strain) {
			s.come(ms, ms, second)
			s.come(100*ms, ms, second)
			s.come(ms, ms, second/10)
		}},
		"they are younger than the first": {comes: func(s *strain) { s.come(10*second, ms, second); s.come(ms, ms, second) }},
		"none comes any more": {comes: func(s *strain) {
			s.come(ms, ms, second)
			s.come(100*ms, ms, second)
			s.clock.advance(100 * ms)
		}},
		"a clock is ahead": {comes: func(s *strain) { s.come(-50*ms, ms, second); s.come(-40*ms, ms, second) }, want: true},
		// A clock was set, or the way has become longer.
		"older for minutes":   {comes: func(s *strain) { s.come(ms, ms, second); s.come(100*ms, ms, 3*time.Minute) }},
		"older for a minute":  {comes: func(s *strain) { s.come(ms, ms, second); s.come(100*ms, ms, 70*second) }, want: true},
		"older after a break": {comes: func(s *strain) { s.come(ms, ms, second); s.clock.advance(time.Hour); s.come(100*ms, ms, second) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newStrain()
			test.comes(s)
			require.Equal(t, test.want, s.Strained())
		})
	}
}

func TestStrainIsToldAndAskedAtOnce(t *testing.T) {
	t.Parallel()
	s := newStrain()
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 1000 {
				s.come(50*time.Millisecond, time.Millisecond, time.Millisecond)
				s.Strained()
			}
		})
	}
	all.Wait()
	s.come(60*time.Millisecond, time.Millisecond, 100*time.Millisecond)
	require.True(t, s.Strained())
}
