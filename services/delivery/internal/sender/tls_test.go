package sender

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

// authority is a certificate authority.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "authority of the tests"},
		NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	encoded, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	certificate, err := x509.ParseCertificate(encoded)
	require.NoError(t, err)
	return &authority{certificate: certificate, key: key}
}

// issue makes a certificate for an address or, when that is nil, for another name.
func (a *authority) issue(t *testing.T, address net.IP, until time.Time) tls.Certificate {
	t.Helper()
	template := &x509.Certificate{NotAfter: until}
	if address == nil {
		template.DNSNames = []string{"somebody-else.example"}
	} else {
		template.IPAddresses = []net.IP{address}
	}
	return a.sign(t, template)
}

// issueName makes a certificate for names.
func (a *authority) issueName(t *testing.T, names ...string) tls.Certificate {
	t.Helper()
	return a.sign(t, &x509.Certificate{NotAfter: time.Now().Add(time.Hour), DNSNames: names})
}

func (a *authority) sign(t *testing.T, template *x509.Certificate) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template.SerialNumber, template.NotBefore = big.NewInt(2), time.Now().Add(-time.Hour)
	template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	encoded, err := x509.CreateCertificate(rand.Reader, template, a.certificate, key.Public(), a.key)
	require.NoError(t, err)
	return tls.Certificate{Certificate: [][]byte{encoded}, PrivateKey: key}
}

// trusting returns a sender that trusts the authority.
func (a *authority) trusting(t *testing.T) *Sender {
	t.Helper()
	return newSender(t, func(c *Config) { c.Roots = a.pool() })
}

func (a *authority) pool() *x509.CertPool {
	roots := x509.NewCertPool()
	roots.AddCert(a.certificate)
	return roots
}

// receiveTLS starts a receiver with this TLS configuration.
func receiveTLS(t *testing.T, config *tls.Config, handler http.HandlerFunc) *httptest.Server {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.TLS = config
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return server
}

func ok(http.ResponseWriter, *http.Request) {}

func TestSendChecksCertificates(t *testing.T) {
	t.Parallel()
	ours := newAuthority(t)
	s := ours.trusting(t)
	loopback, soon := net.IPv4(127, 0, 0, 1), time.Now().Add(time.Hour)
	for name, test := range map[string]struct {
		certificate tls.Certificate
		version     uint16 // the greatest that is offered; 0: any
		says        string // empty: it is accepted
	}{
		"valid":              {certificate: ours.issue(t, loopback, soon)},
		"valid, TLS 1.2":     {certificate: ours.issue(t, loopback, soon), version: tls.VersionTLS12},
		"expired":            {certificate: ours.issue(t, loopback, time.Now().Add(-time.Minute)), says: "expired"},
		"of another host":    {certificate: ours.issue(t, nil, soon), says: "certificate is not valid"},
		"of another address": {certificate: ours.issue(t, net.IPv4(192, 0, 2, 1), soon), says: "192.0.2.1"},
		"of nobody known":    {certificate: newAuthority(t).issue(t, loopback, soon), says: "unknown authority"},
	} {
		server := receiveTLS(t, &tls.Config{Certificates: []tls.Certificate{test.certificate}, MaxVersion: test.version}, ok)
		attempt := send(t, s, post(server.URL))
		if test.says == "" {
			require.True(t, attempt.Succeeded(), "%s: %s", name, attempt.ErrorMessage)
			continue
		}
		require.Equal(t, core.ErrorTLS, attempt.ErrorClass, name)
		require.Contains(t, attempt.ErrorMessage, test.says, name)
		require.Zero(t, attempt.StatusCode)
	}
}

func TestSendTrustsNoSelfSignedCertificate(t *testing.T) {
	t.Parallel()
	server := receiveTLS(t, nil, ok) // with the certificate that every test of this kind has
	requireFailed(t, send(t, newSender(t), post(server.URL)), core.ErrorTLS)
}

