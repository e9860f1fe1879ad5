package core

import (
	"fmt"
	"net/mail"
	"net/netip"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/meetwire/meetwire/pkg/fault"
)

// Limits of the e-mail addresses that are told about a webhook.
const (
	MaxEmails      = 10
	MaxEmailLength = 254 // characters, from RFC 5321

	maxEmailLocalLength = 64 // characters before the @, from RFC 5321
)

// checkEmails returns what is wrong with a list of e-mail addresses. path is that of the list.
func checkEmails(path string, addresses []string) []fault.Field {
	if len(addresses) > MaxEmails {
		return field(path, ruleMaxItems, "must have at most %d addresses", MaxEmails)
	}
	var fields []fault.Field
	seen := make(map[string]int, len(addresses))
	for i, address := range addresses {
		at := fmt.Sprintf("%s[%d]", path, i)
		if wrong := checkEmail(at, address); wrong != nil {
			fields = append(fields, wrong...)
			continue
		}
		// Only the domain is the same in whatever case; what stands before it is for the receiving server to say.
		local, domain, _ := strings.Cut(address, "@")
		key := local + "@" + strings.ToLower(domain)
		if first, ok := seen[key]; ok {
			fields = append(fields, field(at, ruleUnique, "is there already, at %d", first)...)
			continue
		}
		seen[key] = i
	}
	return fields
}

// checkEmail returns what is wrong with one address: the addr-spec of RFC 5322, without a name, comments, quotes or an
// IP address.
func checkEmail(path, address string) []fault.Field {
	if address == "" {
		return field(path, ruleRequired, "is required")
	}
	if utf8.RuneCountInString(address) > MaxEmailLength {
		return field(path, ruleMaxLength, "must have at most %d characters", MaxEmailLength)
	}
	parsed, err := mail.ParseAddress(address)
	local, domain, _ := strings.Cut(address, "@")
	// What was parsed is the same only when there was nothing around it.
	if err != nil || parsed.Address != address || strings.Contains(address, `"`) || strings.Contains(domain, "@") ||
		strings.ContainsFunc(address, unicode.IsControl) {
		return field(path, ruleFormat, "must be an e-mail address such as ops@example.com, without a name")
	}
	if utf8.RuneCountInString(local) > maxEmailLocalLength {
		return field(path, ruleMaxLength, "must have at most %d characters before the @", maxEmailLocalLength)
	}
	if ascii, problem := asciiHost(domain); problem != "" || !strings.Contains(ascii, ".") || isAddress(ascii) {
		return field(path, ruleFormat, "must have a domain name after the @, such as example.com")
	}
	return nil
}

func isAddress(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}
