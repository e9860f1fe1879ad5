package bench

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/meetwire/meetwire/services/meetwire/internal/localnats"
)

// Names of the helpers: this program, started with one of them as its first argument.
const (
	helperNATS     = "nats-server"
	helperLoop     = "bare-loop"
	helperReceiver = "receiver"
	helperWatcher  = "watcher"
)

// envSecret hands the signing secret to helpers: others can see a process's arguments.
const envSecret = "MEETWIRE_BENCH_SECRET" //nolint:gosec // G101: a name, not a secret

// helper is a program within this one. It calls ready, with the address that it serves on if it has one, and
// then runs until its context ends.
type helper func(ctx context.Context, args []string, ready func(address string) error) error

func helpers() map[string]helper {
	return map[string]helper{helperNATS: runNATS, helperLoop: runLoop, helperReceiver: runReceiver, helperWatcher: runWatcher}
}

// runHelper runs a helper until it is told to stop, or until whoever started it is gone and its input with it.
func runHelper(ctx context.Context, name string, run helper, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		defer cancel()
		_, _ = io.Copy(io.Discard, stdin) // its end is all that matters
	}()
	err := run(ctx, args, func(address string) error {
		_, err := fmt.Fprintln(stdout, address)
		return err
	})
	if err != nil && ctx.Err() == nil {
		report(stderr, fmt.Errorf("%s: %w", name, err))
		return exitFailure
	}
	return exitOK
}

// runNATS is a nats-server with JetStream on disk, as `meetwire up` embeds it.
func runNATS(ctx context.Context, args []string, ready func(string) error) error {
	var config struct {
		Folder string `required:"" type:"path"`
	}
	if err := parse(&config, args, os.Stdout, os.Stderr); err != nil {
		return err
	}
	logger := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	server, err := localnats.Start(config.Folder, 0, nil, logger)
	if err != nil {
		return err
	}
	defer func() {
		server.Shutdown()
		server.WaitForShutdown()
	}()
	if err := ready(server.ClientURL()); err != nil {
		return err
	}
	<-ctx.Done()
	return nil
}

// littleGarbage is GOGC of the nats-server, as docker-compose.yml has it, and of the receiver.
const littleGarbage = "GOGC=400"

// startNATS starts the nats-server of one measurement and returns its URL.
func startNATS(ctx context.Context, e *environment, folder string, f *fleet) (*process, string, error) {
	p, err := f.start("nats-server", e.self, []string{helperNATS, "--folder", filepath.Join(folder, "nats")}, []string{littleGarbage})
	if err != nil {
		return nil, "", err
	}
	url, err := p.firstLine(ctx)
	return p, url, err
}
