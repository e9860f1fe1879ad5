package target_test

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/target"
)

func TestHostsThatAreInternal(t *testing.T) {
	t.Parallel()
	policy := target.New(nil)
	for _, host := range []string{
		"127.0.0.1", "127.1.2.3", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0",
		"192.0.2.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255",
		"::1", "::", "fe80::1", "fc00::1", "fd00:ec2::254", "ff02::1", "2001:db8::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
		"64:ff9b::7f00:1", "2002:7f00:1::",
		"localhost", "localhost.", "LOCALHOST", "a.localhost", "printer.local", "router.home.arpa",
		"metadata.google.internal", "metadata.google.internal.", "db.corp", "nas.lan", "api.default.svc",
		"api.default.svc.cluster.local", "postgres", "metadata",
	} {
		require.False(t, policy.AllowsHost(host), host)
	}
}

func TestHostsThatMayBePublic(t *testing.T) {
	t.Parallel()
	policy := target.New(nil)
	for _, host := range []string{
		"example.com", "example.com.", "a.b.example.com", "local.example.com", "localhost.example.com", "xn--bcher-kva.example",
		"93.184.216.34", "8.8.8.8", "2606:4700:4700::1111", "internal.example", "mylocal.io", "notlocalhost.com",
	} {
		require.True(t, policy.AllowsHost(host), host)
	}
}

func TestHostsThatAnInstallationAllows(t *testing.T) {
	t.Parallel()
	loopback := target.New([]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")})
	for _, host := range []string{"127.0.0.1", "localhost", "hooks.localhost", "example.com", "receiver"} {
		require.True(t, loopback.AllowsHost(host), host)
	}
	for _, host := range []string{"::1", "10.0.0.1", "169.254.169.254"} {
		require.False(t, loopback.AllowsHost(host), host)
	}
	v6 := target.New([]netip.Prefix{netip.MustParsePrefix("::1/128")})
	require.True(t, v6.AllowsHost("::1"))
	require.True(t, v6.AllowsHost("localhost"))
	require.False(t, v6.AllowsHost("127.0.0.1"))
	cluster := target.New([]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")})
	require.True(t, cluster.AllowsHost("receiver.default.svc"), "it may stand for an address that is allowed")
	require.False(t, cluster.AllowsHost("localhost"))
}

func TestControlChecksTheAddressThatIsConnectedTo(t *testing.T) {
	t.Parallel()
	policy := target.New([]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")})
	require.NoError(t, policy.Control("tcp4", "127.0.0.1:8080", nil))
	require.NoError(t, policy.Control("tcp4", "93.184.216.34:443", nil))
	require.Error(t, policy.Control("tcp4", "10.0.0.1:443", nil))
	require.Error(t, policy.Control("tcp6", "[::1]:443", nil))
	require.Error(t, policy.Control("udp4", "93.184.216.34:443", nil))
}

func FuzzAllowsHost(f *testing.F) {
	for _, seed := range []string{"example.com", "127.0.0.1", "::1", "localhost.", "..", "", "fe80::1%eth0"} {
		f.Add(seed)
	}
	policy := target.New(nil)
	f.Fuzz(func(t *testing.T, host string) {
		allowed := policy.AllowsHost(host)
		if addr, err := netip.ParseAddr(host); err == nil && allowed {
			require.False(t, addr.IsLoopback() || addr.IsPrivate() || addr.IsLinkLocalUnicast() || addr.IsUnspecified() || addr.IsMulticast())
		}
	})
}
