package mail

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/meetwire/meetwire/pkg/secret"
)

// How the connection to the SMTP server is protected.
const (
	TLSStart    = "starttls" // by the command STARTTLS, without which nothing is sent
	TLSImplicit = "tls"      // from the first byte
	TLSNone     = "none"     // not at all
)

// Limits and defaults of the configuration.
const (
	defaultTimeout  = 30 * time.Second // as the tag says
	minTimeout      = time.Second
	maxTimeout      = 5 * time.Minute
	portSubmission  = 587
	portSubmissions = 465
	maxPort         = 65535
)

// Config says how alert e-mails are sent. Its zero value sends none.
type Config struct {
	Host       string        `help:"Host name or address of the SMTP server that alert e-mails are sent through. Empty: no e-mails are sent." name:"smtp-host" env:"MEETWIRE_SMTP_HOST"`
	Port       int           `help:"Port of the SMTP server. 0: 465 with smtp-tls=tls, else 587." name:"smtp-port" default:"0" env:"MEETWIRE_SMTP_PORT"`
	TLS        string        `help:"How the connection to the SMTP server is protected: starttls (nothing is sent to a server without it), tls (from the first byte) or none (only to a server on the same machine)." name:"smtp-tls" enum:"starttls,tls,none" default:"starttls" env:"MEETWIRE_SMTP_TLS"`
	CAFile     string        `help:"File with the PEM certificates that the SMTP server is checked against, instead of the system's." name:"smtp-ca-file" env:"MEETWIRE_SMTP_CA_FILE"`
	User       string        `help:"User at the SMTP server. Empty: without authentication." name:"smtp-user" env:"MEETWIRE_SMTP_USER"`
	Password   secret.String `help:"Password of the user at the SMTP server." name:"smtp-password" env:"MEETWIRE_SMTP_PASSWORD"`
	From       string        `help:"Address that alert e-mails come from; required with smtp-host." name:"smtp-from" env:"MEETWIRE_SMTP_FROM"`
	FromName   string        `help:"Name shown beside the address that alert e-mails come from." name:"smtp-from-name" default:"Meetwire" env:"MEETWIRE_SMTP_FROM_NAME"`
	HelloName  string        `help:"Host name that the SMTP server is greeted with. Empty: that of the machine." name:"smtp-hello-name" env:"MEETWIRE_SMTP_HELLO_NAME"`
	Timeout    time.Duration `help:"How long sending one e-mail may take; 1s to 5m. 0: 30s." name:"smtp-timeout" default:"30s" env:"MEETWIRE_SMTP_TIMEOUT"`
	ConsoleURL string        `help:"Public URL of the console, http or https; alert e-mails show it as a link. Empty: no link." name:"smtp-console-url" env:"MEETWIRE_SMTP_CONSOLE_URL"`
}

// Enabled reports whether e-mails are sent.
func (c *Config) Enabled() bool { return c.Host != "" }

// Validate reports everything that is wrong. No error shows a secret. Without a host nothing else is looked at.
func (c *Config) Validate() error {
	if !c.Enabled() {
		return nil
	}
	all := []error{c.checkServer(), c.checkUser()}
	if c.From == "" {
		all = append(all, errors.New("smtp-from (MEETWIRE_SMTP_FROM): is required with smtp-host"))
	} else if _, err := parseAddress(c.From); err != nil {
		all = append(all, fmt.Errorf("smtp-from (MEETWIRE_SMTP_FROM): %w", err))
	}
	if clean(c.FromName) != c.FromName {
		all = append(all, errors.New("smtp-from-name (MEETWIRE_SMTP_FROM_NAME): must be one line without control characters"))
	}
	if c.HelloName != "" && !isHelloName(c.HelloName) {
		all = append(all, errors.New("smtp-hello-name (MEETWIRE_SMTP_HELLO_NAME): must be a host name"))
	}
	if c.Timeout != 0 && (c.Timeout < minTimeout || c.Timeout > maxTimeout) {
		all = append(all, fmt.Errorf("smtp-timeout (MEETWIRE_SMTP_TIMEOUT): must be from %s to %s", minTimeout, maxTimeout))
	}
	if c.ConsoleURL != "" && !isLink(c.ConsoleURL) {
		all = append(all, errors.New("smtp-console-url (MEETWIRE_SMTP_CONSOLE_URL): must be an absolute http or https URL without credentials"))
	}
	return errors.Join(all...)
}

func (c *Config) checkServer() error {
	var all []error
	if !isHost(c.Host) {
		all = append(all, errors.New("smtp-host (MEETWIRE_SMTP_HOST): must be a host name or an address, without a port"))
	}
	if c.Port < 0 || c.Port > maxPort {
		all = append(all, fmt.Errorf("smtp-port (MEETWIRE_SMTP_PORT): must be from 0 to %d", maxPort))
	}
	switch c.TLS {
	case "", TLSStart, TLSImplicit:
	case TLSNone:
		if !isLoopback(c.Host) {
			all = append(all, errors.New("smtp-tls (MEETWIRE_SMTP_TLS): none is allowed for localhost and loopback addresses only"))
		}
	default:
		all = append(all, errors.New("smtp-tls (MEETWIRE_SMTP_TLS): must be starttls, tls or none"))
	}
	return errors.Join(all...)
}

func (c *Config) checkUser() error {
	switch {
	case c.User == "" && !c.Password.IsZero():
		return errors.New("smtp-user (MEETWIRE_SMTP_USER): is required with smtp-password")
	case c.User != "" && c.Password.IsZero():
		return errors.New("smtp-password (MEETWIRE_SMTP_PASSWORD): is required with smtp-user")
	case strings.ContainsRune(c.User, 0):
		return errors.New("smtp-user (MEETWIRE_SMTP_USER): must not contain NUL")
	case strings.ContainsRune(c.Password.Reveal(), 0):
		return errors.New("smtp-password (MEETWIRE_SMTP_PASSWORD): must not contain NUL")
	default:
		return nil
	}
}

// address returns where to connect to.
func (c *Config) address() string {
	port := c.Port
	if port == 0 {
		port = portSubmission
		if c.TLS == TLSImplicit {
			port = portSubmissions
		}
	}
	return net.JoinHostPort(c.Host, strconv.Itoa(port))
}

// isHost reports whether a text is a host name, as DNS has it, or an address.
func isHost(s string) bool {
	if address, err := netip.ParseAddr(s); err == nil {
		return address.Zone() == ""
	}
	domain, err := asciiDomain(s)
	return err == nil && strings.EqualFold(domain, s)
}

// isHelloName reports whether a server can be greeted with a text: a host name, or an address in brackets.
func isHelloName(s string) bool {
	if literal, ok := strings.CutPrefix(s, "["); ok {
		literal, closed := strings.CutSuffix(literal, "]")
		address, err := netip.ParseAddr(strings.TrimPrefix(literal, "IPv6:"))
		return closed && err == nil && address.Zone() == ""
	}
	_, err := netip.ParseAddr(s)
	return err != nil && isHost(s)
}

// isLoopback reports whether a host is this machine.
func isLoopback(host string) bool {
	if strings.EqualFold(host, "localhost") {
		return true
	}
	address, err := netip.ParseAddr(host)
	return err == nil && address.IsLoopback()
}

// isLink reports whether a text can be shown as a link.
func isLink(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.User == nil &&
		!strings.ContainsAny(s, " <>\"") && clean(s) == s
}
