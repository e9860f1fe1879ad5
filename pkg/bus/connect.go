package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/meetwire/meetwire/pkg/lifecycle"
	"github.com/meetwire/meetwire/pkg/secret"
)

// NATSConfig says how to reach NATS.
type NATSConfig struct {
	NATSURL       secret.String `help:"URLs of NATS servers, separated by commas; they may contain a user and a password." name:"nats-url" default:"nats://127.0.0.1:4222" env:"MEETWIRE_NATS_URL"`
	NATSCredsFile string        `help:"File with NATS user credentials (JWT and seed)." name:"nats-creds-file" env:"MEETWIRE_NATS_CREDS_FILE"`
	NATSCAFile    string        `help:"File with the PEM certificates that NATS servers are checked against, instead of the system's." name:"nats-ca-file" env:"MEETWIRE_NATS_CA_FILE"`
	// NATSInboxPrefix is what permissions of users are about, see NATSUsers.
	NATSInboxPrefix string `help:"What the subjects begin with on which answers of NATS come. Empty: _INBOX_ and the name of the service, as in deploy/nats." name:"nats-inbox-prefix" env:"MEETWIRE_NATS_INBOX_PREFIX"`
}

// Waits between attempts to reach NATS.
const (
	minConnectWait = 50 * time.Millisecond
	maxConnectWait = 2 * time.Second
)

// connectTimeout bounds one attempt.
const connectTimeout = 2 * time.Second

// requestWait is how long the answer to a request of the JetStream API is waited for. One that was sent while the
// server went away never comes.
const requestWait = 5 * time.Second

// Connect connects to NATS, trying until the context ends. A connection that is lost later is restored by
// itself, for as long as it takes; meanwhile publishes fail rather than pile up unseen.
func Connect(ctx context.Context, name string, config NATSConfig, logger *slog.Logger, more ...nats.Option) (*nats.Conn, error) {
	if err := checkURL(config.NATSURL); err != nil {
		return nil, err
	}
	prefix := config.NATSInboxPrefix
	if prefix == "" {
		prefix = InboxPrefix(serviceIn(name))
	}
	if strings.ContainsAny(prefix, "*> \t\r\n") || strings.HasPrefix(prefix, ".") || strings.HasSuffix(prefix, ".") {
		return nil, errInboxPrefix
	}
	options := []nats.Option{
		nats.Name(name),
		nats.CustomInboxPrefix(prefix),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(100 * time.Millisecond),
		nats.ReconnectJitter(100*time.Millisecond, 100*time.Millisecond),
		nats.Timeout(connectTimeout),
		nats.PingInterval(10 * time.Second),
		nats.ReconnectBufSize(-1),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				logger.Warn("nats disconnected", "error", err)
			}
		}),
		nats.ReconnectHandler(func(*nats.Conn) { logger.Info("nats reconnected") }),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) {
			subject := ""
			if sub != nil {
				subject = sub.Subject
			}
			logger.Warn("nats reported an error", "subject", subject, "error", err)
		}),
	}
	if config.NATSCredsFile != "" {
		options = append(options, nats.UserCredentials(config.NATSCredsFile))
	}
	if config.NATSCAFile != "" {
		options = append(options, nats.RootCAs(config.NATSCAFile))
	}
	options = append(options, more...)
	var conn *nats.Conn
	err := lifecycle.Retry(ctx, logger, "connect to nats", minConnectWait, maxConnectWait, func(context.Context) error {
		var err error
		conn, err = nats.Connect(config.NATSURL.Reveal(), options...)
		switch {
		case errors.Is(err, nats.ErrAuthorization), errors.Is(err, nats.ErrAuthExpired):
			return lifecycle.Permanent(err)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("connect to nats: %w", err)
	}
	return conn, nil
}

// errInboxPrefix is returned for what no subject begins with.
var errInboxPrefix = errors.New("connect to nats: nats-inbox-prefix (MEETWIRE_NATS_INBOX_PREFIX) must be the beginning of a subject, without wildcards")

// serviceIn returns the service in the name of a connection: `ingest` in `meetwire-ingest`.
func serviceIn(name string) string {
	words := strings.FieldsFunc(name, notInName)
	if len(words) == 0 {
		return "meetwire"
	}
	return words[len(words)-1]
}

func notInName(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9')
}

// errURL is returned for a URL that cannot be read. It must not tell the URL, which may contain a password.
var errURL = errors.New("connect to nats: the URL (MEETWIRE_NATS_URL) cannot be read")

// checkURL finds what would never connect, and keeps the URL out of the errors about it.
func checkURL(urls secret.String) error {
	for one := range strings.SplitSeq(urls.Reveal(), ",") {
		one = strings.TrimSpace(one)
		if !strings.Contains(one, "://") {
			one = "nats://" + one
		}
		if parsed, err := url.Parse(one); err != nil || parsed.Host == "" {
			return errURL
		}
	}
	return nil
}

// errNotConnected is what readiness finds while NATS is away.
var errNotConnected = errors.New("not connected")

// Check is the readiness of a connection.
func Check(conn *nats.Conn) lifecycle.Check {
	return lifecycle.Check{Name: "nats", Func: func(context.Context) error {
		if !conn.IsConnected() {
			return errNotConnected
		}
		return nil
	}}
}

// publishWindow bounds the publishes of one connection that wait for their acknowledgement.
const publishWindow = 4096

// JetStream returns the JetStream context that the services use: asynchronous publishes wait for room in the
// window instead of failing after 200 ms, and fail when no acknowledgement comes within 30 s.
func JetStream(conn *nats.Conn) (jetstream.JetStream, error) {
	js, err := jetstream.New(conn,
		jetstream.WithPublishAsyncMaxPending(publishWindow),
		jetstream.WithPublishAsyncTimeout(30*time.Second),
	)
	if err != nil {
		return nil, fmt.Errorf("open jetstream: %w", err)
	}
	return js, nil
}

// EnsureStreams creates the streams that do not exist and updates those that do, trying until the context
// ends while the cluster settles. What a stream cannot be changed to is an error at once.
func EnsureStreams(ctx context.Context, js jetstream.JetStream, config Config, logger *slog.Logger) error {
	for _, stream := range config.Streams() {
		err := lifecycle.Retry(ctx, logger, "ensure stream "+stream.Name, minConnectWait, maxConnectWait, func(ctx context.Context) error {
			ctx, cancel := context.WithTimeout(ctx, requestWait)
			defer cancel()
			_, err := js.CreateOrUpdateStream(ctx, stream)
			return permanentIfRefused(err)
		})
		if err != nil {
			return fmt.Errorf("ensure stream %s: %w", stream.Name, err)
		}
	}
	return nil
}

// Error codes of the JetStream API that look like refusals and pass when the cluster has settled.
const (
	codeNoPeers             = 10005 // too few nodes are known yet
	codeNotAssigned         = 10007
	codeNotLeader           = 10009
	codeRaft                = 10041
	codeStreamOffline       = 10194
	codeConsumerOffline     = 10195
	codeMemberChange        = 10202
	codeReconfigureProgress = 10226
)

// permanentIfRefused marks an error with which the server refuses a configuration, so that it is not retried.
func permanentIfRefused(err error) error {
	var api *jetstream.APIError
	if !errors.As(err, &api) || (api.Code != 400 && api.Code != 500) {
		return err
	}
	switch api.ErrorCode {
	case codeNoPeers, codeNotAssigned, codeNotLeader, codeRaft, codeStreamOffline, codeConsumerOffline, codeMemberChange,
		codeReconfigureProgress:
		return err
	}
	return lifecycle.Permanent(err)
}
