package mail

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/textproto"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/wneessen/go-mail/smtp"
)

const (
	// maxSaid is how much a server may say in one conversation; it is never near that.
	maxSaid = 1 << 20
	// quitPatience is how long an answer to the last command is waited for. It changes nothing any more.
	quitPatience = 2 * time.Second
)

// dialer connects to the server.
type dialer struct {
	net  net.Dialer
	tls  *tls.Config
	mode string
}

func newDialer(c *Config) (dialer, error) {
	d := dialer{mode: c.TLS, tls: &tls.Config{ServerName: c.Host, MinVersion: tls.VersionTLS12}}
	if c.TLS == TLSNone {
		d.net.ControlContext = loopbackOnly
	}
	if c.CAFile == "" {
		return d, nil
	}
	pem, err := os.ReadFile(c.CAFile)
	if err != nil {
		return dialer{}, fmt.Errorf("smtp-ca-file (MEETWIRE_SMTP_CA_FILE): %w", err)
	}
	d.tls.RootCAs = x509.NewCertPool()
	if !d.tls.RootCAs.AppendCertsFromPEM(pem) {
		return dialer{}, errors.New("smtp-ca-file (MEETWIRE_SMTP_CA_FILE): has no PEM certificate")
	}
	return d, nil
}

// loopbackOnly refuses a connection that would leave the machine: what localhost is, the resolver decides.
func loopbackOnly(_ context.Context, _, address string, _ syscall.RawConn) error {
	target, err := netip.ParseAddrPort(address)
	if err != nil || !target.Addr().Unmap().IsLoopback() {
		return errors.New("without TLS only a loopback address is connected to")
	}
	return nil
}

// boundedConn ends when the server has said too much.
type boundedConn struct {
	net.Conn
	left int
}

func (c *boundedConn) Read(p []byte) (int, error) {
	if c.left <= 0 {
		return 0, errors.New("the server says too much")
	}
	n, err := c.Conn.Read(p[:min(len(p), c.left)])
	c.left -= n
	return n, err
}

// converse has the whole conversation about one message and notes what becomes of each recipient.
func (s *Sender) converse(ctx context.Context, message []byte, recipients []recipient, result *outcome) {
	conn, err := s.dial.net.DialContext(ctx, "tcp", s.config.address())
	if err != nil {
		result.postpone(s.stepError(ctx, "connect to the SMTP server", err), given(recipients)...)
		return
	}
	// Nothing below looks at ctx: when that ends, the connection does.
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer func() {
		if stop() {
			_ = conn.Close() // what counts has been answered by then
		}
	}()
	client, err := s.greet(ctx, &boundedConn{Conn: conn, left: maxSaid})
	if err != nil {
		result.postpone(err, given(recipients)...)
		return
	}
	if err := s.login(client); err != nil {
		result.fail(s.stepError(ctx, "log in to the SMTP server", err), given(recipients)...)
		return
	}
	s.transfer(ctx, client, message, recipients, result)
	// A deadline that cannot be set leaves that of ctx.
	_ = conn.SetDeadline(time.Now().Add(quitPatience))
	if err := client.Quit(); err != nil {
		s.logger.DebugContext(ctx, "smtp connection not closed in order", "error", err)
	}
}

// greet says hello and makes the connection a protected one.
func (s *Sender) greet(ctx context.Context, conn net.Conn) (*smtp.Client, error) {
	if s.dial.mode == TLSImplicit {
		protected := tls.Client(conn, s.dial.tls)
		if err := protected.HandshakeContext(ctx); err != nil {
			return nil, s.stepError(ctx, "protect the connection to the SMTP server", err)
		}
		conn = protected
	}
	client, err := smtp.NewClient(conn, s.config.Host)
	if err != nil {
		return nil, s.stepError(ctx, "wait for the greeting of the SMTP server", err)
	}
	// Addresses are ASCII, and a message marked as international is refused by servers further on.
	client.SkipSMTPUTF8(true)
	if err := client.Hello(s.helloName); err != nil {
		return nil, s.stepError(ctx, "greet the SMTP server", err)
	}
	if s.dial.mode != TLSStart {
		return client, nil
	}
	if ok, _ := client.Extension("STARTTLS"); !ok {
		return nil, errors.New("the SMTP server does not offer STARTTLS")
	}
	if err := client.StartTLS(s.dial.tls); err != nil {
		return nil, s.stepError(ctx, "protect the connection to the SMTP server", err)
	}
	return client, nil
}

// login authenticates when a user is configured. The connection is protected, or does not leave the machine.
func (s *Sender) login(client *smtp.Client) error {
	if s.config.User == "" {
		return nil
	}
	_, offered := client.Extension("AUTH")
	mechanisms := strings.Fields(strings.ToUpper(offered))
	user, password, host := s.config.User, s.config.Password.Reveal(), s.config.Host
	switch {
	case slices.Contains(mechanisms, "PLAIN"):
		return client.Auth(smtp.PlainAuth("", user, password, host, true))
	case slices.Contains(mechanisms, "LOGIN"):
		return client.Auth(smtp.LoginAuth(user, password, host, true))
	default:
		return errors.New("it offers neither AUTH PLAIN nor AUTH LOGIN")
	}
}

// transfer hands the message over for everybody whom the server accepts.
func (s *Sender) transfer(ctx context.Context, client *smtp.Client, message []byte, recipients []recipient, result *outcome) {
	if err := client.Mail("<" + s.from.String() + ">"); err != nil {
		result.fail(s.stepError(ctx, "name the sender", err), given(recipients)...)
		return
	}
	var accepted []string
	for _, r := range recipients {
		err := client.Rcpt("<" + r.String() + ">")
		if err == nil {
			accepted = append(accepted, r.given)
			continue
		}
		err = s.stepError(ctx, "name the recipient", err)
		var answer *textproto.Error
		if errors.As(err, &answer) && answer.Code == 552 {
			result.postpone(err, r.given) // too many recipients, or a full mailbox: RFC 5321 section 4.5.3.1.10
			continue
		}
		result.fail(err, r.given)
	}
	if len(accepted) == 0 {
		return
	}
	if err := write(client, message); err != nil {
		result.fail(s.stepError(ctx, "hand over the message", err), accepted...)
		return
	}
	result.delivered = accepted
}

// write sends the message itself. Only the answer after its end says that it was taken.
func write(client *smtp.Client, message []byte) error {
	w, err := client.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write(message); err != nil {
		// Any further command would end the message, and the server would take what it has of it.
		return errors.Join(err, client.Close())
	}
	return w.Close()
}

func given(recipients []recipient) []string {
	all := make([]string, len(recipients))
	for i, r := range recipients {
		all[i] = r.given
	}
	return all
}
