// Package meetwire is the one binary: `meetwire up` runs the four services in one process. What it exports is
// how to run it.
package meetwire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/meetwire/meetwire/pkg/version"
	"github.com/meetwire/meetwire/services/meetwire/internal/envfile"
	"github.com/meetwire/meetwire/services/meetwire/internal/up"
)

// commands is the command line.
type commands struct {
	Up      up.Config        `cmd:"" help:"Run everything in this process: NATS, Postgres and the four services, on loopback only."`
	Env     envfile.Command  `cmd:"" help:"Make the secrets of a new installation and print them as NAME=value lines."`
	Version kong.VersionFlag `help:"Print the version."`
}

// Exit codes.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
)

// usageExit carries the exit code that the parser asks for.
type usageExit int

// Main runs a command until it is done, or until SIGINT or SIGTERM, and returns the exit code.
func Main(args []string, stdout, stderr io.Writer) (code int) {
	defer func() {
		switch r := recover().(type) {
		case nil:
		case usageExit:
			code = int(r)
		default:
			panic(r)
		}
	}()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	// A second signal does what signals do by default.
	context.AfterFunc(ctx, stop)

	var cli commands
	parser, err := kong.New(&cli,
		kong.Name("meetwire"),
		kong.Description("Webhooks for platforms where people meet."),
		kong.Vars{"version": "meetwire " + version.Version},
		kong.Writers(stdout, stderr),
		kong.Exit(func(code int) { panic(usageExit(code)) }),
	)
	if err != nil {
		report(stderr, err)
		return exitFailure
	}
	command, err := parser.Parse(args)
	if err != nil {
		report(stderr, err)
		return exitUsage
	}
	switch command.Command() {
	case "up":
		err = up.Run(ctx, cli.Up, stdout, stderr)
	case "env":
		err = cli.Env.Run(stdout)
	}
	if err != nil && !errors.Is(err, context.Canceled) {
		report(stderr, err)
		return exitFailure
	}
	return exitOK
}

func report(stderr io.Writer, err error) {
	fmt.Fprintln(stderr, "meetwire:", err) //nolint:errcheck // there is nowhere else to tell it
}
