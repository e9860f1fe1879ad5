package mail

import (
	netmail "net/mail"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzAddress: what is accepted means the same to a command, to a header and to the standard library's parser.
func FuzzAddress(f *testing.F) {
	f.Add("ann@example.com")
	f.Add("ann@bücher.example")
	f.Add("00@\xe800")
	f.Add("a> b@example.com\r\nBcc: x@example.com")
	f.Fuzz(func(t *testing.T, s string) {
		parsed, err := parseAddress(s)
		if err != nil {
			return
		}
		text := parsed.String()
		require.Regexp(t, "^[!#-'*+./0-9=?A-Z^_`a-z{|}~-]+@[a-z0-9._-]+$", text)
		again, err := netmail.ParseAddress(text)
		require.NoError(t, err)
		require.Equal(t, netmail.Address{Address: text}, *again)
		same, err := parseAddress(text)
		require.NoError(t, err)
		require.Equal(t, parsed, same)
	})
}
