package mail_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"mime/quotedprintable"
	"net"
	netmail "net/mail"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/secret"
	"github.com/meetwire/meetwire/services/subscription/internal/mail"
)

const ann, bob, eve = "ann@example.com", "bob@example.com", "eve@example.com"

// hello is a message that can be sent.
func hello(to ...string) mail.Message {
	return mail.Message{
		ID: "019aa5a0-7c1b-7d20-8000-000000000001", To: to, Subject: "Hello", Text: "A line.\n.\nAnother.\n",
		Date: time.Date(2026, 11, 21, 10, 30, 15, 0, time.FixedZone("CET", 3600)),
	}
}

// parsed is a message as a mail program shows it.
type parsed struct {
	netmail.Header
	subject string
	text    string
}

func parse(t *testing.T, raw []byte) parsed {
	t.Helper()
	for _, line := range strings.Split(strings.TrimSuffix(string(raw), "\r\n"), "\r\n") {
		require.LessOrEqual(t, len(line), 998, "the limit of RFC 5322")
		require.NotContains(t, line, "\n")
		require.NotContains(t, line, "\r")
	}
	m, err := netmail.ReadMessage(bytes.NewReader(raw))
	require.NoError(t, err)
	require.Equal(t, "quoted-printable", m.Header.Get("Content-Transfer-Encoding"))
	kind, parameters, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	require.NoError(t, err)
	require.Equal(t, "text/plain", kind)
	require.Equal(t, "utf-8", strings.ToLower(parameters["charset"]))
	subject, err := new(mime.WordDecoder).DecodeHeader(m.Header.Get("Subject"))
	require.NoError(t, err)
	text, err := io.ReadAll(quotedprintable.NewReader(m.Body))
	require.NoError(t, err)
	return parsed{Header: m.Header, subject: subject, text: strings.ReplaceAll(string(text), "\r\n", "\n")}
}

// requireLater asserts that a message is to be sent again to these.
func requireLater(t *testing.T, err error, again ...string) *mail.Error {
	t.Helper()
	var e *mail.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, fault.Unavailable, fault.KindOf(err), "%v", err)
	require.Equal(t, mail.ReasonUnavailable, fault.From(err).Reason)
	require.Equal(t, again, e.Again)
	return e
}

// requireNever asserts that it is not to be sent again.
func requireNever(t *testing.T, err error, refused ...string) *mail.Error {
	t.Helper()
	var e *mail.Error
	require.ErrorAs(t, err, &e)
	require.Equal(t, fault.FailedPrecondition, fault.KindOf(err), "%v", err)
	require.Equal(t, mail.ReasonRefused, fault.From(err).Reason)
	require.Equal(t, refused, e.Refused)
	require.Empty(t, e.Again)
	return e
}

func TestMessageIsDelivered(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]*server{
		"starttls":  {mode: mail.TLSStart},
		"implicit":  {mode: mail.TLSImplicit},
		"none":      {mode: mail.TLSNone},
		"login":     {mode: mail.TLSStart, login: true},
		"anonymous": {mode: mail.TLSStart, anonymous: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s.start(t)
			require.NoError(t, s.sender(t).Send(t.Context(), hello(ann, bob, ann)))
			got := s.only(t)
			require.Equal(t, "alerts@meetwire.example", got.from)
			require.Equal(t, []string{ann, bob}, got.to, "each once")
			require.Equal(t, s.mode != mail.TLSNone, got.tls)
			m := parse(t, got.raw)
			require.Equal(t, "Hello", m.subject)
			require.Equal(t, "A line.\n.\nAnother.\n", m.text)
			require.Equal(t, "<019aa5a0-7c1b-7d20-8000-000000000001@meetwire.example>", m.Get("Message-Id"))
			require.Equal(t, "auto-generated", m.Get("Auto-Submitted"))
			require.Equal(t, `"Meetwire" <alerts@meetwire.example>`, m.Get("From"))
			require.Equal(t, "<ann@example.com>, <bob@example.com>", m.Get("To"))
			require.Equal(t, "Sat, 21 Nov 2026 09:30:15 +0000", m.Get("Date"), "UTC")
			require.Empty(t, m.Get("User-Agent")+m.Get("X-Mailer"))
		})
	}
}

