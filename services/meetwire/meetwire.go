// Package meetwire is the one binary: `meetwire up` runs the four services in one process, and its other commands look
// after an installation. What it exports is how to run it.
package meetwire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"
	"golang.org/x/term"

	"github.com/meetwire/meetwire/pkg/version"
	"github.com/meetwire/meetwire/services/meetwire/internal/cli"
	"github.com/meetwire/meetwire/services/meetwire/internal/completion"
	"github.com/meetwire/meetwire/services/meetwire/internal/envfile"
	"github.com/meetwire/meetwire/services/meetwire/internal/natsconfig"
	"github.com/meetwire/meetwire/services/meetwire/internal/up"
)

// commands is the command line.
type commands struct {
	Up         up.Config          `cmd:"" help:"Run everything in this process: NATS, Postgres and the four services, on loopback only."`
	Env        envfile.Command    `cmd:"" help:"Make the secrets of a new installation and print them as NAME=value lines."`
	NatsConfig natsconfig.Command `cmd:"" help:"Print the configuration of a nats-server with the users that Meetwire and its publishers need."`
	Completion completion.Command `cmd:"" help:"Print a script that lets a shell complete commands."`
	Version    kong.VersionFlag   `help:"Print the version."`

	cli.Commands   `embed:""`
	cli.Connection `embed:"" group:"connection"`
}

// Exit codes.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
)

// connectionGroup are the flags that only the commands have that look after an installation.
const connectionGroup = "connection"

// usageExit carries the exit code that the parser asks for.
type usageExit int

// Main runs a command until it is done, or until SIGINT or SIGTERM, and returns the exit code. Somebody is asked
// questions only where stdin is a terminal.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) (code int) {
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

	var all commands
	parser, err := newParser(&all, stdout, stderr)
	if err != nil {
		report(stderr, err)
		return exitFailure
	}
	if len(args) > 1 && args[0] == completion.Word {
		if err := completion.Answer(parser.Model, args[1], args[2:], stdout); err != nil {
			report(stderr, err)
			return exitFailure
		}
		return exitOK
	}
	command, err := parser.Parse(args)
	if err == nil {
		err = misplaced(command)
	}
	if err != nil {
		report(stderr, err)
		return exitUsage
	}
	switch err := all.run(ctx, command, stdin, stdout, stderr); {
	case err == nil, errors.Is(err, context.Canceled) && command.Command() == "up":
		return exitOK
	case errors.Is(err, cli.ErrUsage):
		report(stderr, err)
		return exitUsage
	default:
		report(stderr, err)
		return exitFailure
	}
}

func newParser(all *commands, stdout, stderr io.Writer) (*kong.Kong, error) {
	parser, err := kong.New(all,
		kong.Name("meetwire"),
		kong.Description("Webhooks for platforms where people meet."),
		kong.Vars{"version": "meetwire " + version.Version},
		kong.Writers(stdout, stderr),
		kong.ExplicitGroups([]kong.Group{{Key: connectionGroup, Title: "Flags of the commands that look after an installation:"}}),
		kong.ConfigureHelp(kong.HelpOptions{NoExpandSubcommands: true}),
		kong.Help(func(options kong.HelpOptions, command *kong.Context) error {
			if isLocal(command.Selected()) {
				for _, flag := range connectionFlags(command) {
					flag.Hidden = true
				}
			}
			return kong.DefaultHelpPrinter(options, command)
		}),
		kong.Exit(func(code int) { panic(usageExit(code)) }),
	)
	if err != nil {
		return nil, fmt.Errorf("describe the command line: %w", err)
	}
	return parser, nil
}

// isLocal says whether a command talks to no installation.
func isLocal(command *kong.Node) bool {
	return command != nil && (command.Name == "up" || command.Name == "env" || command.Name == "nats-config" || command.Name == "completion")
}

func connectionFlags(command *kong.Context) []*kong.Flag {
	var all []*kong.Flag
	for _, flag := range command.Model.Flags {
		if flag.Group != nil && flag.Group.Key == connectionGroup {
			all = append(all, flag)
		}
	}
	return all
}

// misplaced refuses flags that would do nothing.
func misplaced(command *kong.Context) error {
	if !isLocal(command.Selected()) {
		return nil
	}
	for _, part := range command.Path {
		if part.Flag != nil && part.Flag.Group != nil && part.Flag.Group.Key == connectionGroup {
			return fmt.Errorf("unknown flag --%s for %s", part.Flag.Name, command.Command())
		}
	}
	return nil
}

func (c *commands) run(ctx context.Context, command *kong.Context, stdin io.Reader, stdout, stderr io.Writer) error {
	switch command.Selected().Name {
	case "up":
		return up.Run(ctx, c.Up, stdout, stderr)
	case "env":
		return c.Env.Run(stdout)
	case "nats-config":
		return c.NatsConfig.Run(stdout)
	case "completion":
		return c.Completion.Write(stdout)
	default:
		file, isFile := stdin.(*os.File)
		return command.Run(cli.NewSession(ctx, c.Connection, cli.Terminal{
			In: stdin, Out: stdout, Err: stderr,
			Interactive: isFile && term.IsTerminal(int(file.Fd())),
		}))
	}
}

func report(stderr io.Writer, err error) {
	fmt.Fprintln(stderr, "meetwire:", cli.Explain(err)) //nolint:errcheck // there is nowhere else to tell it
}
