package operation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/pg"
)

// held is the condition under which an instance may write: $1 is the id, $2 the turn.
const held = ` WHERE id = $1 AND take = $2 AND state = 'running'`

// Take implements Store.
func (s *PgStore) Take(ctx context.Context, lease time.Duration) (Work, bool, error) {
	now := s.stored()
	var w Work
	var err error
	w.Operation, err = operationOf(s.pool.QueryRow(ctx, s.sql(`UPDATE SCHEMA.operation AS o
		SET take = o.take + 1, lease_time = $1
		WHERE o.id = (SELECT due.id FROM SCHEMA.operation AS due WHERE due.state = 'running' AND due.lease_time <= $2
			ORDER BY due.lease_time, due.id LIMIT 1 FOR UPDATE SKIP LOCKED)
		RETURNING `+columns+`, take, failures, progress`), now.Add(lease), now), &w.Take, &w.Failures, &w.Progress)
	if errors.Is(err, pgx.ErrNoRows) {
		return Work{}, false, nil
	}
	if err != nil {
		return Work{}, false, pg.Fault(fmt.Errorf("take over an operation: %w", err))
	}
	return w, true, nil
}

// Renew implements Store.
func (s *PgStore) Renew(ctx context.Context, w Work, lease time.Duration) error {
	return s.write(ctx, s.pool, "renew the lease of an operation",
		`UPDATE SCHEMA.operation SET lease_time = $3`+held, w.ID, w.Take, s.stored().Add(lease))
}

// Release implements Store.
func (s *PgStore) Release(ctx context.Context, w Work) error {
	return s.write(ctx, s.pool, "release an operation",
		`UPDATE SCHEMA.operation SET lease_time = $3`+held, w.ID, w.Take, s.stored())
}

// Postpone implements Store.
func (s *PgStore) Postpone(ctx context.Context, w Work, wait time.Duration, failure *fault.Error) error {
	now := s.stored()
	failures, reason, message := 0, "", ""
	if failure != nil {
		failures, reason, message = 1, failure.Reason, storable(failure.Message)
	}
	return s.write(ctx, s.pool, "postpone an operation", `UPDATE SCHEMA.operation
		SET lease_time = $3, failures = failures + $4, error_reason = $5, error_message = $6, update_time = $7`+held,
		w.ID, w.Take, now.Add(wait), failures, reason, message, now)
}

// End implements Store.
func (s *PgStore) End(ctx context.Context, w Work, failure *fault.Error) error {
	state, reason, message := Succeeded, "", ""
	if failure != nil {
		state, reason, message = Failed, failure.Reason, storable(failure.Message)
	}
	return s.write(ctx, s.pool, "end an operation", `UPDATE SCHEMA.operation
		SET state = $3, error_reason = $4, error_message = $5, update_time = $6, end_time = $6`+held,
		w.ID, w.Take, string(state), reason, message, s.stored())
}

// Advance stores what a step has done, and brings w up to it. ErrTaken when the lease is lost.
func (s *PgStore) Advance(ctx context.Context, w *Work, step Step) error {
	if err := s.advance(ctx, s.pool, *w, step); err != nil {
		return err
	}
	w.apply(step)
	return nil
}

// Within calls f in a transaction during which nobody stops or takes over the operation, stores in it the step that f
// has done, and brings w up to it: then what f writes and what is told of it cannot differ. f may be called several
// times (see pg.InTx). ErrTaken when the lease is lost.
func (s *PgStore) Within(ctx context.Context, w *Work, f func(ctx context.Context, tx pgx.Tx) (Step, error)) error {
	var step Step
	err := pg.InTx(ctx, s.pool, pgx.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
		var here int
		err := tx.QueryRow(ctx, s.sql(`SELECT 1 FROM SCHEMA.operation`+held+` FOR UPDATE`), w.ID, w.Take).Scan(&here)
		if errors.Is(err, pgx.ErrNoRows) {
			return ErrTaken
		}
		if err != nil {
			return pg.Fault(fmt.Errorf("hold an operation: %w", err))
		}
		if step, err = f(ctx, tx); err != nil {
			return err
		}
		return s.advance(ctx, tx, *w, step)
	})
	if err != nil {
		return err
	}
	w.apply(step)
	return nil
}

// executor is a pool or a transaction.
type executor interface {
	Exec(ctx context.Context, sql string, arguments ...any) (pgconn.CommandTag, error)
}

func (s *PgStore) advance(ctx context.Context, on executor, w Work, step Step) error {
	return s.write(ctx, on, "store the progress of an operation", `UPDATE SCHEMA.operation
		SET progress = coalesce($3::jsonb, progress), processed_count = processed_count + $4,
			affected_count = affected_count + $5, skipped_count = skipped_count + $6, repeat_count = repeat_count + $7,
			total_count = coalesce($8, total_count), failures = 0, error_reason = '', error_message = '', update_time = $9`+held,
		w.ID, w.Take, step.Progress, step.Processed, step.Affected, step.Skipped, step.Repeat, step.Total, s.stored())
}

// write changes an operation: ErrTaken when no row was changed.
func (s *PgStore) write(ctx context.Context, on executor, what, statement string, args ...any) error {
	tag, err := on.Exec(ctx, s.sql(statement), args...)
	if err != nil {
		return pg.Fault(fmt.Errorf("%s: %w", what, err))
	}
	if tag.RowsAffected() == 0 {
		return ErrTaken
	}
	return nil
}

// maxStoredMessage is the greatest length of the message of an error that is stored, in characters.
const maxStoredMessage = 1000

// storable returns a text that Postgres takes.
func storable(text string) string {
	valid := make([]rune, 0, min(len(text), maxStoredMessage))
	for _, r := range text {
		if r != 0 && len(valid) < maxStoredMessage {
			valid = append(valid, r)
		}
	}
	return string(valid)
}