func TestMessageThatIsSentAgainIsTheSame(t *testing.T) {
	t.Parallel()
	s := (&server{mode: mail.TLSStart}).start(t)
	sender := s.sender(t)
	require.NoError(t, sender.Send(t.Context(), hello(ann)))
	require.NoError(t, sender.Send(t.Context(), hello(ann)))
	all := s.messages()
	require.Len(t, all, 2)
	require.Equal(t, string(all[0].raw), string(all[1].raw))
}

func TestUnicodeAndLongLines(t *testing.T) {
	t.Parallel()
	s := (&server{mode: mail.TLSStart}).start(t)
	c := s.config(t)
	c.FromName = `Älärme "Nord" \ Süd`
	m := hello("ann@bücher.example")
	m.Subject = "Störung 予約 👩‍👩‍👧 " + strings.Repeat("длинный ", 40) + "end"
	m.Text = strings.Repeat("x", 5000) + "\n" + strings.Repeat("日本語", 1000) + "\n.\n..\nFrom here\n"
	require.NoError(t, newSender(t, c).Send(t.Context(), m))
	got := s.only(t)
	require.Equal(t, []string{"ann@xn--bcher-kva.example"}, got.to)
	shown := parse(t, got.raw)
	require.Equal(t, m.Subject, shown.subject)
	require.Equal(t, m.Text, shown.text)
	from, err := shown.AddressList("From")
	require.NoError(t, err)
	require.Equal(t, []*netmail.Address{{Name: c.FromName, Address: "alerts@meetwire.example"}}, from)
}

func TestNothingIsSaidToAServerThatCannotBeTrusted(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		mode   string
		change func(t *testing.T, c *mail.Config)
		as     any
	}{
		"starttls, other CA":   {mail.TLSStart, func(t *testing.T, c *mail.Config) { c.CAFile = newAuthority(t).file(t) }, new(x509.UnknownAuthorityError)},
		"implicit, other CA":   {mail.TLSImplicit, func(t *testing.T, c *mail.Config) { c.CAFile = newAuthority(t).file(t) }, new(x509.UnknownAuthorityError)},
		"starttls, system CAs": {mail.TLSStart, func(_ *testing.T, c *mail.Config) { c.CAFile = "" }, new(x509.UnknownAuthorityError)},
		"starttls, other name": {mail.TLSStart, func(_ *testing.T, c *mail.Config) { c.Host = "localhost" }, new(x509.HostnameError)},
		"no starttls":          {mail.TLSNone, func(_ *testing.T, c *mail.Config) { c.TLS = "" }, nil},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := (&server{mode: test.mode}).start(t)
			c := s.config(t)
			test.change(t, &c)
			err := newSender(t, c).Send(t.Context(), hello(ann))
			requireLater(t, err, ann)
			if test.as != nil {
				require.ErrorAs(t, err, test.as)
			} else {
				require.ErrorContains(t, err, "does not offer STARTTLS")
			}
			require.Empty(t, s.messages())
			require.Zero(t, s.commands)
		})
	}
}

func TestLoginThatFails(t *testing.T) {
	t.Parallel()
	s := (&server{mode: mail.TLSStart}).start(t)
	c := s.config(t)
	c.Password = secret.New("another-password")
	requireNever(t, newSender(t, c).Send(t.Context(), hello(ann, bob)), ann, bob)

	c.User, c.Password = "", secret.String{}
	requireNever(t, newSender(t, c).Send(t.Context(), hello(ann)), ann)

	busy := (&server{mode: mail.TLSStart, authError: &smtp.SMTPError{Code: 454, Message: "Try later"}}).start(t)
	requireLater(t, busy.sender(t).Send(t.Context(), hello(ann)), ann)

	without := (&server{mode: mail.TLSStart, anonymous: true}).start(t)
	c = without.config(t)
	c.User, c.Password = user, secret.New(password)
	requireLater(t, newSender(t, c).Send(t.Context(), hello(ann)), ann)
}

func TestPasswordIsShownNowhere(t *testing.T) {
	t.Parallel()
	s := (&server{mode: mail.TLSStart, authError: &smtp.SMTPError{Code: 535, Message: "not " + password}}).start(t)
	var log bytes.Buffer
	c := s.config(t)
	sender, err := mail.New(c, slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug})))
	require.NoError(t, err)
	err = sender.Send(t.Context(), hello(ann))
	requireNever(t, err, ann)
	require.ErrorContains(t, err, "not REDACTED")
	c.Port, c.TLS = -1, "wrong"
	shown := err.Error() + fmt.Sprintf("%v %+v %#v", c, c, c) + c.Validate().Error() + log.String()
	require.NotContains(t, shown, password)
}

