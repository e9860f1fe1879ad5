package cli

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/meetwire/meetwire/pkg/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// testKey is the key that sessions have.
const testKey = "mwk_0123456789abcdef_the-key-of-the-tests"

// console is a session whose output is kept.
type console struct {
	*Session
	out, err bytes.Buffer
}

// newConsole makes a session with a server, typed input and a form of output.
func newConsole(t *testing.T, server, input, output string) *console {
	t.Helper()
	c := &console{}
	c.Session = NewSession(t.Context(), Connection{
		Server: server, APIKey: secret.New(testKey), Organization: "acme", Output: output,
	}, Terminal{In: strings.NewReader(input), Out: &c.out, Err: &c.err, Interactive: true})
	return c
}

// call is a request that a server got.
type call struct{ method, uri, authorization, agent, body string }

// server answers every request with a status and a body, and notes them.
func server(t *testing.T, status int, body string) (url string, calls *[]call) {
	t.Helper()
	calls = new([]call)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		*calls = append(*calls, call{r.Method, r.URL.RequestURI(), r.Header.Get("Authorization"), r.Header.Get("User-Agent"), string(text)})
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body) // a client that went away is the test's own
	}))
	t.Cleanup(func() {
		http.DefaultTransport.(*http.Transport).CloseIdleConnections()
		s.Close()
	})
	return s.URL, calls
}

func requireNoKey(t *testing.T, text string) {
	t.Helper()
	require.NotContains(t, text, testKey)
	require.NotContains(t, text, "the-key-of-the-tests")
}
