package core_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

// BenchmarkSlots measures what a slot costs a task that takes no time itself, of one webhook and of many.
func BenchmarkSlots(b *testing.B) {
	for _, webhooks := range []int{1, 1000} {
		b.Run(fmt.Sprintf("webhooks=%d", webhooks), func(b *testing.B) {
			slots := core.NewSlots(1000, time.Now)
			names := make([]string, webhooks)
			for i := range names {
				names[i] = fmt.Sprintf("11111111-1111-4111-8111-%012d", i)
			}
			done := make(chan struct{}, 1<<24)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				take(slots, names[i%webhooks], core.Limits{Concurrency: 8}, func() { done <- struct{}{} }, func(time.Time) { done <- struct{}{} })
				if i%4096 == 4095 {
					slots.Wait()
				}
			}
			slots.Wait()
		})
	}
}

// BenchmarkSlotsOfAWebhookThatHangs measures what it costs to send a task away.
func BenchmarkSlotsOfAWebhookThatHangs(b *testing.B) {
	c := newClock()
	slots := core.NewSlots(1000, c.now)
	release := make(chan struct{})
	for range 8 {
		take(slots, "w", core.Limits{Concurrency: 8}, func() { <-release }, nil)
	}
	c.advance(10 * time.Second)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		take(slots, "w", core.Limits{Concurrency: 8}, nil, func(time.Time) {})
	}
	close(release)
	slots.Wait()
}
