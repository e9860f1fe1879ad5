//go:build unix

package localpg

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/meetwire/meetwire/pkg/secret"
)

// startAttempts is how many free ports are tried: somebody may take one between its choice and its use.
const startAttempts = 5

// readyEvery is how often a starting server is asked whether it is ready.
const readyEvery = 10 * time.Millisecond

// Server is a running Postgres server. Its methods may be called from several goroutines.
type Server struct {
	options  Options
	folder   *folder
	password secret.String
	process  *process
	log      *tail

	mu      sync.Mutex
	stopped bool
	stopErr error
}

// Start starts a server and returns when it takes connections, which after a crash includes its recovery. When
// the context ends before that, everything is stopped again. Errors: ErrNotFound, ErrRunning, ErrPortTaken,
// ErrNotOurs, the context's, and what Postgres says.
func Start(ctx context.Context, options Options) (_ *Server, err error) {
	if options.MaxConnections == 0 {
		options.MaxConnections = DefaultMaxConnections
	}
	f, err := openFolder(options.Dir)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.close())
		}
	}()
	options.Dir = f.root

	run, err := serverAccount(f.data())
	if err != nil {
		return nil, err
	}
	programs, err := locate(ctx, f, options)
	if err != nil {
		return nil, err
	}
	if err := run.own(f.root, f.lock.Name()); err != nil {
		return nil, err
	}
	if err := run.reach(ctx, programs, f.root); err != nil {
		return nil, err
	}
	if err := endServersOf(ctx, f.data()); err != nil {
		return nil, err
	}
	password, err := f.initialize(ctx, run, programs, options.Durable)
	if err != nil {
		return nil, err
	}

	for attempt := 1; ; attempt++ {
		s := &Server{options: options, folder: f, password: password, log: &tail{next: options.Log}}
		if err := s.choosePort(); err != nil {
			return nil, err
		}
		err := s.run(ctx, run, programs)
		if err == nil {
			return s, nil
		}
		lostPort := options.Port == 0 && ctx.Err() == nil && checkPort(s.options.Port) != nil
		if !lostPort || attempt == startAttempts {
			return nil, err
		}
	}
}

// locate finds the programs that fit the data, or fetches them when that is allowed.
func locate(ctx context.Context, f *folder, options Options) (programs, error) {
	major, err := f.major()
	if err != nil {
		return programs{}, err
	}
	if options.BinDir != "" {
		p, err := inspect(ctx, options.BinDir)
		if err == nil && major != 0 && p.major != major {
			err = fmt.Errorf("the data in %s was made with Postgres %d, the programs in %s are of version %d", f.root, major, p.dir, p.major)
		}
		return p, err
	}
	p, err := find(ctx, major)
	if !errors.Is(err, ErrNotFound) || !options.Download {
		return p, err
	}
	cache := options.CacheDir
	if cache == "" {
		if cache, err = cacheDir(); err != nil {
			return programs{}, err
		}
	}
	return fetcher{cache: cache, repository: repository}.fetch(ctx, major)
}

// choosePort settles the port, and says early and clearly when it is taken.
func (s *Server) choosePort() error {
	if s.options.Port != 0 {
		return checkPort(s.options.Port)
	}
	port, err := freePort()
	s.options.Port = port
	return err
}

// run starts the server's process and waits until it takes connections. After an error nothing runs.
func (s *Server) run(ctx context.Context, run *account, p programs) error {
	// The process outlives the context of its start.
	cmd := run.command(context.WithoutCancel(ctx), s.folder.root, p.postgres(), s.arguments()...)
	dieWithParent(cmd.SysProcAttr)
	cmd.Stdout, cmd.Stderr = s.log, s.log
	// A number that an earlier server left in its folder may be another process's by now, which would keep
	// Postgres from starting; that it is no server was seen before. Postgres passes over the one named here.
	pid, err := recordedPID(s.folder.data())
	if err != nil {
		return err
	}
	if pid != 0 {
		cmd.Env = append(cmd.Env, "PG_GRANDPARENT_PID="+strconv.Itoa(pid))
	}
	if s.process, err = launch(cmd); err != nil {
		return err
	}
	if err := s.waitReady(ctx); err != nil {
		return errors.Join(err, s.process.stop(context.WithoutCancel(ctx)), endServersOf(context.WithoutCancel(ctx), s.folder.data()))
	}
	return nil
}

