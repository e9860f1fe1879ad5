package sender

import (
	"crypto/tls"
	"encoding/pem"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

func (a *authority) pem() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.certificate.Raw}))
}

func writeFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ca.pem")
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}

func TestSendTrustsFurtherAuthorities(t *testing.T) {
	t.Parallel()
	first, second, third := newAuthority(t), newAuthority(t), newAuthority(t)
	roots, err := Roots(writeFile(t, "what this is for\n"+first.pem()+"\n"+second.pem()))
	require.NoError(t, err)
	s := newSender(t, func(c *Config) { c.Roots = roots })
	for authority, class := range map[*authority]string{first: "", second: "", third: core.ErrorTLS} {
		certificate := authority.issue(t, net.IPv4(127, 0, 0, 1), time.Now().Add(time.Hour))
		server := receiveTLS(t, &tls.Config{Certificates: []tls.Certificate{certificate}}, ok)
		require.Equal(t, class, send(t, s, post(server.URL)).ErrorClass)
	}
}

func TestRootsThatCannotBeRead(t *testing.T) {
	t.Parallel()
	good := newAuthority(t).pem()
	for text, says := range map[string]string{
		"":             "holds no PEM certificate",
		"certificate":  "holds no PEM certificate",
		"\x00\x01\xff": "holds no PEM certificate",
		good + "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n": "certificate 2 of the file cannot be read",
		good + "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n": "block 2 of the file is a PRIVATE KEY, not a CERTIFICATE",
		"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n" + good: "block 1 of the file is a PRIVATE KEY",
	} {
		_, err := Roots(writeFile(t, text))
		require.ErrorContains(t, err, says)
	}
	_, err := Roots(filepath.Join(t.TempDir(), "missing.pem"))
	require.ErrorIs(t, err, os.ErrNotExist)
}

// TestSendTrustsTheSystemToo runs a process of its own, whose system has other authorities than this one's.
func TestSendTrustsTheSystemToo(t *testing.T) {
	t.Parallel()
	const extra, urls = "MEETWIRE_TEST_EXTRA_CA", "MEETWIRE_TEST_URLS"
	if path := os.Getenv(extra); path != "" {
		roots, err := Roots(path)
		require.NoError(t, err)
		s, plain := newSender(t, func(c *Config) { c.Roots = roots }), newSender(t)
		of := strings.Fields(os.Getenv(urls))
		for i, classes := range [][2]string{{"", ""}, {"", core.ErrorTLS}, {core.ErrorTLS, core.ErrorTLS}} {
			require.Equal(t, classes[0], send(t, s, post(of[i])).ErrorClass, "number %d, with an extra authority", i)
			require.Equal(t, classes[1], send(t, plain, post(of[i])).ErrorClass, "number %d, without one", i)
		}
		return
	}
	system, added, unknown := newAuthority(t), newAuthority(t), newAuthority(t)
	var of []string
	for _, authority := range []*authority{system, added, unknown} {
		certificate := authority.issue(t, net.IPv4(127, 0, 0, 1), time.Now().Add(time.Hour))
		of = append(of, receiveTLS(t, &tls.Config{Certificates: []tls.Certificate{certificate}}, ok).URL)
	}
	command := exec.Command(os.Args[0], "-test.run=^TestSendTrustsTheSystemToo$", "-test.v")
	command.Env = append(os.Environ(), extra+"="+writeFile(t, added.pem()), urls+"="+strings.Join(of, " "),
		"SSL_CERT_FILE="+writeFile(t, system.pem()), "SSL_CERT_DIR="+t.TempDir())
	output, err := command.CombinedOutput()
	require.NoError(t, err, "%s", output)
	require.Contains(t, string(output), "--- PASS: TestSendTrustsTheSystemToo")
}
