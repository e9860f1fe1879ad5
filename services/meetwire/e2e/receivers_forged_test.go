package e2e_test

import (
	"bytes"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/dialect"
	"github.com/meetwire/meetwire/pkg/webhook"
)

// forgery is what somebody on the way does to a request, and its receiver must notice.
type forgery func(header http.Header, body []byte)

// forgedID is what a forged id ends in.
const forgedID = "-forged"

// forgeries returns those that a dialect protects against, by what is forged. A dialect that signs the body alone does
// not protect webhook-id and webhook-timestamp.
func forgeries(dialect string) map[string]forgery {
	all := map[string]forgery{"body": func(_ http.Header, body []byte) { tamper(body) }}
	scheme, alone := webhook.BodySchemeOf(dialect)
	if !alone {
		all["signature"] = func(h http.Header, _ []byte) { h.Del(webhook.HeaderSignature) }
		all["id"] = func(h http.Header, _ []byte) { h.Set(webhook.HeaderID, h.Get(webhook.HeaderID)+forgedID) }
		// As fresh as the one that was signed.
		all["timestamp"] = func(h http.Header, _ []byte) {
			if sent, err := strconv.ParseInt(h.Get(webhook.HeaderTimestamp), 10, 64); err == nil {
				h.Set(webhook.HeaderTimestamp, strconv.FormatInt(sent+1, 10))
			}
		}
		return all
	}
	all["signature"] = func(h http.Header, _ []byte) { h.Del(scheme.Header) }
	if scheme.VersionHeader != "" {
		all["version"] = func(h http.Header, _ []byte) { h.Set(scheme.VersionHeader, "0") }
		// As one without a key is sent.
		all["version and signature"] = func(h http.Header, _ []byte) {
			h.Set(scheme.VersionHeader, "0")
			h.Set(scheme.Header, "")
		}
	}
	return all
}

// tamper changes a letter in the middle.
func tamper(body []byte) {
	for i := len(body) / 2; i < len(body); i++ {
		if 'a' <= body[i] && body[i] < 'z' {
			body[i]++
			return
		}
	}
}

// forger is a proxy in front of a receiver, with TLS where the dialect wants it. It changes the requests that are sent
// to one of its addresses.
type forger struct{ url string }

// with is the address whose requests are changed in a way; empty: as they are.
func (f *forger) with(forged string) string {
	return f.url + "/?" + url.Values{"forged": {forged}}.Encode()
}

func newForger(t *testing.T, target, dialect string) *forger {
	t.Helper()
	to, err := url.Parse(target)
	require.NoError(t, err)
	all, proxy := forgeries(dialect), httputil.NewSingleHostReverseProxy(to)
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			http.Error(w, "cannot read the body", http.StatusBadGateway)
			return
		}
		if forge, ok := all[r.URL.Query().Get("forged")]; ok {
			forge(r.Header, body)
		}
		r.URL.RawQuery, r.Body = "", io.NopCloser(bytes.NewReader(body))
		proxy.ServeHTTP(w, r)
	})
	return &forger{url: serve(t, handler, dialect)}
}

// serve starts a server that webhooks of a dialect may point to, and returns its URL.
func serve(t *testing.T, handler http.Handler, name string) string {
	t.Helper()
	d, ok := dialect.Lookup(name)
	require.True(t, ok, name)
	start := httptest.NewServer
	if d.Traits().HTTPSOnly {
		start = httptest.NewTLSServer
	}
	server := start(handler)
	t.Cleanup(server.Close)
	return server.URL
}

// testAuthority returns a file with the certificate that the servers with TLS of tests have.
func testAuthority(t *testing.T) string {
	t.Helper()
	server := httptest.NewTLSServer(nil)
	defer server.Close()
	path := filepath.Join(t.TempDir(), "authority.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	require.NoError(t, os.WriteFile(path, block, 0o600))
	return path
}