func TestServerRefuses(t *testing.T) {
	t.Parallel()
	no := &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "No such user\r\nreally"}
	later := &smtp.SMTPError{Code: 451, Message: "Greylisted"}
	full := &smtp.SMTPError{Code: 552, Message: "Too many recipients"}
	for name, test := range map[string]struct {
		answers                   answers
		delivered, refused, again []string
	}{
		"one recipient for ever":        {answers: answers{rcptError: map[string]error{ann: no}}, delivered: []string{bob, eve}, refused: []string{ann}},
		"one recipient for now":         {answers: answers{rcptError: map[string]error{bob: later}}, delivered: []string{ann, eve}, again: []string{bob}},
		"one for ever, one for now":     {answers: answers{rcptError: map[string]error{ann: no, bob: later}}, delivered: []string{eve}, refused: []string{ann}, again: []string{bob}},
		"too many recipients":           {answers: answers{rcptError: map[string]error{eve: full}}, delivered: []string{ann, bob}, again: []string{eve}},
		"all recipients":                {answers: answers{rcptError: map[string]error{ann: no, bob: no, eve: no}}, refused: []string{ann, bob, eve}},
		"the sender for ever":           {answers: answers{mailError: no}, refused: []string{ann, bob, eve}},
		"the sender for now":            {answers: answers{mailError: later}, again: []string{ann, bob, eve}},
		"the message for ever":          {answers: answers{dataError: no}, refused: []string{ann, bob, eve}},
		"the message for now":           {answers: answers{dataError: later}, again: []string{ann, bob, eve}},
		"a recipient, then the message": {answers: answers{rcptError: map[string]error{ann: no}, dataError: later}, refused: []string{ann}, again: []string{bob, eve}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := (&server{mode: mail.TLSStart, answers: test.answers}).start(t)
			err := s.sender(t).Send(t.Context(), hello(ann, bob, eve))
			var e *mail.Error
			if len(test.again) > 0 {
				e = requireLater(t, err, test.again...)
			} else {
				e = requireNever(t, err, test.refused...)
			}
			require.Equal(t, test.delivered, e.Delivered)
			require.Equal(t, test.refused, e.Refused)
			require.NotContains(t, err.Error(), "\n")
			if len(test.delivered) > 0 {
				require.Equal(t, test.delivered, s.only(t).to)
			} else {
				require.Empty(t, s.messages())
			}
		})
	}
}

func TestServerThatIsNotThere(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	port := listener.Addr().(*net.TCPAddr).Port
	require.NoError(t, listener.Close())
	sender := newSender(t, mail.Config{Host: "127.0.0.1", Port: port, From: "alerts@meetwire.example"})
	requireLater(t, sender.Send(t.Context(), hello(ann)), ann)
}

