package grpcapi

import "sync"

// turns bounds how many calls of a kind an instance serves at once: altogether, and for one organization, so that none can
// have all of them.
type turns struct {
	all, each int

	mu    sync.Mutex
	taken map[string]int
	total int
}

func newTurns(all, each int) *turns {
	return &turns{all: all, each: each, taken: make(map[string]int)}
}

// take takes a turn, which the caller gives back. False: there is none.
func (t *turns) take(organization string) (give func(), ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.total >= t.all || t.taken[organization] >= t.each {
		return nil, false
	}
	t.total++
	t.taken[organization]++
	return func() { t.give(organization) }, true
}

func (t *turns) give(organization string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.total--
	if t.taken[organization]--; t.taken[organization] == 0 {
		delete(t.taken, organization)
	}
}
