package pgtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/meetwire/meetwire/pkg/localpg"
	"github.com/meetwire/meetwire/pkg/pg"
	"github.com/meetwire/meetwire/pkg/secret"
)

// shared is the server of this test binary. The tests of a package have nothing in common but their process, so
// this is the one thing that the process has to hold.
var shared = &sharedServer{}

// sharedServer is started by the first test that needs it.
type sharedServer struct {
	mu        sync.Mutex
	started   bool
	err       error           // why it could not be started; no test tries again
	own       *localpg.Server // nil: another server is used
	address   secret.String
	admin     *pgxpool.Pool
	templates map[string]*template
}

// template is a database that others are cloned from.
type template struct {
	once     sync.Once
	database string
	err      error
}

// start starts the server, or connects to the one that the environment names.
func (s *sharedServer) start(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.started {
		return s.err
	}
	s.started = true
	s.templates = make(map[string]*template)
	s.err = s.open(ctx)
	return s.err
}

func (s *sharedServer) open(ctx context.Context) error {
	if address := os.Getenv(EnvURL); address != "" {
		s.address = secret.New(address)
	} else {
		server, err := startServer(ctx)
		if err != nil {
			return err
		}
		s.own, s.address = server, server.URL()
	}
	if _, err := onDatabase(s.address, "x"); err != nil {
		return fmt.Errorf("read %s: %w", EnvURL, err)
	}
	admin, err := pg.Open(ctx, pg.Config{DatabaseURL: s.address, MaxConns: 8})
	if err != nil {
		return fmt.Errorf("connect to the server for tests: %w", err)
	}
	s.admin = admin
	return nil
}

// clone makes a database like the template of the name.
func (s *sharedServer) clone(ctx context.Context, name string, migrate Migrate) (string, error) {
	if err := checkName(name); err != nil {
		return "", err
	}
	if err := s.start(ctx); err != nil {
		return "", err
	}
	s.mu.Lock()
	t, ok := s.templates[name]
	if !ok {
		t = &template{database: databaseName(name, "_template")}
		s.templates[name] = t
	}
	s.mu.Unlock()
	t.once.Do(func() { t.err = s.makeTemplate(ctx, t.database, migrate) })
	if t.err != nil {
		return "", fmt.Errorf("make the template %s: %w", name, t.err)
	}
	database := databaseName(name, "")
	return database, s.exec(ctx, "CREATE DATABASE "+quote(database)+" TEMPLATE "+quote(t.database))
}

func (s *sharedServer) makeTemplate(ctx context.Context, database string, migrate Migrate) error {
	if err := s.exec(ctx, "CREATE DATABASE "+quote(database)); err != nil {
		return err
	}
	if migrate != nil {
		pool, err := pg.Open(ctx, pg.Config{DatabaseURL: s.url(database)})
		if err != nil {
			return fmt.Errorf("open it: %w", err)
		}
		err = migrate(ctx, pool)
		pool.Close()
		if err != nil {
			return fmt.Errorf("migrate it: %w", err)
		}
	}
	// A database is cloned only while nobody is connected to it, so from now on nobody can.
	return s.exec(ctx, "ALTER DATABASE "+quote(database)+" WITH ALLOW_CONNECTIONS false")
}

// drop removes a database, whoever is still connected to it.
func (s *sharedServer) drop(ctx context.Context, database string) error {
	return s.exec(ctx, "DROP DATABASE IF EXISTS "+quote(database)+" WITH (FORCE)")
}

func (s *sharedServer) exec(ctx context.Context, sql string) error {
	if _, err := s.admin.Exec(ctx, sql); err != nil {
		return fmt.Errorf("run %q: %w", sql, err)
	}
	return nil
}

func (s *sharedServer) url(database string) secret.String {
	u, err := onDatabase(s.address, database)
	if err != nil {
		return secret.String{} // cannot be: it was checked when the server was started
	}
	return u
}

// close drops the templates and stops the server, if it was started.
func (s *sharedServer) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.started {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), cleanupTimeout)
	defer cancel()
	var errs []error
	if s.admin != nil {
		if s.own == nil { // an own server goes as a whole
			for _, t := range s.templates {
				errs = append(errs, s.drop(ctx, t.database))
			}
		}
		s.admin.Close()
	}
	if s.own != nil {
		errs = append(errs, stopServer(ctx, s.own))
	}
	return errors.Join(errs...)
}

func quote(name string) string { return pgx.Identifier{name}.Sanitize() }
