package sender

import (
	"bytes"
	"errors"
	"io"
	"net"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/secret"
)

// scripted is a connection whose other end says what is written here, whatever it is told.
type scripted struct {
	net.Conn
	says io.Reader
}

func (s *scripted) Read(b []byte) (int, error)  { return s.says.Read(b) }
func (s *scripted) Write(b []byte) (int, error) { return len(b), nil }

// FuzzProxyAnswer has proxies say anything. Only what is an answer in full is taken for a connection.
func FuzzProxyAnswer(f *testing.F) {
	for _, seed := range []string{
		"", "HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\nmore", "HTTP/1.1 407 No\r\n\r\n", "HTTP/1.1 503 No\r\nX-Squid-Error: ERR_CONNECT_FAIL\r\n\r\n",
		"\x05\x00\x05\x00\x00\x01\x00\x00\x00\x00\x00\x50", "\x05\x00\x05\x00\x00\x03\x00\x00\x50", "\x05\x02\x01\x00\x05\x05\x00\x01", "\x05\xff",
	} {
		f.Add([]byte(seed), true)
		f.Add([]byte(seed), false)
	}
	f.Fuzz(func(t *testing.T, says []byte, name bool) {
		host := public
		if name {
			host = "receiver.example"
		}
		for _, url := range []string{"http://u:p@proxy", "socks5://u:p@proxy"} {
			p, err := ParseProxy(secret.New(url), nil)
			require.NoError(t, err)
			c := &call{proxy: p}
			err = p.converse(t.Context(), &scripted{says: bytes.NewReader(says)}, c, host, 443)
			var (
				failed      *proxyError
				unreachable *unreachableError
			)
			if err != nil {
				require.True(t, errors.As(err, &failed) || errors.As(err, &unreachable), "%v", err)
				continue
			}
			require.GreaterOrEqual(t, len(says), len("\x05\x00\x05\x00\x00\x03\x00\x00\x50"))
			require.False(t, c.unanswered())
		}
	})
}
