package operation

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/pg"
)

// requestRetention is for how long a request id is remembered, in hours.
const requestRetention = 24

// Begin stores a new operation, which is worked on from then on, and returns it with its times, and its id when it had
// none. The same request id of the same organization within 24 hours begins nothing new and returns what was begun; a
// fault.InvalidArgument when another request (type, target, parameters or Request, dry run, rate) has used it. An empty
// request id is none.
func (s *PgStore) Begin(ctx context.Context, o Operation, requestID string) (Operation, error) {
	if o.ID == "" {
		o.ID = uuid.NewString()
	}
	if len(o.Parameters) == 0 {
		o.Parameters = json.RawMessage("{}")
	}
	sum, err := requestSum(o)
	if err != nil {
		return Operation{}, err
	}
	var begun Operation
	err = pg.InTx(ctx, s.pool, pgx.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
		var inTx error
		begun, inTx = s.begin(ctx, tx, o, requestID, sum)
		return inTx
	})
	return begun, err
}

func (s *PgStore) begin(ctx context.Context, tx pgx.Tx, o Operation, requestID string, sum []byte) (Operation, error) {
	now := s.stored()
	var request *string
	if requestID != "" {
		request = &requestID
		_, err := tx.Exec(ctx, s.sql(`UPDATE SCHEMA.operation SET request_id = NULL
			WHERE organization = $1 AND request_id = $2 AND create_time < $3`),
			o.Organization, requestID, now.Add(-requestRetention*time.Hour))
		if err != nil {
			return Operation{}, pg.Fault(fmt.Errorf("forget a request id: %w", err))
		}
	}
	tag, err := tx.Exec(ctx, s.sql(`INSERT INTO SCHEMA.operation (id, organization, type, target, state, parameters,
			progress, dry_run, rate, total_count, lease_time, request_id, request_sum, create_time, update_time)
		VALUES ($1, $2, $3, $4, 'running', $5, '{}', $6, $7, $8, $9, $10, $11, $9, $9)
		ON CONFLICT (organization, request_id) WHERE request_id IS NOT NULL DO NOTHING`),
		o.ID, o.Organization, o.Type, o.Target, []byte(o.Parameters), o.DryRun, o.Rate, o.Total, now, request, sum)
	if err != nil {
		return Operation{}, pg.Fault(fmt.Errorf("store an operation: %w", err))
	}
	if tag.RowsAffected() == 1 {
		o.State, o.Request, o.CreateTime, o.UpdateTime, o.EndTime = Running, nil, now, now, time.Time{}
		return o, nil
	}
	var before []byte
	begun, err := operationOf(tx.QueryRow(ctx, s.sql(`SELECT `+columns+`, request_sum FROM SCHEMA.operation
		WHERE organization = $1 AND request_id = $2`), o.Organization, requestID), &before)
	if err != nil {
		return Operation{}, pg.Fault(fmt.Errorf("read what a request has begun: %w", err))
	}
	if !bytes.Equal(before, sum) {
		return Operation{}, fault.Invalid(fault.Field{Path: "request_id", Rule: "unique", Message: fmt.Sprintf(
			"was used by a different request within the last %d hours: take a new one", requestRetention)})
	}
	return begun, nil
}

// requestSum tells requests apart that use the same id.
func requestSum(o Operation) ([]byte, error) {
	asked := o.Request
	if asked == nil {
		asked = o.Parameters
	}
	text, err := json.Marshal([]any{o.Type, o.Target, asked, o.DryRun, o.Rate})
	if err != nil {
		return nil, fmt.Errorf("write what an operation is asked for: %w", err)
	}
	sum := sha256.Sum256(text)
	return sum[:], nil
}

// Cancel stops an operation. fault.NotFound when there is none, fault.FailedPrecondition when it has ended.
func (s *PgStore) Cancel(ctx context.Context, organization, id string) (Operation, error) {
	return s.change(ctx, organization, id, Operation.CheckCancel, `UPDATE SCHEMA.operation
		SET state = 'canceled', take = take + 1, update_time = $2, end_time = $2
		WHERE id = $1 RETURNING `+columns)
}

// Resume lets an operation go on where it stopped. fault.NotFound when there is none, fault.FailedPrecondition when it
// has not stopped.
func (s *PgStore) Resume(ctx context.Context, organization, id string) (Operation, error) {
	return s.change(ctx, organization, id, Operation.CheckResume, `UPDATE SCHEMA.operation
		SET state = 'running', take = take + 1, failures = 0, error_reason = '', error_message = '', lease_time = $2,
			update_time = $2, end_time = NULL
		WHERE id = $1 RETURNING `+columns)
}

// change locks an operation, checks it and changes it.
func (s *PgStore) change(ctx context.Context, organization, id string, check func(Operation) error, update string) (Operation, error) {
	key, err := uuid.Parse(id)
	if err != nil {
		return Operation{}, NotFound(organization, id)
	}
	var after Operation
	err = pg.InTx(ctx, s.pool, pgx.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
		before, err := operationOf(tx.QueryRow(ctx, s.sql(`SELECT `+columns+` FROM SCHEMA.operation
			WHERE id = $1 AND organization = $2 FOR UPDATE`), key, organization))
		if err := found(err, organization, id, "lock an operation"); err != nil {
			return err
		}
		if err := check(before); err != nil {
			return err
		}
		after, err = operationOf(tx.QueryRow(ctx, s.sql(update), key, s.stored()))
		return found(err, organization, id, "change an operation")
	})
	return after, err
}
