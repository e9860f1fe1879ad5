// Package mail owns alert e-mails: what they say, and the conversation with the SMTP server that takes them. It
// keeps no queue and tries nothing twice: its caller stores what is to be sent, sends it again while that is of
// use, and decides when to give up.
package mail

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"time"

	gomail "github.com/wneessen/go-mail"

	"github.com/meetwire/meetwire/pkg/fault"
)

// maxID is how many characters the id of an e-mail has at most.
const maxID = 128

// Message is one e-mail.
type Message struct {
	// ID is made part of the Message-ID. It must be the same each time that the e-mail is sent, so that mail
	// programs and people can tell a repetition. ASCII letters, digits, dots, hyphens and underscores.
	ID string
	// To are the addresses, without names. Each recipient sees all.
	To []string
	// Subject is one line.
	Subject string
	// Text is plain text.
	Text string
	// Date is when the e-mail was written; the same each time, too.
	Date time.Time
}

// Sender sends e-mails, each over a connection of its own. Its methods may be called at the same time.
type Sender struct {
	config    Config
	from      address
	helloName string
	dial      dialer
	logger    *slog.Logger
}

// New checks the configuration and reads its CA file. It connects to nothing.
func New(config Config, logger *slog.Logger) (*Sender, error) {
	if !config.Enabled() {
		return nil, errors.New("smtp-host (MEETWIRE_SMTP_HOST): is required to send e-mails")
	}
	if err := config.Validate(); err != nil {
		return nil, err
	}
	from, err := parseAddress(config.From)
	if err != nil {
		return nil, fmt.Errorf("smtp-from (MEETWIRE_SMTP_FROM): %w", err)
	}
	if config.Timeout == 0 {
		config.Timeout = defaultTimeout
	}
	if config.TLS == "" {
		config.TLS = TLSStart
	}
	dial, err := newDialer(&config)
	if err != nil {
		return nil, err
	}
	s := &Sender{config: config, from: from, helloName: config.HelloName, dial: dial, logger: logger}
	if s.helloName == "" {
		s.helloName = machineName()
	}
	return s, nil
}

// machineName returns a name for the greeting when none is configured.
func machineName() string {
	if name, err := os.Hostname(); err == nil && isHelloName(name) {
		return name
	}
	return "localhost"
}

// Send sends an e-mail once and returns nil when the server has taken it for every recipient. Others get it even
// when one is refused. Errors:
//   - fault InvalidArgument: the message cannot be sent as it is; nothing was sent.
//   - *Error around fault FailedPrecondition: it was refused (an answer 5xx to the login, the sender, a recipient
//     or the message, or an address that is none), and sending it again is of no use.
//   - *Error around fault Unavailable: no connection, no TLS, no time, or an answer 4xx. To be sent again to those
//     in Error.Again. The server may have taken it all the same when the connection broke at the very end.
//
// A server that says 5xx before the login counts as unavailable: without TLS anybody on the way could have said it,
// and servers turn hosts away like that for a while.
func (s *Sender) Send(ctx context.Context, m Message) error {
	if err := m.check(); err != nil {
		return err
	}
	var result outcome
	recipients := s.recipients(m.To, &result)
	if len(recipients) == 0 {
		return result.err()
	}
	message, err := s.build(&m, recipients)
	if err != nil {
		return fault.Wrap(fault.InvalidArgument, ReasonRefused, err, "the e-mail cannot be written")
	}
	ctx, cancel := context.WithTimeout(ctx, s.config.Timeout)
	defer cancel()
	s.converse(ctx, message, recipients, &result)
	if err := result.err(); err != nil {
		return err
	}
	s.logger.InfoContext(ctx, "e-mail sent", "message_id", s.messageID(m.ID), "recipients", len(result.delivered))
	return nil
}

// check reports the first thing about a message that the caller must not do. What people wrote is cleaned by
// Compose; a line break here would be a header of somebody else's making.
func (m *Message) check() error {
	invalid := func(path, rule, message string) error {
		return fault.Invalid(fault.Field{Path: path, Rule: rule, Message: message})
	}
	switch {
	case m.ID == "" || len(m.ID) > maxID || strings.ContainsFunc(m.ID, func(r rune) bool { return !isInID(r) }) ||
		strings.Trim(m.ID, ".") != m.ID || strings.Contains(m.ID, ".."):
		return invalid("id", "pattern", fmt.Sprintf("must be 1 to %d ASCII letters, digits, hyphens, underscores and single dots inside", maxID))
	case len(m.To) == 0:
		return invalid("to", "required", "is required")
	case m.Subject == "" || clean(m.Subject) != m.Subject:
		return invalid("subject", "pattern", "must be one line without control characters")
	case m.Text == "":
		return invalid("text", "required", "is required")
	case m.Date.IsZero():
		return invalid("date", "required", "is required")
	default:
		return nil
	}
}

func isInID(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '.' || r == '-' || r == '_'
}

// recipient is an address as the caller and as the server write it.
type recipient struct {
	given string
	address
}

// recipients returns whom a message can be sent to, each once. Those whose address is none are refused.
func (s *Sender) recipients(to []string, result *outcome) []recipient {
	seen := make(map[address]bool, len(to))
	var all []recipient
	for _, given := range to {
		parsed, err := parseAddress(given)
		switch {
		case err != nil:
			result.refuse(fmt.Errorf("address %q: %w", truncate(given, maxAddress), err), given)
		case seen[parsed]:
		default:
			seen[parsed] = true
			all = append(all, recipient{given: given, address: parsed})
		}
	}
	return all
}

// messageID returns the Message-ID for an id, without its brackets.
func (s *Sender) messageID(id string) string { return id + "@" + s.from.domain }

// build writes the headers and the body. Programs that answer by themselves are told not to (RFC 3834, and
// Exchange's own header for the same).
func (s *Sender) build(m *Message, recipients []recipient) ([]byte, error) {
	message := gomail.NewMsg(gomail.WithNoDefaultUserAgent())
	if err := message.SetAddrHeader(gomail.HeaderFrom, s.sender()); err != nil {
		return nil, fmt.Errorf("set the sender: %w", err)
	}
	to := make([]string, len(recipients))
	for i, r := range recipients {
		to[i] = r.String()
	}
	if err := message.To(to...); err != nil {
		return nil, fmt.Errorf("set the recipients: %w", err)
	}
	message.Subject(m.Subject)
	message.SetDateWithValue(m.Date.UTC())
	message.SetMessageIDWithValue(s.messageID(m.ID))
	message.SetGenHeader("Auto-Submitted", "auto-generated")
	message.SetGenHeader("X-Auto-Response-Suppress", "All")
	message.SetBodyString(gomail.TypeTextPlain, strings.ToValidUTF8(m.Text, "\ufffd"))
	var b bytes.Buffer
	if _, err := message.WriteTo(&b); err != nil {
		return nil, fmt.Errorf("encode the message: %w", err)
	}
	return b.Bytes(), nil
}

// sender returns the configured address with its name.
func (s *Sender) sender() string {
	if s.config.FromName == "" {
		return s.from.String()
	}
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s.config.FromName) + `" <` + s.from.String() + ">"
}
