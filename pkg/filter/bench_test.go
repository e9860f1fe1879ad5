package filter_test

import (
	"fmt"
	"testing"

	"github.com/meetwire/meetwire/pkg/filter"
)

// BenchmarkMatch measures one evaluation on an event of 1 KiB that was decoded before.
func BenchmarkMatch(b *testing.B) {
	for name, source := range map[string]string{
		"simple":  `event.data.event_type.slug == "demo" && event.data.duration > 30`,
		"in":      `event.data.event_type.slug in ["demo", "trial", "intro"]`,
		"macro":   `event.data.attendees.exists(a, a.email.endsWith("@example.org"))`,
		"pattern": `event.data.id.matches("^m-[0-9]+$")`,
		"failing": `event.data.missing == 1`,
	} {
		b.Run(name, func(b *testing.B) {
			f, err := filter.Compile(source)
			if err != nil {
				b.Fatal(err)
			}
			e, err := filter.NewEvent([]byte(booked))
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				_, _ = f.Match(e)
			}
		})
	}
}

// BenchmarkEvent measures what the first filter of an event costs more than the others.
func BenchmarkEvent(b *testing.B) {
	f, err := filter.Compile(`event.data.duration > 30`)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(booked)))
	b.ReportAllocs()
	for b.Loop() {
		e, err := filter.NewEvent([]byte(booked))
		if err != nil {
			b.Fatal(err)
		}
		if _, err := f.Match(e); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCompile(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := filter.Compile(`event.data.event_type.slug == "demo" && event.data.duration > 30`); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkCache measures what a hundred thousand webhooks with a hundred different filters cost: the time and the
// memory of one more.
func BenchmarkCache(b *testing.B) {
	var cache filter.Cache
	sources := make([]string, 100)
	for i := range sources {
		sources[i] = fmt.Sprintf(`event.data.event_type.slug == "demo-%d" && event.data.duration > 30`, i)
	}
	held := make([]*filter.Shared, 100_000)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		held[i%len(held)] = cache.Get(sources[i%len(sources)])
	}
}
