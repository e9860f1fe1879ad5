// Package pgtest owns Postgres for tests: one real server for each test binary, started when the first test asks
// for a database, and a database of its own for each test, cloned from a template that was migrated once. It
// knows no schema: tests bring their migrations. Without Postgres a test fails; it is never skipped.
//
// When MEETWIRE_TEST_DATABASE_URL is set, databases are made on that server, as that user, instead.
package pgtest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/meetwire/meetwire/pkg/pg"
	"github.com/meetwire/meetwire/pkg/secret"
)

// EnvURL names the environment variable with the URL of a server to use instead of an own one.
const EnvURL = "MEETWIRE_TEST_DATABASE_URL"

const (
	// setupTimeout bounds making a database, the server's start and the migrations included.
	setupTimeout = 2 * time.Minute
	// cleanupTimeout bounds closing a pool, and dropping a database.
	cleanupTimeout = 20 * time.Second
	// maxConns is the greatest number of connections of a test's pool.
	maxConns = 16
)

// Migrate makes the schema of a template database.
type Migrate func(ctx context.Context, pool *pgxpool.Pool) error

// Main runs the tests of a package, stops the server if one was started, looks for goroutines that were left,
// and ends the process. It is all that TestMain has to do.
func Main(m *testing.M, options ...goleak.Option) {
	os.Exit(Run(m, options...)) //nolint:forbidigo // it is the main of a test binary
}

// Run is Main for a TestMain that has more to do: it returns the exit code.
func Run(m *testing.M, options ...goleak.Option) int {
	code := m.Run()
	if err := shared.close(); err != nil {
		fmt.Fprintln(os.Stderr, "pgtest: stop the server:", err)
		code = max(code, 1)
	}
	if code == 0 {
		if err := goleak.Find(options...); err != nil {
			fmt.Fprintln(os.Stderr, "goleak: errors on successful test run:", err)
			code = 1
		}
	}
	return code
}

// Database returns a pool on a new database for this test, which is dropped when the test ends. Databases of
// one name are clones of one template, for which migrate ran once; nil leaves it empty. A connection that the
// test does not give back fails it.
func Database(tb testing.TB, name string, migrate func(ctx context.Context, pool *pgxpool.Pool) error) *pgxpool.Pool {
	tb.Helper()
	databaseURL := DatabaseURL(tb, name, migrate)
	pool, err := pg.Open(tb.Context(), pg.Config{DatabaseURL: databaseURL, MaxConns: maxConns})
	require.NoError(tb, err, "open the test's database")
	tb.Cleanup(func() {
		closed := make(chan struct{})
		go func() {
			pool.Close()
			close(closed)
		}()
		timer := time.NewTimer(cleanupTimeout)
		defer timer.Stop()
		select {
		case <-closed:
		case <-timer.C:
			tb.Errorf("the test did not give back %d connections to its database", pool.Stat().AcquiredConns())
		}
	})
	return pool
}

// DatabaseURL is like Database for a test that starts processes or opens pools itself.
func DatabaseURL(tb testing.TB, name string, migrate func(ctx context.Context, pool *pgxpool.Pool) error) secret.String {
	tb.Helper()
	ctx, cancel := context.WithTimeout(tb.Context(), setupTimeout)
	defer cancel()
	database, err := shared.clone(ctx, name, migrate)
	require.NoError(tb, err, "make the test's database")
	tb.Cleanup(func() {
		// The test's own context has ended.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
		defer cancel()
		require.NoError(tb, shared.drop(ctx, database), "drop the test's database")
	})
	return shared.url(database)
}

// URL is the address of the database that a pool is on, for starting processes on the same one.
func URL(pool *pgxpool.Pool) secret.String { return secret.New(pool.Config().ConnString()) }

// databaseName makes a name that nobody else uses, not even another test binary on the same server.
func databaseName(name, suffix string) string {
	return fmt.Sprintf("mw_%s_%s%s", name, strings.ToLower(rand.Text()[:12]), suffix)
}

// checkName keeps names short enough for Postgres to keep them whole.
func checkName(name string) error {
	if !regexp.MustCompile(`^[a-z0-9_]{1,32}$`).MatchString(name) {
		return fmt.Errorf("the name %q of a template must have 1 to 32 characters of a-z, 0-9 and _", name)
	}
	return nil
}

// onDatabase returns the URL of another database of the same server.
func onDatabase(server secret.String, database string) (secret.String, error) {
	u, err := url.Parse(server.Reveal())
	if err != nil || u.Host == "" {
		return secret.String{}, errors.New("the server's address is not a URL") // the cause would show the password
	}
	u.Path = "/" + database
	return secret.New(u.String()), nil
}
