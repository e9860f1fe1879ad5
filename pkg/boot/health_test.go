package boot

import (
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestHealthCheckTellsWhatTheProcessAnswers(t *testing.T) {
	t.Parallel()
	status := http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/readyz" {
			w.WriteHeader(http.StatusNotFound)
			return
		}
		w.WriteHeader(status)
	}))
	defer server.Close()
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	require.NoError(t, err)

	require.NoError(t, askReady(t.Context(), "127.0.0.1:"+port))
	require.NoError(t, askReady(t.Context(), "0.0.0.0:"+port), "an unspecified address is asked on loopback")
	require.NoError(t, askReady(t.Context(), ":"+port))
	status = http.StatusServiceUnavailable
	require.ErrorIs(t, askReady(t.Context(), "127.0.0.1:"+port), errNotReady)
	server.Close()
	require.ErrorContains(t, askReady(t.Context(), "127.0.0.1:"+port), "refused")
	require.Error(t, askReady(t.Context(), "nonsense"))
}
