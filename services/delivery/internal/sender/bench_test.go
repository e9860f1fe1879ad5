package sender

import (
	"io"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"
)

// BenchmarkSend measures an attempt over a connection that is used again, which nearly all of them are.
func BenchmarkSend(b *testing.B) {
	server := receive(b, func(_ http.ResponseWriter, r *http.Request) { _, _ = io.Copy(io.Discard, r.Body) })
	s := newSender(b)
	request := post(server.URL)
	b.ReportAllocs()
	for b.Loop() {
		attempt, err := s.Send(b.Context(), request)
		require.NoError(b, err)
		require.Equal(b, http.StatusOK, attempt.StatusCode)
	}
}
