package bench

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"regexp"

	"github.com/meetwire/meetwire/pkg/localpg"
	"github.com/meetwire/meetwire/pkg/pg"
	"github.com/meetwire/meetwire/pkg/secret"
)

// postgres is a private server, as `meetwire up` has one: what is committed survives a crash of the machine.
type postgres struct {
	server  *localpg.Server
	version string
	execute func(ctx context.Context, sql string) error
	close   func()
}

func startPostgres(ctx context.Context, folder string) (*postgres, error) {
	server, err := localpg.Start(ctx, localpg.Options{Dir: folder, Download: true, Durable: true})
	if err != nil {
		return nil, fmt.Errorf("start a private Postgres: %w", err)
	}
	p := &postgres{server: server, close: func() {}}
	pool, err := pg.Open(ctx, pg.Config{DatabaseURL: server.URL(), MaxConns: 1})
	if err != nil {
		return nil, errors.Join(err, p.stop(ctx))
	}
	p.close = pool.Close
	p.execute = func(ctx context.Context, sql string) error {
		_, err := pool.Exec(ctx, sql)
		return err
	}
	if err := pool.QueryRow(ctx, "SHOW server_version").Scan(&p.version); err != nil {
		return nil, errors.Join(fmt.Errorf("ask Postgres for its version: %w", err), p.stop(ctx))
	}
	return p, nil
}

// stop stops the server, also when the context has ended.
func (p *postgres) stop(ctx context.Context) error {
	p.close()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
	defer cancel()
	return p.server.Stop(ctx)
}

var databaseName = regexp.MustCompile(`^[a-z][a-z0-9_]*$`)

// create makes an empty database and returns its URL.
func (p *postgres) create(ctx context.Context, name string) (secret.String, error) {
	if !databaseName.MatchString(name) {
		return secret.String{}, fmt.Errorf("create a database: %q is no name for one", name)
	}
	if err := p.execute(ctx, "CREATE DATABASE "+name); err != nil {
		return secret.String{}, fmt.Errorf("create a database: %w", err)
	}
	address, err := url.Parse(p.server.URL().Reveal())
	if err != nil {
		return secret.String{}, errors.New("the address of Postgres cannot be read") // the cause may show the password
	}
	address.Path = "/" + name
	return secret.New(address.String()), nil
}

// drop removes a database, and writes what is in memory to disk so that this is not done while the next line is
// measured.
func (p *postgres) drop(ctx context.Context, name string) error {
	if err := p.execute(ctx, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)"); err != nil {
		return fmt.Errorf("drop a database: %w", err)
	}
	if err := p.execute(ctx, "CHECKPOINT"); err != nil {
		return fmt.Errorf("write a checkpoint: %w", err)
	}
	return nil
}