func TestSendToAReceiverThatRefusesTheHandshake(t *testing.T) {
	t.Parallel()
	ours := newAuthority(t)
	s := ours.trusting(t)
	certificates := []tls.Certificate{ours.issue(t, net.IPv4(127, 0, 0, 1), time.Now().Add(time.Hour))}
	for name, config := range map[string]*tls.Config{
		"it speaks an old version only": {Certificates: certificates, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11},
		"it wants a certificate of us":  {Certificates: certificates, ClientAuth: tls.RequireAnyClientCert},
		"so it does with TLS 1.2":       {Certificates: certificates, ClientAuth: tls.RequireAnyClientCert, MaxVersion: tls.VersionTLS12},
		"no cipher in common": {
			Certificates: certificates, MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{tls.TLS_RSA_WITH_RC4_128_SHA},
		},
	} {
		attempt := send(t, s, post(receiveTLS(t, config, ok).URL))
		require.Equal(t, core.ErrorTLS, attempt.ErrorClass, "%s: %s", name, attempt.ErrorMessage)
		require.Contains(t, attempt.ErrorMessage, "handshake failed", name)
		requireFailed(t, attempt, core.ErrorTLS)
	}
}

func TestSendToAPortThatDoesNotSpeakTLS(t *testing.T) {
	t.Parallel()
	plain := receive(t, ok)
	attempt := send(t, newSender(t), post("https://"+plain.Listener.Addr().String()))
	requireFailed(t, attempt, core.ErrorTLS)
	require.Equal(t, "the receiver does not speak TLS", attempt.ErrorMessage)

	attempt = send(t, newSender(t), post(say(t, "SSH-2.0-OpenSSH_9.6\r\n")))
	requireFailed(t, attempt, core.ErrorTLS)
	require.Equal(t, "the receiver does not speak TLS", attempt.ErrorMessage)
}

func TestSendToAnOldReceiverThatDoesNotNegotiate(t *testing.T) {
	t.Parallel()
	hello := append([]byte{3, 2}, make([]byte, 32)...)          // TLS 1.1, the random bytes
	hello = append(hello, 0, 0xc0, 0x13, 0)                     // no session, a cipher, no compression
	hello = append([]byte{2, 0, 0, byte(len(hello))}, hello...) // ServerHello
	hello = append([]byte{22, 3, 2, 0, byte(len(hello))}, hello...)
	attempt := send(t, newSender(t), post(say(t, string(hello))))
	requireFailed(t, attempt, core.ErrorTLS)
	require.Contains(t, attempt.ErrorMessage, "handshake failed")
}

// say starts a receiver that says this text to the first that connects, and returns its URL.
func say(t *testing.T, text string) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var serving sync.WaitGroup
	serving.Go(func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		_, _ = io.WriteString(conn, text)
		_, _ = io.Copy(io.Discard, conn)
		_ = conn.Close()
	})
	t.Cleanup(func() {
		require.NoError(t, listener.Close())
		serving.Wait()
	})
	return "https://" + listener.Addr().String()
}

func TestSendSpeaksHTTP2WhereItIsOffered(t *testing.T) {
	t.Parallel()
	ours := newAuthority(t)
	s := ours.trusting(t)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Protocol", r.Proto)
		if r.URL.Path == "/huge" {
			for {
				if _, err := w.Write(make([]byte, 32<<10)); err != nil {
					return
				}
			}
		}
	}))
	server.TLS = &tls.Config{Certificates: []tls.Certificate{ours.issue(t, net.IPv4(127, 0, 0, 1), time.Now().Add(time.Hour))}}
	server.EnableHTTP2 = true
	connections := countConnections(server)
	server.StartTLS()
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	huge := send(t, s, post(server.URL+"/huge"))
	require.True(t, huge.Succeeded())
	require.Len(t, huge.ResponseBody, 64<<10)
	require.True(t, huge.ResponseTruncated)
	for range 5 {
		attempt := send(t, s, post(server.URL))
		require.True(t, attempt.Succeeded(), attempt.ErrorMessage)
		require.Contains(t, attempt.ResponseHeaders, core.Header{Name: "X-Protocol", Value: "HTTP/2.0"})
	}
	require.EqualValues(t, 1, connections.Load(), "only the stream of the huge answer was ended")
}

func TestSendPlainHTTPToATLSPort(t *testing.T) {
	t.Parallel()
	server := receiveTLS(t, nil, ok)
	attempt := send(t, newSender(t), post("http://"+server.Listener.Addr().String()))
	requireFailed(t, attempt, core.ErrorStatus)
	require.Equal(t, http.StatusBadRequest, attempt.StatusCode)
}
