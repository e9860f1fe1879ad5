package sender

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

// strict returns a sender that reaches public addresses and the given ones.
func strict(t *testing.T, allowed ...netip.Prefix) *Sender {
	t.Helper()
	return newSender(t, func(c *Config) { c.Allowed = allowed })
}

func TestSendRefusesAddressesThatAreNotPublic(t *testing.T) {
	t.Parallel()
	resolver := serveDNS(t, &zone{names: map[string][]netip.Addr{
		"localhost": addrs("127.0.0.1"), "0x7f000001": addrs("127.0.0.1"), "0x7f.1": addrs("10.0.0.1"),
	}})
	s := newSender(t, func(c *Config) { c.Allowed, c.Resolver = nil, resolver })
	for _, host := range []string{
		"127.0.0.1", "127.1.2.3", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "0.1.2.3",
		"192.0.2.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255",
		"[::1]", "[::]", "[fe80::1]", "[fc00::1]", "[fd00:ec2::254]", "[ff02::1]", "[2001:db8::1]",
		"[::ffff:127.0.0.1]", "[::ffff:169.254.169.254]", "[::ffff:10.0.0.1]", "[64:ff9b::7f00:1]", "[64:ff9b:1::1]",
		"[2002:7f00:1::]", "[2002:a9fe:a9fe::]", "[2001:0:7f00:1::]",
		"localhost", "localhost.", "0x7f000001", "0x7f.1",
	} {
		for _, scheme := range []string{"http", "https"} {
			attempt := send(t, s, post(scheme+"://"+host+":9/"))
			requireFailed(t, attempt, core.ErrorAddress)
			require.Equal(t, "the host's address is not one that may be called", attempt.ErrorMessage, host)
		}
	}
}

func TestSendTakesNoNumberForAName(t *testing.T) {
	t.Parallel()
	hosts := []string{"127.1", "2130706433", "0177.0.0.1", "127.0.0.1.", "1.2.3"}
	z := &zone{names: map[string][]netip.Addr{}}
	for _, host := range hosts {
		z.names[strings.TrimSuffix(host, ".")] = addrs(public)
	}
	s := newSender(t, func(c *Config) { c.Allowed, c.Resolver = nil, serveDNS(t, z) })
	for _, host := range hosts { // some systems would take them for addresses
		requireFailed(t, send(t, s, post("http://"+host+":9/")), core.ErrorDNS)
		require.Zero(t, z.questions(strings.TrimSuffix(host, ".")), host)
	}
}

func TestSendReachesNobodyAtARefusedAddress(t *testing.T) {
	t.Parallel()
	server := httptest.NewUnstartedServer(http.HandlerFunc(ok))
	connections := countConnections(server)
	server.Start()
	t.Cleanup(server.Close)
	requireFailed(t, send(t, strict(t), post(server.URL)), core.ErrorAddress)
	require.Empty(t, send(t, newSender(t), post(server.URL)).ErrorClass)
	require.EqualValues(t, 1, connections.Load(), "that of the sender that may")
}

func TestSendReachesAllowedAddresses(t *testing.T) {
	t.Parallel()
	server := receive(t, func(http.ResponseWriter, *http.Request) {})
	require.Empty(t, send(t, strict(t, netip.MustParsePrefix("127.0.0.1/32")), post(server.URL)).ErrorClass)
	requireFailed(t, send(t, strict(t, netip.MustParsePrefix("127.0.0.2/32")), post(server.URL)), core.ErrorAddress)
	requireFailed(t, send(t, strict(t, netip.MustParsePrefix("::1/128")), post(server.URL)), core.ErrorAddress)
}

func TestSendToAPortWhereNobodyListens(t *testing.T) {
	t.Parallel()
	// An address that nothing else on this machine is asked to listen on.
	listener, err := net.Listen("tcp", "127.0.0.3:0")
	require.NoError(t, err)
	url := "http://" + listener.Addr().String()
	require.NoError(t, listener.Close())
	attempt := send(t, newSender(t), post(url))
	requireFailed(t, attempt, core.ErrorConnect)
	require.Zero(t, attempt.StatusCode)
}

func TestSendToANameWithoutAddress(t *testing.T) {
	t.Parallel()
	attempt := send(t, newSender(t), post("https://receiver.invalid/hook"))
	requireFailed(t, attempt, core.ErrorDNS)
}
