package core

// Exceeding returns by how many attempts this process is above its share of webhooks: they were under way when another
// process joined, which must not take its own share of them before they have ended.
func (s *Slots) Exceeding() map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	exceeding := make(map[string]int)
	for webhook, l := range s.lines {
		if l.active.n > l.part {
			exceeding[webhook] = l.active.n - l.part
		}
	}
	return exceeding
}

// SetExceeded says by how many attempts other processes are above their shares of webhooks. This process makes so many
// fewer, until it is told otherwise.
func (s *Slots) SetExceeded(webhooks map[string]int) {
	now := s.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.exceeded
	s.exceeded = webhooks
	for webhook, l := range s.lines {
		if before[webhook] != webhooks[webhook] {
			s.limit(l, l.configured, now)
		}
	}
}
