package bench

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/alecthomas/kong"

	"github.com/meetwire/meetwire/pkg/version"
)

// Exit codes.
const (
	exitOK      = 0
	exitFailure = 1
	exitUsage   = 2
)

// usageExit carries the exit code that the parser asks for.
type usageExit int

// Main runs the bench, or one of the helpers that it starts, until it is done or told to stop by SIGINT or
// SIGTERM, and returns the exit code.
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
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// A second signal ends this process at once; what it started notices.
	context.AfterFunc(ctx, stop)

	if len(args) > 0 {
		if helper, ok := helpers()[args[0]]; ok {
			return runHelper(ctx, args[0], helper, args[1:], stdin, stdout, stderr)
		}
	}
	var config Config
	if err := parse(&config, args, stdout, stderr); err != nil {
		report(stderr, err)
		return exitUsage
	}
	err := Run(ctx, config, stdout, stderr)
	if err != nil {
		report(stderr, err)
		return exitFailure
	}
	return exitOK
}

// parse reads a command line.
func parse(config any, args []string, stdout, stderr io.Writer) error {
	parser, err := kong.New(config,
		kong.Name("bench"),
		kong.Description("Measures Meetwire "+version.Version+" beside a bare loop that publishes, consumes, signs, "+
			"POSTs and acknowledges, on this machine and on loopback only."),
		kong.Writers(stdout, stderr),
		kong.Exit(func(code int) { panic(usageExit(code)) }),
	)
	if err != nil {
		return fmt.Errorf("read the command line: %w", err)
	}
	_, err = parser.Parse(args)
	return err
}

func report(stderr io.Writer, err error) {
	_, _ = fmt.Fprintln(stderr, "bench:", err) // there is nowhere else to tell it
}
