package pg

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// txRetries is how many times a transaction is begun again that lost against another.
	txRetries = 5
	// txBackoff is the mean wait before the first repetition; it doubles each time.
	txBackoff = 5 * time.Millisecond
	// rollbackTimeout bounds a rollback, which happens even when the context has ended.
	rollbackTimeout = 5 * time.Second
)

// Beginner begins transactions: a pool or a connection.
type Beginner interface {
	// BeginTx begins a transaction; it returns the errors of Postgres and of the context.
	BeginTx(ctx context.Context, opts pgx.TxOptions) (pgx.Tx, error)
}

// InTx calls f in a transaction and commits when f returns nil; otherwise, also when f panics, it rolls back.
// When Postgres reports a serialization failure or a deadlock, everything is done again, up to 5 times more: f
// must have no effect but on the transaction, and must not keep what an earlier call found. The error of f
// comes back as f returned it; those of begin and commit are faults, as Fault makes them. After a connection
// broke during the commit, nobody knows whether it happened.
func InTx(ctx context.Context, db Beginner, opts pgx.TxOptions, f func(ctx context.Context, tx pgx.Tx) error) error {
	backoff := txBackoff
	for retries := 0; ; retries++ {
		err := inTx(ctx, db, opts, f)
		if err == nil || retries == txRetries || !lostRace(err) {
			return err
		}
		// Spread, so that the same two do not meet again.
		timer := time.NewTimer(backoff/2 + rand.N(backoff)) //nolint:gosec // G404: it only spreads
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return fmt.Errorf("repeat a transaction: %w", ctx.Err())
		}
		backoff *= 2
	}
}

func inTx(ctx context.Context, db Beginner, opts pgx.TxOptions, f func(ctx context.Context, tx pgx.Tx) error) (err error) {
	tx, err := db.BeginTx(ctx, opts)
	if err != nil {
		return Fault(fmt.Errorf("begin a transaction: %w", err))
	}
	committed := false
	defer func() {
		if committed {
			return
		}
		// With the caller's context, when it has ended, the connection would be thrown away.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackTimeout)
		defer cancel()
		if rollbackErr := tx.Rollback(ctx); rollbackErr != nil && !errors.Is(rollbackErr, pgx.ErrTxClosed) && err == nil {
			err = Fault(fmt.Errorf("roll a transaction back: %w", rollbackErr))
		}
	}()
	if err := f(ctx, tx); err != nil {
		return err
	}
	if err := tx.Commit(ctx); err != nil {
		return Fault(fmt.Errorf("commit a transaction: %w", err))
	}
	committed = true
	return nil
}

// lostRace reports whether Postgres ended a transaction in favour of another.
func lostRace(err error) bool {
	code := sqlState(err)
	return code == serializationFailure || code == deadlockDetected
}
