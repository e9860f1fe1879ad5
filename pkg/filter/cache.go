package filter

import (
	"runtime"
	"sync"
	"weak"
)

// Cache shares compiled filters by their source: a hundred thousand webhooks with a few different filters hold a few
// filters. It forgets a filter when nobody uses it any more. The zero value is ready, and can be used by several
// goroutines at once.
type Cache struct {
	mu      sync.Mutex
	entries map[string]weak.Pointer[Shared]
}

// Shared is a filter of a Cache. It is compiled when it is first used. It can be used by several goroutines at once.
type Shared struct {
	source   string
	compiled func() (*Filter, error)
}

// Get returns the filter with this source. As long as the caller keeps what it got, everybody who asks for the same
// source gets the same.
func (c *Cache) Get(source string) *Shared {
	c.mu.Lock()
	defer c.mu.Unlock()
	if shared := c.entries[source].Value(); shared != nil {
		return shared
	}
	shared := &Shared{source: source, compiled: sync.OnceValues(func() (*Filter, error) { return Compile(source) })}
	if c.entries == nil {
		c.entries = make(map[string]weak.Pointer[Shared])
	}
	c.entries[source] = weak.Make(shared)
	runtime.AddCleanup(shared, c.forget, source)
	return shared
}

// forget removes an entry whose filter is gone, unless the source was asked for again in between.
func (c *Cache) forget(source string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if entry, ok := c.entries[source]; ok && entry.Value() == nil {
		delete(c.entries, source)
	}
}

// Len returns the number of different filters in use.
func (c *Cache) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.entries)
}

// Source returns the expression.
func (s *Shared) Source() string { return s.source }

// Match is Filter.Match. When the filter does not compile every call returns the reason.
func (s *Shared) Match(event *Event) (bool, error) {
	f, err := s.compiled()
	if err != nil {
		return false, err
	}
	return f.Match(event)
}

// MatchWithin is Filter.MatchWithin. When the filter does not compile every call returns the reason.
func (s *Shared) MatchWithin(event *Event, budget int64) (matched bool, spent int64, err error) {
	f, err := s.compiled()
	if err != nil {
		return false, 0, err
	}
	return f.MatchWithin(event, budget)
}
