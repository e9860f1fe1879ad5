package mail

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/net/idna"
)

// Limits of an address, RFC 5321 section 4.5.3.1 and RFC 3696 erratum 1690.
const (
	maxAddress   = 254
	maxLocalPart = 64
	maxDomain    = 253
)

// atomSymbols are the characters beside letters, digits and dots that a local part may have without quotes
// (RFC 5322 section 3.2.3).
const atomSymbols = "!#$%&'*+-/=?^_`{|}~"

// address is one that is safe in a command and in a header: its local part needs no quotes, its domain is ASCII.
type address struct{ local, domain string }

func (a address) String() string { return a.local + "@" + a.domain }

// parseAddress checks an address without a name, such as alerts@example.com. Quoted local parts, comments,
// address literals and local parts beyond ASCII are refused: servers seldom take them, and each is a way of
// writing what a command or a header would understand differently.
func parseAddress(s string) (address, error) {
	at := strings.LastIndexByte(s, '@')
	if at < 1 || at == len(s)-1 {
		return address{}, errors.New("must be an e-mail address, name@domain")
	}
	local := s[:at]
	if len(local) > maxLocalPart {
		return address{}, fmt.Errorf("must have at most %d characters before the @", maxLocalPart)
	}
	for _, atom := range strings.Split(local, ".") {
		if atom == "" || strings.ContainsFunc(atom, func(r rune) bool { return !isAtom(r) }) {
			return address{}, fmt.Errorf("must have only ASCII letters, digits, single dots and %s before the @", atomSymbols)
		}
	}
	domain, err := asciiDomain(s[at+1:])
	if err != nil {
		return address{}, err
	}
	parsed := address{local: local, domain: domain}
	if len(parsed.String()) > maxAddress {
		return address{}, fmt.Errorf("must be at most %d characters", maxAddress)
	}
	return parsed, nil
}

func isAtom(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune(atomSymbols, r)
}

// maxLabel is how many characters DNS takes between two dots.
const maxLabel = 63

// asciiDomain returns a domain as DNS has it.
func asciiDomain(s string) (string, error) {
	domain, err := idna.Lookup.ToASCII(s)
	if err != nil || len(domain) > maxDomain {
		return "", errors.New("must have a valid domain")
	}
	for _, label := range strings.Split(domain, ".") {
		if label == "" || len(label) > maxLabel {
			return "", errors.New("must have a valid domain")
		}
	}
	// Some texts become a name that is none, such as one with a broken xn-- label.
	if again, err := idna.Lookup.ToASCII(domain); err != nil || again != domain {
		return "", errors.New("must have a valid domain")
	}
	return domain, nil
}
