// Package pg owns the way to Postgres: the pool and its settings, transactions that are repeated when the
// database asks for it, the running of migrations, and the one place that decides what an error of Postgres
// means to a caller. It has no SQL of any service and knows no table.
package pg

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/exaring/otelpgx"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/meetwire/meetwire/pkg/secret"
)

// Config says which database to use.
type Config struct {
	DatabaseURL secret.String `name:"database-url" help:"URL of the Postgres database: postgres://user:password@host:port/database." env:"MEETWIRE_DATABASE_URL"`
	MaxConns    int32         `name:"database-max-conns" help:"Greatest number of connections to Postgres." default:"10" env:"MEETWIRE_DATABASE_MAX_CONNS"`
}

// DefaultMaxConns is the greatest number of connections of a pool unless told otherwise.
const DefaultMaxConns = 10

// Validate says everything that is wrong with the configuration, and shows nothing of the URL.
func (c Config) Validate() error {
	var errs []error
	if c.DatabaseURL.IsZero() {
		errs = append(errs, errors.New("--database-url is required"))
	} else if _, err := pgxpool.ParseConfig(c.DatabaseURL.Reveal()); err != nil {
		// The cause quotes what it could not read, which may be the password.
		errs = append(errs, errors.New("--database-url cannot be read: it should be like postgres://user:password@host:port/database, with special characters percent-encoded"))
	}
	if c.MaxConns < 0 {
		errs = append(errs, fmt.Errorf("--database-max-conns is %d; it must be at least 1", c.MaxConns))
	}
	return errors.Join(errs...)
}

// Timing of connections.
const (
	connectTimeout  = 5 * time.Second
	pingTimeout     = 5 * time.Second  // of a connection that was idle, before it is used again
	connLifetime    = 30 * time.Minute // so that load spreads again after a failover
	connLifeJitter  = 5 * time.Minute
	connIdle        = 5 * time.Minute
	connHealthCheck = 30 * time.Second
)

// Open opens a pool and checks that the database answers, within 5 s for each of its addresses. It tries once:
// an error of a database that is away is a fault.Unavailable and worth repeating; a fault.InvalidArgument is
// not. Neither shows the URL or the password. Times come out of the pool in UTC.
func Open(ctx context.Context, config Config) (*pgxpool.Pool, error) {
	db, err := OpenLater(ctx, config)
	if err != nil {
		return nil, err
	}
	if err := db.Ping(ctx); err != nil {
		db.Close()
		return nil, Fault(fmt.Errorf("reach the database: %w", err))
	}
	return db, nil
}

// OpenLater is like Open for who can do without the database for a while: connections are made when they are needed.
func OpenLater(ctx context.Context, config Config) (*pgxpool.Pool, error) {
	if err := config.Validate(); err != nil {
		return nil, invalidConfig(err)
	}
	pool, err := pgxpool.ParseConfig(config.DatabaseURL.Reveal())
	if err != nil {
		return nil, invalidConfig(errors.New("the database URL cannot be read"))
	}
	pool.MaxConns = config.MaxConns
	if pool.MaxConns == 0 {
		pool.MaxConns = DefaultMaxConns
	}
	pool.MaxConnLifetime = connLifetime
	pool.MaxConnLifetimeJitter = connLifeJitter
	pool.MaxConnIdleTime = connIdle
	pool.HealthCheckPeriod = connHealthCheck
	pool.PingTimeout = pingTimeout
	pool.AfterConnect = func(_ context.Context, conn *pgx.Conn) error {
		registerTypes(conn.TypeMap())
		return nil
	}
	pool.ConnConfig.ConnectTimeout = connectTimeout
	pool.ConnConfig.Tracer = otelpgx.NewTracer()
	if _, ok := pool.ConnConfig.RuntimeParams["application_name"]; !ok {
		pool.ConnConfig.RuntimeParams["application_name"] = "meetwire"
	}
	pool.ConnConfig.RuntimeParams["timezone"] = "UTC"
	// A host that vanishes without a word is noticed after half a minute instead of hours.
	dialer := &net.Dialer{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 15 * time.Second, Interval: 5 * time.Second, Count: 3}}
	pool.ConnConfig.DialFunc = dialer.DialContext

	db, err := pgxpool.NewWithConfig(ctx, pool)
	if err != nil {
		return nil, Fault(fmt.Errorf("open the database: %w", err))
	}
	return db, nil
}
