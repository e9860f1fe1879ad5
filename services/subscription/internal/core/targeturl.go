package core

import (
	"fmt"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/net/idna"

	"github.com/meetwire/meetwire/pkg/fault"
)

// MaxTargetURLLength is the greatest number of characters of a target URL, also after its host was put into
// ASCII.
const MaxTargetURLLength = 2048

// Limits of a host name, from RFC 1035.
const (
	maxHostLength  = 253
	maxLabelLength = 63
)

const targetURLPath = "webhook.target_url"

// ParseTargetURL checks where a webhook points: an absolute URL with scheme https, or http when that is allowed,
// with a host, without credentials or fragment, at most 2,048 characters. It returns the URL as it is used: as
// given, but with the host of an internationalized name in its ASCII form. Which addresses may be called is not
// decided here but when the connection is made, after the name was looked up.
func ParseTargetURL(raw string, allowHTTP bool) (string, []fault.Field) {
	if raw == "" {
		return "", field(targetURLPath, ruleRequired, "is required: an absolute URL of at most %d characters", MaxTargetURLLength)
	}
	if utf8.RuneCountInString(raw) > MaxTargetURLLength {
		return "", field(targetURLPath, ruleMaxLength, "must have at most %d characters", MaxTargetURLLength)
	}
	if !utf8.ValidString(raw) || strings.ContainsFunc(raw, isBlank) {
		return "", field(targetURLPath, ruleFormat, "must be UTF-8 without spaces and control characters")
	}
	parsed, err := url.Parse(raw)
	if err != nil {
		// The error quotes the URL, which may carry credentials.
		return "", field(targetURLPath, ruleFormat, "must be a valid absolute URL")
	}
	if fields := checkParts(raw, parsed, allowHTTP); fields != nil {
		return "", fields
	}
	host, problem := asciiHost(parsed.Hostname())
	if problem != "" {
		return "", field(targetURLPath, ruleFormat, "%s", problem)
	}
	if host == parsed.Hostname() {
		return raw, nil
	}
	// Only a name with characters beyond ASCII comes here, so it is no IP address that would need brackets.
	normal := strings.Replace(raw, parsed.Hostname(), host, 1)
	if utf8.RuneCountInString(normal) > MaxTargetURLLength {
		return "", field(targetURLPath, ruleMaxLength, "must have at most %d characters, also with its host in ASCII", MaxTargetURLLength)
	}
	return normal, nil
}

// checkParts checks everything about a URL but its host name.
func checkParts(raw string, parsed *url.URL, allowHTTP bool) []fault.Field {
	switch {
	case parsed.Scheme == "http" && !allowHTTP:
		return field(targetURLPath, ruleFormat, "must begin with https://: the organization or the dialect does not allow http")
	case parsed.Scheme != "https" && parsed.Scheme != "http":
		return field(targetURLPath, ruleFormat, "must be an absolute URL that begins with https://")
	case parsed.User != nil:
		return field(targetURLPath, ruleFormat, "must not contain credentials")
	case strings.Contains(raw, "#"):
		return field(targetURLPath, ruleFormat, "must not contain a fragment")
	case parsed.Opaque != "" || parsed.Hostname() == "":
		return field(targetURLPath, ruleFormat, "must be an absolute URL with a host")
	case strings.Contains(authority(raw), "%"):
		return field(targetURLPath, ruleFormat, "must not have percent-encoded characters in its host")
	}
	if port := parsed.Port(); port != "" || strings.HasSuffix(parsed.Host, ":") {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return field(targetURLPath, ruleFormat, "must have a port from 1 to 65535, or none")
		}
	}
	return nil
}

// authority returns the part of an absolute URL between its scheme and its path.
func authority(raw string) string {
	_, rest, _ := strings.Cut(raw, "://")
	if end := strings.IndexAny(rest, "/?#"); end >= 0 {
		rest = rest[:end]
	}
	return rest
}

// asciiHost returns a host in its ASCII form, or what is wrong with it.
func asciiHost(host string) (ascii, problem string) {
	if strings.Contains(host, ":") {
		if addr, err := netip.ParseAddr(host); err != nil || addr.Zone() != "" {
			return "", "must have a valid IPv6 address in its brackets"
		}
		return host, ""
	}
	ascii = host
	if strings.ContainsFunc(host, func(r rune) bool { return r > unicode.MaxASCII }) {
		var err error
		if ascii, err = idna.Lookup.ToASCII(host); err != nil {
			return "", "must have a host that is a valid internationalized domain name"
		}
	}
	if problem := checkHostName(ascii); problem != "" {
		return "", problem
	}
	return ascii, ""
}

// checkHostName checks a host name or an IPv4 address. Underscores are let through: names within a cluster or a
// company have them.
func checkHostName(host string) string {
	host = strings.TrimSuffix(host, ".")
	if len(host) > maxHostLength {
		return fmt.Sprintf("must have a host of at most %d characters", maxHostLength)
	}
	labels := strings.Split(host, ".")
	for _, label := range labels {
		if label == "" || len(label) > maxLabelLength {
			return fmt.Sprintf("must have a host whose labels have 1 to %d characters", maxLabelLength)
		}
		if strings.ContainsFunc(label, isNoHostCharacter) {
			return "must have a host of letters, digits, '-', '_' and '.'"
		}
	}
	// What ends in a number is read as an IPv4 address by some, in several notations; only one is let through.
	last := labels[len(labels)-1]
	if _, err := strconv.ParseUint(last, 0, 64); err == nil || isDigits(last) {
		if addr, err := netip.ParseAddr(host); err != nil || !addr.Is4() {
			return "must have a host that is a name or an IP address in its usual notation"
		}
	}
	return ""
}

func isBlank(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }

func isDigits(s string) bool { return strings.Trim(s, "0123456789") == "" }

func isNoHostCharacter(r rune) bool {
	switch {
	case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '-', r == '_':
		return false
	}
	return true
}
