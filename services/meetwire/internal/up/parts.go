package up

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/meetwire/meetwire/pkg/localpg"
	"github.com/meetwire/meetwire/pkg/rpc"
	"github.com/meetwire/meetwire/pkg/seal"
	"github.com/meetwire/meetwire/pkg/secret"
)

// registryFor labels the metrics of one service: in one process they share a registry.
func registryFor(registry *prometheus.Registry, service string) prometheus.Registerer {
	return prometheus.WrapRegistererWith(prometheus.Labels{"service": service}, registry)
}

// closers are closed in the reverse order of being added.
type closers struct {
	all []closer
}

type closer struct {
	name  string
	close func(context.Context) error
}

func (c *closers) add(name string, close func(context.Context) error) {
	c.all = append(c.all, closer{name, close})
}

// closeTime bounds closing everything.
const closeTime = 4 * time.Second

func (c *closers) close(ctx context.Context, logger *slog.Logger) error {
	ctx, cancel := context.WithTimeout(ctx, closeTime)
	defer cancel()
	var failures []error
	for i := len(c.all) - 1; i >= 0; i-- {
		logger.Debug("closing", "what", c.all[i].name)
		if err := c.all[i].close(ctx); err != nil {
			failures = append(failures, fmt.Errorf("close %s: %w", c.all[i].name, err))
		}
	}
	return errors.Join(failures...)
}

// folder is the data folder of one `meetwire up` at a time.
type folder struct {
	path string
	lock *os.File
}

// errInUse is returned for a folder that another process has.
var errInUse = errors.New("another meetwire up is using this data folder")

func openFolder(path string) (*folder, error) {
	// Others may pass through, since Postgres may run as another user, but not look.
	if err := os.MkdirAll(path, 0o711); err != nil { //nolint:gosec // G301: see above
		return nil, fmt.Errorf("make the data folder: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(path, "lock"), os.O_CREATE|os.O_RDWR, 0o600) //nolint:gosec // G304: the folder that the user chose
	if err != nil {
		return nil, fmt.Errorf("open the lock of the data folder: %w", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("%w: %s", errInUse, path), lock.Close())
	}
	return &folder{path: path, lock: lock}, nil
}

func (f *folder) in(name string) string { return filepath.Join(f.path, name) }

func (f *folder) unlock() error { return f.lock.Close() }

// credentials are what the services know each other and the operator by.
type credentials struct {
	serviceToken, operatorKey, keyset secret.String
}

func makeCredentials(config Config, folder *folder) (credentials, error) {
	c := credentials{operatorKey: config.OperatorKey}
	random := make([]byte, 32)
	if _, err := rand.Read(random); err != nil {
		return c, fmt.Errorf("make the service token: %w", err)
	}
	c.serviceToken = secret.New(base64.RawURLEncoding.EncodeToString(random))
	var err error
	if c.operatorKey.IsZero() {
		if _, c.operatorKey, _, err = rpc.NewKey(); err != nil {
			return c, fmt.Errorf("make the operator's key: %w", err)
		}
	}
	c.keyset, err = loadKeyset(folder.in("keyset"))
	return c, err
}

// loadKeyset reads the keyset that webhook secrets are encrypted with, or makes it at the first start.
func loadKeyset(path string) (secret.String, error) {
	content, err := os.ReadFile(path) //nolint:gosec // G304: in our own data folder
	if err == nil {
		return secret.New(string(content)), nil
	}
	if !errors.Is(err, os.ErrNotExist) {
		return secret.String{}, fmt.Errorf("read the keyset: %w", err)
	}
	keyset, err := seal.GenerateKeyset()
	if err != nil {
		return secret.String{}, fmt.Errorf("make a keyset: %w", err)
	}
	// Through another name, so that a crash leaves no half a keyset.
	if err := os.WriteFile(path+".new", []byte(keyset.Reveal()), 0o600); err != nil {
		return secret.String{}, fmt.Errorf("write the keyset: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return secret.String{}, fmt.Errorf("keep the keyset: %w", err)
	}
	return keyset, nil
}

// openPostgres starts a private Postgres, unless the configuration names one.
func openPostgres(ctx context.Context, config Config, folder *folder, logger *slog.Logger, closers *closers) (url secret.String, where string, err error) {
	if !config.DatabaseURL.IsZero() {
		return config.DatabaseURL, "yours", nil
	}
	log, err := os.OpenFile(folder.in("postgres.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return secret.String{}, "", fmt.Errorf("open the log of Postgres: %w", err)
	}
	closers.add("log of Postgres", func(context.Context) error { return log.Close() })
	server, err := localpg.Start(ctx, localpg.Options{
		Dir: folder.in("postgres"), Download: true, CacheDir: folder.in("cache"), Durable: true, Log: io.Writer(log),
	})
	if err != nil {
		return secret.String{}, "", fmt.Errorf("start a private Postgres: %w", err)
	}
	closers.add("Postgres", server.Stop)
	logger.Debug("postgres started", "port", server.Port())
	return server.URL(), "127.0.0.1:" + strconv.Itoa(server.Port()) + " (private)", nil
}

// listenOrFree listens on an address, or when its port is taken on a free one.
func listenOrFree(address string) (net.Listener, error) {
	listener, err := net.Listen("tcp", address) //nolint:noctx // listening on loopback does not wait
	if errors.Is(err, syscall.EADDRINUSE) {
		host, _, splitErr := net.SplitHostPort(address)
		if splitErr != nil {
			return nil, fmt.Errorf("listen on %s: %w", address, splitErr)
		}
		listener, err = net.Listen("tcp", net.JoinHostPort(host, "0")) //nolint:noctx // listening on loopback does not wait
	}
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", address, err)
	}
	return listener, nil
}
