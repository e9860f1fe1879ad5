package sender

import (
	"crypto/tls"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
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
