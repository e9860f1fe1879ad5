package e2e_test

import (
	"io"
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/require"
)

// mailbox is an SMTP server that keeps what it gets.
type mailbox struct {
	port string

	mu    sync.Mutex
	mails []mail
}

type mail struct {
	to   []string
	text string
}

func newMailbox(t *testing.T) *mailbox {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	m := &mailbox{}
	_, m.port, err = net.SplitHostPort(listener.Addr().String())
	require.NoError(t, err)
	server := smtp.NewServer(m)
	server.Domain = "localhost"
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	t.Cleanup(func() {
		require.NoError(t, server.Close())
		<-served
	})
	return m
}

// NewSession implements smtp.Backend.
func (m *mailbox) NewSession(*smtp.Conn) (smtp.Session, error) { return &mailSession{box: m}, nil }

type mailSession struct {
	box *mailbox
	to  []string
}

func (s *mailSession) Reset()                             { s.to = nil }
func (*mailSession) Logout() error                        { return nil }
func (*mailSession) Mail(string, *smtp.MailOptions) error { return nil }
func (s *mailSession) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.to = append(s.to, to)
	return nil
}

func (s *mailSession) Data(r io.Reader) error {
	text, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	s.box.mu.Lock()
	defer s.box.mu.Unlock()
	s.box.mails = append(s.box.mails, mail{to: s.to, text: string(text)})
	return nil
}

// to returns what an address has got with a text in it.
func (m *mailbox) to(address, containing string) []mail {
	m.mu.Lock()
	defer m.mu.Unlock()
	var found []mail
	for _, one := range m.mails {
		if strings.Contains(strings.Join(one.to, " "), address) && strings.Contains(one.text, containing) {
			found = append(found, one)
		}
	}
	return found
}
