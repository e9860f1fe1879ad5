package target_test

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/target"
)

// special are the ranges of IANA's registries of special-purpose addresses (RFC 6890) for IPv4 and IPv6, what is set
// aside for multicast and for nothing yet, and what clouds use.
func special() map[string]string {
	return map[string]string{
		"0.0.0.0/8":          "this network",
		"10.0.0.0/8":         "private use",
		"100.64.0.0/10":      "shared address space",
		"100.100.100.200/32": "metadata of Alibaba",
		"127.0.0.0/8":        "loopback",
		"168.63.129.16/32":   "virtual machines' host at Azure",
		"169.254.0.0/16":     "link local",
		"169.254.169.254/32": "metadata of most clouds",
		"169.254.170.2/32":   "credentials of containers at Amazon",
		"172.16.0.0/12":      "private use",
		"192.0.0.0/24":       "protocol assignments",
		"192.0.0.192/32":     "metadata of Oracle",
		"192.0.2.0/24":       "documentation",
		"192.31.196.0/24":    "AS112",
		"192.52.193.0/24":    "AMT",
		"192.88.99.0/24":     "6to4 relays",
		"192.168.0.0/16":     "private use",
		"192.175.48.0/24":    "AS112",
		"198.18.0.0/15":      "benchmarks",
		"198.51.100.0/24":    "documentation",
		"203.0.113.0/24":     "documentation",
		"224.0.0.0/4":        "multicast",
		"240.0.0.0/4":        "reserved",
		"255.255.255.255/32": "broadcast",

		"::/128":              "unspecified",
		"::1/128":             "loopback",
		"::/96":               "IPv4 within IPv6",
		"64:ff9b::/96":        "NAT64",
		"64:ff9b:1::/48":      "local NAT64",
		"100::/64":            "discarded",
		"100:0:0:1::/64":      "dummies",
		"2001::/23":           "protocol assignments",
		"2001::/32":           "Teredo",
		"2001:1::1/128":       "port control",
		"2001:1::2/128":       "TURN",
		"2001:1::3/128":       "service discovery",
		"2001:2::/48":         "benchmarks",
		"2001:3::/32":         "AMT",
		"2001:4:112::/48":     "AS112",
		"2001:10::/28":        "ORCHID",
		"2001:20::/28":        "ORCHIDv2",
		"2001:30::/28":        "drones",
		"2001:db8::/32":       "documentation",
		"2002::/16":           "6to4",
		"2620:4f:8000::/48":   "AS112",
		"3fff::/20":           "documentation",
		"5f00::/16":           "segment routing",
		"fc00::/7":            "unique local",
		"fd00:ec2::254/128":   "metadata of Amazon",
		"fd20:ce::254/128":    "metadata of Google",
		"fe80::/10":           "link local",
		"fec0::/10":           "site local",
		"ff00::/8":            "multicast",
		"::ffff:0:0:0/96":     "translated IPv4",
		"4000::/2":            "nothing yet",
		"8000::/1":            "nothing yet",
		"::ffff:10.0.0.0/104": "IPv4-mapped",
	}
}

// last returns the last address of a range.
func last(prefix netip.Prefix) netip.Addr {
	bytes := prefix.Addr().AsSlice()
	for bit := prefix.Bits(); bit < len(bytes)*8; bit++ {
		bytes[bit/8] |= 0x80 >> (bit % 8)
	}
	addr, _ := netip.AddrFromSlice(bytes)
	return addr
}

func TestEverySpecialRangeIsRefused(t *testing.T) {
	t.Parallel()
	policy := target.New(nil)
	for text, name := range special() {
		prefix := netip.MustParsePrefix(text)
		for _, addr := range []netip.Addr{prefix.Addr(), last(prefix)} {
			require.ErrorIs(t, policy.CheckAddr(addr), target.ErrRefused, "%s: %s", name, addr)
			require.ErrorIs(t, policy.CheckHost(addr.String()), target.ErrRefused, "%s: %s", name, addr)
			network := "tcp6"
			if addr.Is4() {
				network = "tcp4"
			}
			address := netip.AddrPortFrom(addr, 443).String()
			require.ErrorIs(t, policy.Control(network, address, nil), target.ErrRefused, "%s: %s", name, addr)
			if addr.Is4() {
				mapped := netip.AddrFrom16(addr.As16())
				require.ErrorIs(t, policy.CheckAddr(mapped), target.ErrRefused, "%s: %s", name, mapped)
				require.ErrorIs(t, policy.CheckHost(mapped.String()), target.ErrRefused, "%s: %s", name, mapped)
			}
		}
	}
}

func TestNeighborsOfSpecialRangesAreCalled(t *testing.T) {
	t.Parallel()
	policy := target.New(nil)
	for _, text := range []string{
		"1.0.0.0", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0",
		"168.63.129.15", "168.63.129.17", "169.253.255.255", "169.255.0.0", "172.15.255.255", "172.32.0.0", "191.255.255.255",
		"192.0.1.0", "192.0.3.0", "192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0", "203.0.112.255",
		"203.0.114.0", "223.255.255.255",
		"2000::", "2001:200::1", "2001:db7:ffff::1", "2001:db9::1", "2003::1", "2606:4700:4700::1111", "3ffe:ffff::1",
	} {
		addr := netip.MustParseAddr(text)
		require.NoError(t, policy.CheckAddr(addr), text)
		require.NoError(t, policy.CheckHost(text), text)
	}
}

func TestCheckAddrTakesAMappedAddressForWhatItIs(t *testing.T) {
	t.Parallel()
	policy := target.New([]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")})
	require.NoError(t, policy.CheckAddr(netip.MustParseAddr("::ffff:8.8.8.8")))
	require.NoError(t, policy.CheckAddr(netip.MustParseAddr("::ffff:10.1.2.3")))
	require.ErrorIs(t, policy.CheckAddr(netip.MustParseAddr("::ffff:127.0.0.1")), target.ErrRefused)
	require.ErrorIs(t, policy.CheckAddr(netip.MustParseAddr("fe80::1%eth0")), target.ErrRefused)
	require.ErrorIs(t, policy.CheckAddr(netip.Addr{}), target.ErrRefused)
}

func TestNamesThatAreNumbersAreNone(t *testing.T) {
	t.Parallel()
	for _, allowed := range [][]netip.Prefix{nil, {netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}} {
		policy := target.New(allowed)
		for _, host := range []string{
			"127.1", "2130706433", "0x7f000001", "0X7F.1", "0177.0.0.1", "127.0.0.1.", "1.2.3.4.5", "example.123", "example.0xa", "a..",
		} {
			require.ErrorIs(t, policy.CheckHost(host), target.ErrRefused, "%s with %v", host, allowed)
		}
		for _, host := range []string{"1.example.com", "0x7f.example.com", "a.b1", "4chan.org", "127.0.0.1.nip.io", "example.com."} {
			require.NoError(t, policy.CheckHost(host), host)
		}
	}
}
