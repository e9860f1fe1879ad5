// Package target decides which hosts webhooks may point to: addresses that are public, and those that the
// installation allows besides. The same decision is made when a webhook is saved and when a connection to its host
// is made. The package must not resolve names or connect by itself.
package target

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"syscall"

	"code.dny.dev/ssrf"
)

// ErrRefused is that a host or an address is not one that may be called.
var ErrRefused = errors.New("the address may not be called")

// alsoDenied are addresses that the registries of special addresses do not hold and that lead to a machine's own
// surroundings all the same: that under which Azure serves every virtual machine.
var alsoDenied = [...]netip.Prefix{ //nolint:gochecknoglobals // constant
	netip.MustParsePrefix("168.63.129.16/32"),
}

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
			ssrf.WithDeniedV4Prefixes(alsoDenied[:]...),
		),
		allowed: allowed,
	}
}

// Control refuses a connection to an address that may not be called. It is made for net.Dialer, which calls it after
// the name has been resolved, with the very address that is connected to: an answer of DNS that changes in between
// gains nothing. Every error it returns is an ErrRefused.
func (p *Policy) Control(network, address string, raw syscall.RawConn) error {
	return refused(p.guard.Safe(network, address, raw))
}

// CheckAddr refuses an address that may not be called with ErrRefused, for those who have somebody else connect to
// it. An IPv4 address that is written as one of IPv6 is not told apart from itself.
func (p *Policy) CheckAddr(addr netip.Addr) error {
	if !addr.IsValid() {
		return ErrRefused
	}
	return refused(p.guard.SafeAddr(addr.Unmap()))
}

// CheckHost refuses a host that a webhook may not have with ErrRefused, for those who have somebody else resolve it.
func (p *Policy) CheckHost(host string) error {
	if !p.AllowsHost(host) {
		return ErrRefused
	}
	return nil
}

func refused(err error) error {
	if err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	return nil
}

// internalSuffixes are those of names that never are public: of RFC 6761 (localhost), RFC 6762 (local), RFC 8375
// (home.arpa), what ICANN has set aside (internal), and what networks and clusters use by habit.
var internalSuffixes = [...]string{ //nolint:gochecknoglobals // constant
	"localhost", "local", "home.arpa", "internal", "localdomain", "intranet", "lan", "corp", "home", "private", "svc",
}

// AllowsHost reports whether a webhook may have this host, a name or an address without brackets. About a name it can
// only say that it is an internal one; which addresses it stands for is found out, and checked, at each connection.
// Where the installation allows further addresses, internal names may stand for those. A name that ends in a number is
// none: 127.1 and 0x7f000001 are addresses to those who still read them the old way, and this package does not.
func (p *Policy) AllowsHost(host string) bool {
	if addr, err := netip.ParseAddr(host); err == nil {
		return p.guard.SafeAddr(addr) == nil
	}
	name := strings.ToLower(strings.TrimSuffix(host, "."))
	if name == "localhost" || strings.HasSuffix(name, ".localhost") {
		return p.allows(netip.AddrFrom4([4]byte{127, 0, 0, 1})) || p.allows(netip.IPv6Loopback())
	}
	return !endsInNumber(name) && (len(p.allowed) > 0 || !isInternal(name))
}

// endsInNumber reports whether the last part of a name is a number, decimal, octal or hexadecimal.
func endsInNumber(name string) bool {
	last := name[strings.LastIndexByte(name, '.')+1:]
	digits := "0123456789"
	if hex, ok := strings.CutPrefix(last, "0x"); ok {
		last, digits = hex, "0123456789abcdef"
	}
	return strings.Trim(last, digits) == "" && name != ""
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
