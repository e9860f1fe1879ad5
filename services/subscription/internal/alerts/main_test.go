package alerts_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/pgtest"
	"github.com/meetwire/meetwire/services/subscription/internal/alerts"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
	"github.com/meetwire/meetwire/services/subscription/internal/mail"
	"github.com/meetwire/meetwire/services/subscription/internal/pgstore"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

const (
	patience = 20 * time.Second
	tick     = 5 * time.Millisecond
)

// server is an SMTP server on loopback.
type server struct {
	port int

	mu       sync.Mutex
	refusals map[string]error // by recipient
	away     error            // said to everybody
	tries    int
	received []received
}

// received is a message as the server has it.
type received struct {
	to  []string
	raw string
}

// session is a connection to the server.
type session struct {
	*server
	to []string
}

func (s *session) Mail(string, *smtp.MailOptions) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tries++
	return s.away
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.refusals[to]; err != nil {
		return err
	}
	s.to = append(s.to, to)
	return nil
}

func (s *session) Data(r io.Reader) error {
	raw, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.received = append(s.received, received{to: s.to, raw: string(raw)})
	return nil
}

func (s *session) Reset()        {}
func (s *session) Logout() error { return nil }

// answer makes the server refuse recipients, or everybody.
func (s *server) answer(away error, refusals map[string]error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away, s.refusals = away, refusals
}

// messages returns what the server has taken.
func (s *server) messages() []received {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]received(nil), s.received...)
}

// attempts returns how often somebody has tried.
func (s *server) attempts() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tries
}

func newServer(t *testing.T) *server {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	s := &server{port: listener.Addr().(*net.TCPAddr).Port}
	srv := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return &session{server: s}, nil }))
	srv.Domain = "127.0.0.1"
	srv.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	done := make(chan error, 1)
	go func() { done <- srv.Serve(listener) }()
	t.Cleanup(func() {
		require.NoError(t, srv.Close())
		_ = listener.Close() // in case that the server has not come to know of it yet
		require.NoError(t, <-done)
	})
	return s
}

// clock is a time that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(by time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(by)
}

// buffer is a log that can be read while it is written.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// env is a database with a webhook, an SMTP server and a clock.
type env struct {
	pool    *pgxpool.Pool
	store   *pgstore.Store
	server  *server
	clock   *clock
	log     *buffer
	webhook core.Webhook
}

func setup(t *testing.T, recipients ...string) *env {
	t.Helper()
	pool := pgtest.Database(t, "alerts", pgstore.Migrate)
	e := &env{pool: pool, server: newServer(t), log: &buffer{}, clock: &clock{now: time.Date(2026, 5, 1, 10, 20, 0, 0, time.UTC)}}
	e.store = pgstore.New(pool, slog.New(slog.DiscardHandler), e.clock.Now)
	now := core.Stored(e.clock.Now())
	require.NoError(t, e.store.InsertOrganization(t.Context(), core.Organization{
		ID: "acme", DisplayName: "Acme Inc.", Version: 1, CreateTime: now, UpdateTime: now,
	}, core.Request{}))
	id := uuid.NewString()
	var err error
	e.webhook, err = e.store.InsertWebhook(t.Context(), "acme", id, core.Request{},
		func(context.Context, core.WebhookView) (core.WebhookStep, error) {
			return core.WebhookStep{Write: true, Action: core.ActionCreate, Webhook: core.Webhook{
				ID: id, Organization: "acme", DisplayName: "Booking sync", TargetURL: "https://example.com/hook?token=secret",
				Triggers: []string{"meeting.booked"}, Dialect: "standard", SecretSource: core.SecretNone, Status: core.StatusActive,
				StatusTime: now, Generation: 1, AlertEmails: recipients, MaxConcurrency: 8, Timeout: time.Second, CreateTime: now, UpdateTime: now,
			}}, nil
		})
	require.NoError(t, err)
	return e
}

// report tells that the webhook fails, as delivery does.
func (e *env) report(t *testing.T, level core.HealthLevel, since time.Time) bool {
	t.Helper()
	effective, err := e.store.ReportHealth(t.Context(), core.HealthReport{
		Organization: "acme", Webhook: e.webhook.ID, Generation: 1, Level: level, Reason: "consecutive_failures",
		ConsecutiveFailures: 2, FailingSince: since, LastStatus: 503, LastErrorClass: "status",
	}, true)
	require.NoError(t, err)
	return effective
}

// run sends e-mails until the test, or stop, ends it.
func (e *env) run(t *testing.T) (stop func()) {
	t.Helper()
	config := mail.Config{
		Host: "127.0.0.1", Port: e.server.port, TLS: mail.TLSNone, From: "alerts@meetwire.example", FromName: "Meetwire", Timeout: patience,
	}
	logger := slog.New(slog.NewTextHandler(e.log, nil))
	sender, err := mail.New(config, logger)
	require.NoError(t, err)
	mailer, err := alerts.New(alerts.Config{
		Store: e.store, Sender: sender, ConsoleURL: "https://console.example.com", Logger: logger,
		Registry: prometheus.NewRegistry(), Now: e.clock.Now, Poll: tick,
	})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- mailer.Run(ctx) }()
	stop = sync.OnceFunc(func() { cancel(); require.NoError(t, <-done) })
	t.Cleanup(stop)
	return stop
}

// awaitTries waits until the e-mail was tried so often and is settled: how many are due later, and when the first.
func (e *env) awaitTries(t *testing.T, tries int) (waiting int, next time.Time) {
	t.Helper()
	require.Eventually(t, func() bool {
		if e.server.attempts() < tries {
			return false
		}
		var first *time.Time
		// One that is worked on is taken over for minutes.
		err := e.pool.QueryRow(t.Context(), `
			SELECT count(next_time), min(next_time) FROM subscription.mail`).Scan(&waiting, &first)
		require.NoError(t, err)
		if first != nil {
			next = first.UTC()
		}
		var attempts int
		require.NoError(t, e.pool.QueryRow(t.Context(), "SELECT sum(attempts) FROM subscription.mail").Scan(&attempts))
		return attempts == tries && (waiting == 0 || !next.Equal(e.clock.Now().Add(10*time.Minute)))
	}, patience, tick)
	return waiting, next
}
