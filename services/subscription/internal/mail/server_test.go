package mail_test

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/meetwire/meetwire/pkg/secret"
	"github.com/meetwire/meetwire/services/subscription/internal/mail"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for something that should be there at once.
const patience = 20 * time.Second

const (
	user     = "meetwire"
	password = "correct-horse-battery"
)

// authority is a CA made for one test.
type authority struct {
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "CA of a test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	certificate, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	return &authority{certificate: certificate, key: key}
}

// file writes the certificate for a client.
func (a *authority) file(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "ca.pem")
	content := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.certificate.Raw})
	require.NoError(t, os.WriteFile(path, content, 0o600))
	return path
}

// tls returns the configuration of a server with a certificate for 127.0.0.1 only.
func (a *authority) tls(t *testing.T) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, &key.PublicKey, a.key)
	require.NoError(t, err)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
}

// server is an SMTP server on loopback.
type server struct {
	mode      string // as in Config.TLS; none: it offers no TLS at all
	login     bool   // it offers AUTH LOGIN instead of PLAIN
	anonymous bool   // it offers no AUTH and wants none
	authError error  // what it answers to every login; nil: the password decides
	answers
	inData chan struct{} // when set, it is told of the message's end and then does not answer before the test ends

	ca   *authority
	port int
	over chan struct{}

	mu       sync.Mutex
	received []received
	commands int // MAIL commands
}

// answers are what a server says to commands; nil: yes.
type answers struct {
	mailError error
	rcptError map[string]error
	dataError error
}

// received is a message as the server has it.
type received struct {
	from string
	to   []string
	raw  []byte
	tls  bool
}

// start runs a server until the test ends.
func (s *server) start(t *testing.T) *server {
	t.Helper()
	s.ca, s.over = newAuthority(t), make(chan struct{})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s.port = listener.Addr().(*net.TCPAddr).Port
	srv := smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) {
		return &session{server: s, conn: c, loggedIn: s.anonymous}, nil
	}))
	srv.Domain, srv.AllowInsecureAuth, srv.EnableSMTPUTF8 = "127.0.0.1", s.mode == mail.TLSNone, true
	srv.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	switch s.mode {
	case mail.TLSStart:
		srv.TLSConfig = s.ca.tls(t)
	case mail.TLSImplicit:
		listener = tls.NewListener(listener, s.ca.tls(t))
	}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(listener) }()
	t.Cleanup(func() {
		close(s.over)
		require.NoError(t, srv.Close())
		_ = listener.Close() // in case that the server has not come to know of it yet
		require.NoError(t, <-done)
	})
	return s
}

// config returns what a client of the server needs.
func (s *server) config(t *testing.T) mail.Config {
	t.Helper()
	c := mail.Config{
		Host: "127.0.0.1", Port: s.port, TLS: s.mode, CAFile: s.ca.file(t), From: "alerts@meetwire.example", FromName: "Meetwire",
		User: user, Password: secret.New(password), Timeout: patience,
	}
	if s.anonymous {
		c.User, c.Password = "", secret.String{}
	}
	return c
}

// sender returns a client of the server.
func (s *server) sender(t *testing.T) *mail.Sender {
	t.Helper()
	return newSender(t, s.config(t))
}

func newSender(t *testing.T, c mail.Config) *mail.Sender {
	t.Helper()
	sender, err := mail.New(c, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	return sender
}

// messages returns what the server has taken.
func (s *server) messages() []received {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]received(nil), s.received...)
}

// only returns the one message that the server has taken.
func (s *server) only(t *testing.T) received {
	t.Helper()
	all := s.messages()
	require.Len(t, all, 1)
	return all[0]
}

// session is a connection to the server.
type session struct {
	*server
	conn     *smtp.Conn
	loggedIn bool
	current  received
}

func (s *session) AuthMechanisms() []string {
	switch {
	case s.anonymous:
		return nil
	case s.login:
		return []string{sasl.Login}
	default:
		return []string{sasl.Plain}
	}
}

func (s *session) Auth(mechanism string) (sasl.Server, error) {
	check := func(_, gotUser, gotPassword string) error {
		if s.authError != nil {
			return s.authError
		}
		if gotUser != user || gotPassword != password {
			return smtp.ErrAuthFailed
		}
		s.loggedIn = true
		return nil
	}
	if mechanism == sasl.Login {
		return &loginServer{check: check}, nil
	}
	return sasl.NewPlainServer(check), nil
}

func (s *session) Mail(from string, _ *smtp.MailOptions) error {
	s.mu.Lock()
	s.commands++
	s.mu.Unlock()
	if !s.loggedIn {
		return smtp.ErrAuthRequired
	}
	_, protected := s.conn.TLSConnectionState()
	s.current = received{from: from, tls: protected}
	return s.mailError
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	if err := s.rcptError[to]; err != nil {
		return err
	}
	s.current.to = append(s.current.to, to)
	return nil
}

func (s *session) Data(r io.Reader) error {
	raw, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if s.inData != nil {
		close(s.inData)
		<-s.over
		return errors.New("the test is over")
	}
	if s.dataError != nil {
		return s.dataError
	}
	s.current.raw = raw
	s.mu.Lock()
	defer s.mu.Unlock()
	s.received = append(s.received, s.current)
	return nil
}

func (s *session) Reset()        {}
func (s *session) Logout() error { return nil }

// loginServer is the mechanism LOGIN.
type loginServer struct {
	check func(identity, user, password string) error
	step  int
	user  string
}

func (l *loginServer) Next(response []byte) (challenge []byte, done bool, err error) {
	l.step++
	switch l.step {
	case 1:
		return []byte("Username:"), false, nil
	case 2:
		l.user = string(response)
		return []byte("Password:"), false, nil
	default:
		return nil, true, l.check("", l.user, string(response))
	}
}

// scripted runs a server that says what a function makes it say, once per connection, and returns a client of it.
func scripted(t *testing.T, timeout time.Duration, talk func(conn net.Conn, r *bufio.Reader)) *mail.Sender {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				talk(conn, bufio.NewReader(conn))
				_ = conn.Close()
			})
		}
	})
	t.Cleanup(func() {
		require.NoError(t, listener.Close())
		all.Wait()
	})
	return newSender(t, mail.Config{
		Host: "127.0.0.1", Port: listener.Addr().(*net.TCPAddr).Port, TLS: mail.TLSNone, From: "alerts@meetwire.example", Timeout: timeout,
	})
}
