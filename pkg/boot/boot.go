// Package boot owns what every process does around its service: reading its configuration, answering signals,
// opening Postgres, NATS and listeners and closing them last, serving the operators' endpoints, and turning the
// outcome into an exit code. It knows no service, and ends no process itself: that is for main.
package boot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/meetwire/meetwire/pkg/lifecycle"
	"github.com/meetwire/meetwire/pkg/telemetry"
	"github.com/meetwire/meetwire/pkg/version"
)

// Exit codes of Main.
const (
	exitStopped = 0 // it was told to stop, and did in order; or help or the version was asked for
	exitFailed  = 1
	exitUsage   = 2 // the configuration is wrong; nothing was begun
)

// abandonAfter is how long after the grace period the process ends although parts of it still run.
const abandonAfter = 2 * time.Second

// Config is what all processes have in common.
type Config struct {
	telemetry.LogConfig `embed:""`

	OpsAddr       string        `help:"Address of the operators' HTTP endpoints /healthz, /readyz and /metrics, as host:port. They ask for no credential, so the address should be private. Port 0 takes a free one, which the log tells." default:"127.0.0.1:0" env:"MEETWIRE_OPS_ADDR"`
	ShutdownGrace time.Duration `help:"How long a stop may take: what is in flight by then is cut off." default:"10s" env:"MEETWIRE_SHUTDOWN_GRACE"`
	HealthCheck   bool          `help:"Ask the process that serves ops-addr on this machine whether it is ready, and exit with 0 or 1; for containers, which have no other program to ask with."`
}

// Validate reports everything that is wrong.
func (c *Config) Validate() error {
	var all []error
	if _, _, err := net.SplitHostPort(c.OpsAddr); err != nil {
		all = append(all, fmt.Errorf("--ops-addr must be an address like 127.0.0.1:9090, not %q", c.OpsAddr))
	}
	if c.ShutdownGrace <= 0 {
		all = append(all, fmt.Errorf("--shutdown-grace must be longer than 0s, not %s", c.ShutdownGrace))
	}
	return errors.Join(all...)
}

// Service is what a process runs.
type Service interface {
	// Run runs until the context ends, then finishes what is in flight and returns nil. It returns an error
	// when it cannot go on.
	Run(ctx context.Context) error
	// Ready returns nil when the service can do its work, else what is missing, as lifecycle.Ready does.
	Ready(ctx context.Context) error
}

// Main is a whole process. It reads flags and environment variables into config and common, builds the service,
// runs it until SIGINT or SIGTERM, and returns the exit code: 0 after an ordered stop, 1 after a failure, 2 when
// the configuration is wrong. A second signal ends the process at once.
//
// The fields of config are described by the tags of kong; what has a method Validate() error is asked for
// everything that is wrong with it. Common is a part of config that is embedded there, or stands alone.
//
// Messages, the log and the answers to --help and --version go to stderr. The stop is in this order: the service
// is no longer ready; the service, with what is in flight; the operators' endpoints; what the runtime has opened,
// the last first.
func Main[C any](
	name, description string, config *C, common *Config, args []string, stderr io.Writer,
	build func(ctx context.Context, r *Runtime, c *C) (Service, error),
) int {
	// The root of all contexts of the process.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// Signals that nobody waits for any more do what they do by default.
	context.AfterFunc(ctx, stop)
	tuning := newGarbage()
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(maxGarbage)
		tuned := make(chan struct{})
		go func() {
			defer close(tuned)
			tuning.run(ctx)
		}()
		defer func() {
			stop()
			<-tuned
		}()
	}

	program := &program{name: name, description: description, config: config, common: common, stderr: stderr, garbage: tuning}
	program.build = func(ctx context.Context, r *Runtime) (Service, error) { return build(ctx, r, config) }
	return program.run(ctx, args)
}

// program is Main without signals and type parameters.
type program struct {
	name, description string
	config            any // pointer to a struct
	common            *Config
	stderr            io.Writer
	garbage           *garbage
	build             func(context.Context, *Runtime) (Service, error)
}

// run runs the program until the context ends or something fails, and returns the exit code.
func (p *program) run(ctx context.Context, args []string) int {
	answered, err := p.parse(args)
	if err != nil {
		// Nothing can be done when even stderr is gone.
		_, _ = fmt.Fprintf(p.stderr, "%s: %v\nSee %s --help.\n", p.name, err, p.name)
		return exitUsage
	}
	if answered {
		return exitStopped
	}
	if p.common.HealthCheck {
		if err := askReady(ctx, p.common.OpsAddr); err != nil {
			_, _ = fmt.Fprintf(p.stderr, "%s: %v\n", p.name, err)
			return exitFailed
		}
		return exitStopped
	}
	logger, err := telemetry.NewLogger(p.stderr, p.common.LogConfig)
	if err != nil {
		_, _ = fmt.Fprintf(p.stderr, "%s: %v\n", p.name, err)
		return exitUsage
	}
	logger = logger.With("service", p.name)
	logger.InfoContext(ctx, "starting", "version", version.Version)
	if err := p.serve(ctx, logger); err != nil {
		logger.ErrorContext(ctx, "failed", "error", err)
		return exitFailed
	}
	logger.InfoContext(ctx, "stopped")
	return exitStopped
}

// serve runs the service and everything around it.
func (p *program) serve(ctx context.Context, logger *slog.Logger) error {
	runtime := newRuntime(p.name, logger, p.garbage)
	ops, err := runtime.Listen(ctx, p.common.OpsAddr)
	if err != nil {
		return fmt.Errorf("serve the operators' endpoints (MEETWIRE_OPS_ADDR): %w", err)
	}
	group := lifecycle.NewGroup(logger, p.common.ShutdownGrace)
	group.Add("resources", runtime.run)
	group.Add("ops", func(ctx context.Context) error { return serveOps(ctx, ops, runtime) })
	group.Add("service", func(ctx context.Context) error {
		// This part is stopped first: when it is told to end, or ends, nothing more should be sent to this
		// process.
		defer runtime.stop()
		defer context.AfterFunc(ctx, runtime.stop)()
		service, err := p.build(ctx, runtime)
		if err != nil {
			return fmt.Errorf("start: %w", err)
		}
		runtime.started(service)
		return service.Run(ctx)
	})

	result := make(chan error, 1)
	go func() { result <- group.Run(ctx) }()
	<-runtime.stopping
	cause := "a part of the process ended"
	if ctx.Err() != nil {
		cause = context.Cause(ctx).Error()
	}
	logger.InfoContext(ctx, "stopping", "cause", cause, "grace", p.common.ShutdownGrace)
	abandon := time.NewTimer(p.common.ShutdownGrace + abandonAfter)
	defer abandon.Stop()
	select {
	case err = <-result:
		return err
	case <-abandon.C:
		// The group waits for all its parts, the process does not: whoever started it would kill it soon.
		return fmt.Errorf("%w: parts of the process still run %s later", lifecycle.ErrGraceExceeded, abandonAfter)
	}
}
