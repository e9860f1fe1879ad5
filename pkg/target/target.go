// Package target decides which hosts webhooks may point to: addresses that are public, and those that the
// installation allows besides. The same decision is made when a webhook is saved and when a connection to its host
// is made. The package must not resolve names or connect by itself.
package target

import (
	"net/netip"
	"strings"
	"syscall"

	"code.dny.dev/ssrf"
)

// Policy decides about hosts and addresses. It is safe for concurrent use.
type Policy struct {
	guard   *ssrf.Guardian
	allowed []netip.Prefix
}

// New returns the policy under which public addresses may be called, and of the others only those in allowed.
func New(allowed []netip.Prefix) *Policy {
	var v4, v6 []netip.Prefix
	for _, prefix := range allowed {
		if prefix.Addr().Is4() {
			v4 = append(v4, prefix)
		} else {
			v6 = append(v6, prefix)
		}
	}
	return &Policy{
		guard: ssrf.New(
			ssrf.WithAnyPort(),
			ssrf.WithAllowedV4Prefixes(v4...),
			ssrf.WithAllowedV6Prefixes(v6...),
		),
		allowed: allowed,
	}
}

// Control refuses a connection to an address that may not be called. It is made for net.Dialer, which calls it after
// the name has been resolved, with the very address that is connected to: an answer of DNS that changes in between
// gains nothing.
func (p *Policy) Control(network, address string, raw syscall.RawConn) error {
	return p.guard.Safe(network, address, raw)
}

// internalSuffixes are those of names that never are public: of RFC 6761 (localhost), RFC 6762 (local), RFC 8375
// (home.arpa), what ICANN has set aside (internal), and what networks and clusters use by habit.
var internalSuffixes = [...]string{ //nolint:gochecknoglobals // constant
	"localhost", "local", "home.arpa", "internal", "localdomain", "intranet", "lan", "corp", "home", "private", "svc",
}

// AllowsHost reports whether a webhook may have this host, a name or an address without brackets. About a name it can
// only say that it is an internal one; which addresses it stands for is found out, and checked, at each connection.
// Where the installation allows further addresses, internal names may stand for those.
func (p *Policy) AllowsHost(host string) bool {
	if addr, err := netip.ParseAddr(host); err == nil {
		return p.guard.SafeAddr(addr) == nil
	}
	name := strings.ToLower(strings.TrimSuffix(host, "."))
	if name == "localhost" || strings.HasSuffix(name, ".localhost") {
		return p.allows(netip.AddrFrom4([4]byte{127, 0, 0, 1})) || p.allows(netip.IPv6Loopback())
	}
	return len(p.allowed) > 0 || !isInternal(name)
}

func (p *Policy) allows(addr netip.Addr) bool { return p.guard.SafeAddr(addr) == nil }

func isInternal(name string) bool {
	if !strings.Contains(name, ".") {
		return true // it is looked up in the domains of our own network
	}
	for _, suffix := range internalSuffixes {
		if strings.HasSuffix(name, "."+suffix) {
			return true
		}
	}
	return false
}
