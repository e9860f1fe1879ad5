package cli

import (
	"errors"
	"fmt"
	"time"

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

// waitPeriod is how often it is looked whether an operation has ended.
const waitPeriod = 500 * time.Millisecond

// errOperationFailed is returned for an operation that has ended without having done everything.
var errOperationFailed = errors.New("the operation has not succeeded")

// Run implements the command.
func (c *operationsWait) Run(s *Session) error {
	name, client, err := s.operationOf(c.Operation)
	if err != nil {
		return err
	}
	ticker := time.NewTicker(waitPeriod)
	defer ticker.Stop()
	for {
		answer, err := client.GetOperation(s.ctx, &operationv1.GetOperationRequest{Name: name})
		if err != nil {
			return err
		}
		if answer.GetDone() {
			if err := s.show(answer, operationColumns()); err != nil {
				return err
			}
			if answer.GetState() != operationv1.Operation_STATE_SUCCEEDED {
				return errOperationFailed
			}
			return nil
		}
		select {
		case <-ticker.C:
		case <-s.ctx.Done():
			return s.ctx.Err()
		}
	}
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
