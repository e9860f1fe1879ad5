package up

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/secret"
	"github.com/meetwire/meetwire/services/meetwire/internal/localnats"
	"github.com/meetwire/meetwire/services/meetwire/internal/natsconfig"
)

// natsAccess is where NATS is, and as whom to use it.
type natsAccess struct {
	url       string           // without a user, unless it is the user's own server
	users     *localnats.Users // nil: anybody may do anything, or it is the user's own server
	passwords string           // the file with the passwords of the users
}

// as returns how to connect as a user.
func (n *natsAccess) as(user string) (bus.NATSConfig, error) {
	if n.users == nil {
		return bus.NATSConfig{NATSURL: secret.New(n.url)}, nil
	}
	with, err := url.Parse(n.url)
	if err != nil {
		return bus.NATSConfig{}, fmt.Errorf("read the URL of NATS: %w", err)
	}
	with.User = url.UserPassword(user, n.users.Password(user).Reveal())
	return bus.NATSConfig{NATSURL: secret.New(with.String()), NATSInboxPrefix: bus.InboxPrefix(user)}, nil
}

// publisherFlags are how the nats command is told to publish as a publisher, without its password being shown.
func (n *natsAccess) publisherFlags() string {
	if n.users == nil {
		return ""
	}
	return fmt.Sprintf(` --user %s --password "$(sed -n s/^%s=//p '%s')"`,
		bus.UserPublisher, natsconfig.PasswordVariable(bus.UserPublisher), n.passwords)
}

var (
	errSecureElsewhere = errors.New("--secure is for the embedded NATS, not for that of --nats-url")
	errPublisher       = errors.New("--publisher needs --secure")
)

// openNATS starts an embedded nats-server, unless the configuration names one.
func openNATS(config Config, folder *folder, logger *slog.Logger, closers *closers) (*natsAccess, error) {
	switch {
	case len(config.Publisher) > 0 && !config.Secure:
		return nil, errPublisher
	case !config.NATSURL.IsZero() && config.Secure:
		return nil, errSecureElsewhere
	case !config.NATSURL.IsZero():
		return &natsAccess{url: config.NATSURL.Reveal()}, nil
	}
	access := &natsAccess{}
	if config.Secure {
		var err error
		access.passwords = folder.in("nats-passwords")
		if access.users, err = localnats.LoadUsers(access.passwords, config.Publisher); err != nil {
			return nil, err
		}
	}
	port, err := freePort(config.NATSPort)
	if err != nil {
		return nil, err
	}
	server, err := localnats.Start(folder.in("nats"), port, access.users, logger)
	if err != nil {
		return nil, err
	}
	closers.add("NATS", func(context.Context) error {
		server.Shutdown()
		server.WaitForShutdown()
		return nil
	})
	access.url = server.ClientURL()
	return access, nil
}

// freePort returns a port if it is free, else another. 0 stays 0.
func freePort(port int) (int, error) {
	if port == 0 {
		return 0, nil
	}
	// Only to see whether it is free: nats-server itself waits and says nothing.
	probe, err := listenOrFree("127.0.0.1:" + strconv.Itoa(port))
	if err != nil {
		return 0, err
	}
	_, free, err := net.SplitHostPort(probe.Addr().String())
	if err = errors.Join(err, probe.Close()); err != nil {
		return 0, fmt.Errorf("look for a free port: %w", err)
	}
	if port, err = strconv.Atoi(free); err != nil {
		return 0, fmt.Errorf("look for a free port: %w", err)
	}
	return port, nil
}

// display shows the URLs of NATS without what must not be seen: the user may have given several, with or without
// a scheme.
func display(urls string) string {
	shown := strings.Split(urls, ",")
	for i, raw := range shown {
		raw = strings.TrimSpace(raw)
		if !strings.Contains(raw, "://") {
			raw = "nats://" + raw
		}
		parsed, err := url.Parse(raw)
		if err != nil {
			return "yours"
		}
		if parsed.User != nil {
			parsed.User = url.User(redacted) // a token stands where a user name would
		}
		shown[i] = parsed.String()
	}
	return strings.Join(shown, ",")
}

// redacted stands for credentials.
const redacted = "REDACTED"
