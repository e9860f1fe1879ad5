package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/meetwire/meetwire/pkg/seal"
	"github.com/meetwire/meetwire/pkg/secret"
	operationv1 "github.com/meetwire/meetwire/proto/gen/meetwire/operation/v1"
	subscriptionv1 "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
)

// operationArg is the argument of commands on one operation.
type operationArg struct {
	Operation string `arg:"" help:"Id, or the whole name."`
}

type operationsGet struct{ operationArg }

// Run implements the command.
func (c *operationsGet) Run(s *Session) error {
	name, client, err := s.operationOf(c.Operation)
	if err != nil {
		return err
	}
	answer, err := client.GetOperation(s.ctx, &operationv1.GetOperationRequest{Name: name})
	if err != nil {
		return err
	}
	return s.show(answer, operationColumns())
}

type operationsWait struct{ operationArg }

// errOperationFailed is returned for an operation that has ended without having done everything.
var errOperationFailed = errors.New("the operation has not succeeded")

// Run implements the command.
func (c *operationsWait) Run(s *Session) error {
	name, err := s.name("operations", c.Operation)
	if err != nil {
		return err
	}
	return s.followOperation(name)
}

// How often in a row a stream that broke off is begun again, and how long after.
const (
	maxBreaks = 30
	breakWait = time.Second
)

// followOperation shows the progress of an operation until it has ended, and then the operation. It fails when the
// operation has not succeeded. While Meetwire cannot be reached for a moment, it waits.
func (s *Session) followOperation(name string) error {
	conn, err := s.conn()
	if err != nil {
		return err
	}
	client := operationv1.NewOperationServiceClient(conn)
	shown := s.newProgress()
	for breaks := 1; ; breaks++ {
		ended, heard, err := s.watchOperation(client, name, shown)
		switch {
		case err != nil && (status.Code(err) != codes.Unavailable || s.ctx.Err() != nil):
			return shown.abandon(err)
		case ended != nil:
			return s.operationEnded(ended, shown)
		case heard:
			breaks = 0
		case breaks >= maxBreaks:
			return shown.abandon(err)
		}
		timer := time.NewTimer(breakWait)
		select {
		case <-timer.C:
		case <-s.ctx.Done():
			timer.Stop()
			return shown.abandon(s.ctx.Err())
		}
	}
}

// watchOperation shows what a stream tells. It returns the operation when it has ended, and whether anything was heard.
func (s *Session) watchOperation(client operationv1.OperationServiceClient, name string, shown *progress) (ended *operationv1.Operation, heard bool, err error) {
	ctx, cancel := context.WithCancel(s.ctx)
	defer cancel()
	stream, err := client.WatchOperation(ctx, &operationv1.WatchOperationRequest{Name: name})
	if err != nil {
		return nil, false, err
	}
	for {
		operation, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			// Whoever tells an operation to its end has told that it is done.
			return nil, heard, status.Error(codes.Unavailable, "the stream has ended before the operation")
		}
		if err != nil {
			return nil, heard, err
		}
		heard = true
		if operation.GetDone() {
			return operation, true, nil
		}
		if err := shown.show(operation); err != nil {
			return nil, true, err
		}
	}
}

// operationEnded shows an operation that has ended.
func (s *Session) operationEnded(operation *operationv1.Operation, shown *progress) error {
	if err := shown.end(operation); err != nil {
		return err
	}
	if err := s.show(operation, operationColumns()); err != nil {
		return err
	}
	if operation.GetState() != operationv1.Operation_STATE_SUCCEEDED {
		return errOperationFailed
	}
	return nil
}

type operationsCancel struct{ operationArg }

// Run implements the command.
func (c *operationsCancel) Run(s *Session) error {
	name, client, err := s.operationOf(c.Operation)
	if err != nil {
		return err
	}
	answer, err := client.CancelOperation(s.ctx, &operationv1.CancelOperationRequest{Name: name})
	if err != nil {
		return err
	}
	return s.show(answer, operationColumns())
}

type operationsResume struct{ operationArg }

// Run implements the command.
func (c *operationsResume) Run(s *Session) error {
	name, client, err := s.operationOf(c.Operation)
	if err != nil {
		return err
	}
	answer, err := client.ResumeOperation(s.ctx, &operationv1.ResumeOperationRequest{Name: name})
	if err != nil {
		return err
	}
	return s.show(answer, operationColumns())
}

type keyset struct {
	Rotate    keysetRotate    `cmd:"" help:"Print a keyset with a new primary key and the keys of the one given, to be configured everywhere."`
	Prune     keysetPrune     `cmd:"" help:"Print a keyset with the primary key alone of the one given: for when everything was encrypted anew."`
	Reencrypt keysetReencrypt `cmd:"" help:"Encrypt every secret anew with the primary key, while everything runs."`
}

type keysetRotate struct {
	File string `arg:"" help:"File with the keyset; - reads from standard input."`
}

// Run implements the command.
func (c *keysetRotate) Run(s *Session) error { return s.changeKeyset(c.File, seal.Rotate) }

type keysetPrune struct {
	File string `arg:"" help:"File with the keyset; - reads from standard input."`
}

// Run implements the command.
func (c *keysetPrune) Run(s *Session) error { return s.changeKeyset(c.File, seal.Prune) }

// changeKeyset prints what change makes of the keyset in a file.
func (s *Session) changeKeyset(file string, change func(secret.String) (secret.String, error)) error {
	old, err := s.readSecret(file)
	if err != nil {
		return err
	}
	changed, err := change(old)
	if err != nil {
		return fmt.Errorf("change the keyset: %w", err)
	}
	if _, err := fmt.Fprintln(s.terminal.Out, changed.Reveal()); err != nil {
		return fmt.Errorf("write the keyset: %w", err)
	}
	return nil
}

type keysetReencrypt struct{}

// Run implements the command.
func (*keysetReencrypt) Run(s *Session) error {
	conn, err := s.conn()
	if err != nil {
		return err
	}
	operation, err := subscriptionv1.NewKeysetServiceClient(conn).ReencryptSecrets(s.ctx, &subscriptionv1.ReencryptSecretsRequest{})
	if err != nil {
		return err
	}
	return s.show(operation, operationColumns())
}