func TestServerThatHangs(t *testing.T) {
	t.Parallel()
	sender := scripted(t, time.Second, func(_ net.Conn, r *bufio.Reader) {
		_, _ = r.ReadString('\n') // until the client closes the connection
	})
	err := sender.Send(t.Context(), hello(ann))
	requireLater(t, err, ann)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestServerThatHangsInTheTLSHandshake(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0") // accepts in the kernel only
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, listener.Close()) })
	sender := newSender(t, mail.Config{
		Host: "127.0.0.1", Port: listener.Addr().(*net.TCPAddr).Port, TLS: mail.TLSImplicit, From: "alerts@meetwire.example", Timeout: time.Second,
	})
	err = sender.Send(t.Context(), hello(ann))
	requireLater(t, err, ann)
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestCallerGivesUp(t *testing.T) {
	t.Parallel()
	s := (&server{mode: mail.TLSStart, inData: make(chan struct{})}).start(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	sender, done := s.sender(t), make(chan error, 1)
	go func() { done <- sender.Send(ctx, hello(ann)) }()
	select {
	case <-s.inData:
	case <-time.After(patience):
		require.Fail(t, "the message does not come")
	}
	cancel()
	select {
	case err := <-done:
		requireLater(t, err, ann)
		require.ErrorIs(t, err, context.Canceled)
	case <-time.After(patience):
		require.Fail(t, "it goes on waiting")
	}
	requireLater(t, sender.Send(ctx, hello(bob)), bob)
}

// TestServersThatMisbehave has servers that say what no order of commands brings the real one to say.
func TestServersThatMisbehave(t *testing.T) {
	t.Parallel()
	// take is a server up to the end of a message, which it does not answer.
	take := func(conn net.Conn, r *bufio.Reader) {
		fmt.Fprint(conn, "220 test\r\n")
		for data := false; ; {
			line, err := r.ReadString('\n')
			switch {
			case err != nil, line == ".\r\n":
				return
			case data:
			case strings.HasPrefix(line, "DATA"):
				data = true
				fmt.Fprint(conn, "354 go\r\n")
			default:
				fmt.Fprint(conn, "250 ok\r\n")
			}
		}
	}
	t.Run("turned away", func(t *testing.T) {
		t.Parallel()
		sender := scripted(t, patience, func(conn net.Conn, _ *bufio.Reader) { fmt.Fprint(conn, "554 no service\r\n") })
		requireLater(t, sender.Send(t.Context(), hello(ann)), ann)
	})
	t.Run("cut off before the answer to the message", func(t *testing.T) {
		t.Parallel()
		sender := scripted(t, patience, take)
		requireLater(t, sender.Send(t.Context(), hello(ann)), ann)
	})
	t.Run("cut off after the answer to the message", func(t *testing.T) {
		t.Parallel()
		sender := scripted(t, patience, func(conn net.Conn, r *bufio.Reader) {
			take(conn, r)
			fmt.Fprint(conn, "250 taken\r\n")
		})
		require.NoError(t, sender.Send(t.Context(), hello(ann)), "what is taken is delivered")
	})
	t.Run("talks without end", func(t *testing.T) {
		t.Parallel()
		sender := scripted(t, patience, func(conn net.Conn, _ *bufio.Reader) {
			for chunk := bytes.Repeat([]byte("2"), 1<<16); ; {
				if _, err := conn.Write(chunk); err != nil {
					return
				}
			}
		})
		err := sender.Send(t.Context(), hello(ann))
		requireLater(t, err, ann)
		require.ErrorContains(t, err, "says too much")
	})
}

func TestMessageThatCannotBeSent(t *testing.T) {
	t.Parallel()
	s := (&server{mode: mail.TLSStart}).start(t)
	sender := s.sender(t)
	for field, change := range map[string]func(m *mail.Message){
		"id":      func(m *mail.Message) { m.ID = "a> x\r\nBcc: eve@example.com" },
		"to":      func(m *mail.Message) { m.To = nil },
		"subject": func(m *mail.Message) { m.Subject = "a\r\nBcc: eve@example.com" },
		"text":    func(m *mail.Message) { m.Text = "" },
		"date":    func(m *mail.Message) { m.Date = time.Time{} },
	} {
		m := hello(ann)
		change(&m)
		err := sender.Send(t.Context(), m)
		require.True(t, fault.Is(err, fault.InvalidArgument), "%s: %v", field, err)
		require.Equal(t, field, fault.From(err).Fields[0].Path)
	}
	require.Empty(t, s.messages())
}

func TestAddressesThatAreNone(t *testing.T) {
	t.Parallel()
	s := (&server{mode: mail.TLSStart}).start(t)
	bad := []string{
		"", "ann", "@example.com", "ann@", "ann@example.com\r\nBcc: eve@example.com", "ann\r\nRCPT TO:<eve@example.com>@example.com",
		"Ann <ann@example.com>", "<ann@example.com>", "ann@example.com>", "ann@example.com, eve@example.com", `"ann x"@example.com`,
		"ann> NOTIFY=NEVER@example.com", ".ann@example.com", "a..b@example.com", "änn@example.com", "ann@[127.0.0.1]", "ann@exa mple.com",
		"ann@example..com", "ann@example.com.", strings.Repeat("a", 65) + "@example.com", "a@" + strings.Repeat("a.", 130) + "com", "ann@example.com\x00",
	}
	e := requireNever(t, s.sender(t).Send(t.Context(), hello(append(bad, ann)...)), bad...)
	require.Equal(t, []string{ann}, e.Delivered)
	require.Equal(t, []string{ann}, s.only(t).to)
	require.Equal(t, "<ann@example.com>", parse(t, s.only(t).raw).Get("To"))
	requireNever(t, s.sender(t).Send(t.Context(), hello("ann")), "ann")
}