// arguments are the settings that this package decides; postgresql.conf in the data folder has the others.
func (s *Server) arguments() []string {
	settings := []string{
		"listen_addresses=127.0.0.1",
		"port=" + strconv.Itoa(s.options.Port),
		"unix_socket_directories=", // a path may be too long for one, and nothing needs it
		"max_connections=" + strconv.Itoa(s.options.MaxConnections),
		"timezone=UTC",
		"log_timezone=UTC",
		"logging_collector=off",
		"log_destination=stderr",
	}
	if !s.options.Durable {
		// A commit still reaches the system, so only a crash of that loses it.
		settings = append(settings,
			"fsync=off",
			"wal_level=minimal", "max_wal_senders=0", "max_wal_size=4GB", "checkpoint_timeout=1h",
			"shared_buffers=64MB", "autovacuum=off", "jit=off",
		)
	}
	args := []string{"-D", s.folder.data()}
	for _, setting := range settings {
		args = append(args, "-c", setting)
	}
	return args
}

// waitReady returns when the server takes connections, or has ended, or the context has.
func (s *Server) waitReady(ctx context.Context) error {
	config, err := pgx.ParseConfig(s.URL().Reveal())
	if err != nil {
		return errors.New("the address of the server cannot be read") // the cause may show the password
	}
	config.ConnectTimeout = 5 * time.Second
	ticker := time.NewTicker(readyEvery)
	defer ticker.Stop()
	var last error
	for {
		conn, err := pgx.ConnectConfig(ctx, config)
		if err == nil {
			if err := conn.Close(ctx); err != nil {
				return fmt.Errorf("close a connection to the server: %w", err)
			}
			return nil
		}
		last = err
		select {
		case <-s.process.done:
			return fmt.Errorf("the server ended while it started: %w: %s", s.ended(), s.log)
		case <-ctx.Done():
			return fmt.Errorf("wait for the server in %s: %w (%w): %s", s.folder.root, ctx.Err(), last, s.log)
		case <-ticker.C:
		}
	}
}

// URL is the address of the database "postgres" for its superuser, password included.
func (s *Server) URL() secret.String {
	u := url.URL{
		Scheme:   "postgres",
		User:     url.UserPassword(superuser, s.password.Reveal()),
		Host:     "127.0.0.1:" + strconv.Itoa(s.options.Port),
		Path:     "/" + superuser,
		RawQuery: "sslmode=disable",
	}
	return secret.New(u.String())
}

// Port is the port of 127.0.0.1 that the server listens on.
func (s *Server) Port() int { return s.options.Port }

// Options are the options that the server was started with, with the port and the folder that it has: Start
// with them, after Stop, starts the same server again.
func (s *Server) Options() Options { return s.options }

// PID is the process id of the server.
func (s *Server) PID() int { return s.process.cmd.Process.Pid }

// Done is closed when the server has ended, by Stop or by itself.
func (s *Server) Done() <-chan struct{} { return s.process.done }

// Err says how a server ended that nobody stopped, with the end of its log; nil while it runs and after Stop.
func (s *Server) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.process.done:
	default:
		return nil
	}
	if s.stopped {
		return nil
	}
	return fmt.Errorf("the Postgres server in %s ended by itself: %w: %s", s.folder.root, s.ended(), s.log)
}

// ended is how the process ended, which is never nil: without being asked even a success is a failure.
func (s *Server) ended() error {
	if s.process.err != nil {
		return s.process.err
	}
	return errors.New("exit status 0")
}

// Stop cuts clients off and stops the server in order; when that takes longer than 15 s, or when the context
// ends, by force, from which it recovers at the next start. It returns when no process is left, with an error
// when force was needed. Further calls return the same.
func (s *Server) Stop(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopped {
		return s.stopErr
	}
	s.stopped = true
	// Sessions outlive a server that was killed.
	s.stopErr = errors.Join(
		s.process.stop(ctx),
		endServersOf(context.WithoutCancel(ctx), s.folder.data()),
		s.folder.close(),
	)
	if s.stopErr != nil {
		s.stopErr = fmt.Errorf("stop the Postgres server: %w", s.stopErr)
	}
	return s.stopErr
}
