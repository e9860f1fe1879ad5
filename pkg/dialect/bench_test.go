package dialect_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/dialect"
)

// BenchmarkRender renders the sample of a booked meeting, about 5 KB, with its signature.
func BenchmarkRender(b *testing.B) {
	for _, name := range dialect.Names() {
		b.Run(name, func(b *testing.B) {
			r, e, at := signing(b, name), sampled(b, "meeting.booked"), attempt()
			b.ReportAllocs()
			b.SetBytes(int64(len(e.Document)))
			for b.Loop() {
				_, err := r.Render(e, at)
				require.NoError(b, err)
			}
		})
	}
}

// BenchmarkReference makes the Standard body as BenchmarkRender does, unsigned, with nothing but encoding/json.
func BenchmarkReference(b *testing.B) {
	e := sampled(b, "meeting.booked")
	b.ReportAllocs()
	b.SetBytes(int64(len(e.Document)))
	for b.Loop() {
		_, ok := reference(e.Document, e.AcceptedAt)
		require.True(b, ok)
	}
}
