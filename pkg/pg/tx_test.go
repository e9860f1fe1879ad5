package pg_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/pg"
	"github.com/meetwire/meetwire/pkg/pgtest"
)

func parents(t *testing.T, pool *pgxpool.Pool) int {
	t.Helper()
	var n int
	require.NoError(t, pool.QueryRow(t.Context(), "SELECT count(*) FROM parents").Scan(&n))
	return n
}

func insertParent(ctx context.Context, tx pgx.Tx, id int) error {
	_, err := tx.Exec(ctx, "INSERT INTO parents VALUES ($1)", id)
	return err
}

func TestInTxCommits(t *testing.T) {
	t.Parallel()
	pool := setup(t)
	require.NoError(t, pg.InTx(newContext(t), pool, pgx.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
		return insertParent(ctx, tx, 2)
	}))
	require.Equal(t, 2, parents(t, pool))
}

func TestInTxRollsBackAndReturnsTheErrorAsItIs(t *testing.T) {
	t.Parallel()
	pool := setup(t)
	broken := errors.New("broken")
	err := pg.InTx(newContext(t), pool, pgx.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
		require.NoError(t, insertParent(ctx, tx, 2))
		return broken
	})
	require.Same(t, broken, err)
	require.Equal(t, 1, parents(t, pool))
	require.Zero(t, pool.Stat().AcquiredConns())
}

func TestInTxRollsBackWhenItPanics(t *testing.T) {
	t.Parallel()
	pool := setup(t)
	require.PanicsWithValue(t, "boom", func() {
		_ = pg.InTx(newContext(t), pool, pgx.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
			require.NoError(t, insertParent(ctx, tx, 2))
			panic("boom")
		})
	})
	require.Equal(t, 1, parents(t, pool))
	require.Zero(t, pool.Stat().AcquiredConns())
}

func TestInTxRollsBackAfterTheEndOfItsContext(t *testing.T) {
	t.Parallel()
	pool := open(t, pgtest.URL(setup(t)), 1)
	var before, after int
	require.NoError(t, pool.QueryRow(newContext(t), "SELECT pg_backend_pid()").Scan(&before))
	ctx, cancel := context.WithCancel(newContext(t))
	err := pg.InTx(ctx, pool, pgx.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
		require.NoError(t, insertParent(ctx, tx, 2))
		cancel()
		return ctx.Err()
	})
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, 1, parents(t, pool))
	require.NoError(t, pool.QueryRow(newContext(t), "SELECT pg_backend_pid()").Scan(&after))
	require.Equal(t, before, after, "the connection must be kept")
}

func TestInTxFaultOfACommit(t *testing.T) {
	t.Parallel()
	pool := setup(t)
	err := pg.InTx(newContext(t), pool, pgx.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, "INSERT INTO children (id, nick) VALUES (2, 'x'), (3, 'x')") // checked at the end
		return err
	})
	require.True(t, fault.Is(err, fault.AlreadyExists), "%v", err)
	require.Equal(t, "children_nick", pg.ConstraintName(err))
}

func TestInTxNoticesAnErrorThatWasPassedOver(t *testing.T) {
	t.Parallel()
	pool := setup(t)
	err := pg.InTx(newContext(t), pool, pgx.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
		_ = insertParent(ctx, tx, 1) // it exists, so the transaction can only be rolled back
		return nil
	})
	require.ErrorIs(t, err, pgx.ErrTxCommitRollback)
	require.True(t, fault.Is(err, fault.Internal))
}

func TestInTxFaultOfABegin(t *testing.T) {
	t.Parallel()
	pool := open(t, pgtest.URL(setup(t)), 1)
	pool.Close()
	err := pg.InTx(newContext(t), pool, pgx.TxOptions{}, func(context.Context, pgx.Tx) error {
		t.Error("must not be called")
		return nil
	})
	require.True(t, fault.Is(err, fault.Unavailable), "%v", err)
}

// Two doctors go off call at the same time, each only if another stays. One must lose, and then see why.
func TestInTxRepeatsARealSerializationFailure(t *testing.T) {
	t.Parallel()
	pool := setup(t)
	var met sync.WaitGroup
	met.Add(2)
	calls := make([]int, 3)
	leave := func(doctor int) error {
		return pg.InTx(newContext(t), pool, pgx.TxOptions{IsoLevel: pgx.Serializable}, func(ctx context.Context, tx pgx.Tx) error {
			calls[doctor]++
			var onCall int
			if err := tx.QueryRow(ctx, "SELECT count(*) FROM doctors WHERE on_call").Scan(&onCall); err != nil {
				return err
			}
			if calls[doctor] == 1 { // both have read before either writes
				met.Done()
				met.Wait()
			}
			if onCall < 2 {
				return fault.New(fault.FailedPrecondition, "LAST_DOCTOR", "the last doctor must stay")
			}
			_, err := tx.Exec(ctx, "UPDATE doctors SET on_call = false WHERE id = $1", doctor)
			return err
		})
	}
	results := make(chan error, 2)
	for _, doctor := range []int{1, 2} {
		go func() { results <- leave(doctor) }()
	}
	first, second := <-results, <-results
	require.ErrorContains(t, errors.Join(first, second), "the last doctor must stay")
	require.True(t, first == nil || second == nil, "one of them must succeed: %v, %v", first, second)
	require.Equal(t, 3, calls[1]+calls[2], "the loser must have been called again")
}

func TestInTxRepeatsARealDeadlock(t *testing.T) {
	t.Parallel()
	pool := setup(t)
	var met sync.WaitGroup
	met.Add(2)
	calls := make([]int, 3)
	lock := func(first, second int) error {
		return pg.InTx(newContext(t), pool, pgx.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
			calls[first]++
			if _, err := tx.Exec(ctx, "UPDATE doctors SET on_call = NOT on_call WHERE id = $1", first); err != nil {
				return err
			}
			if calls[first] == 1 {
				met.Done()
				met.Wait()
			}
			_, err := tx.Exec(ctx, "UPDATE doctors SET on_call = NOT on_call WHERE id = $1", second)
			return err
		})
	}
	results := make(chan error, 2)
	go func() { results <- lock(1, 2) }()
	go func() { results <- lock(2, 1) }()
	require.NoError(t, <-results)
	require.NoError(t, <-results)
	// The one that is repeated can be back before the other has noticed that it may go on: then they meet once more.
	require.Greater(t, calls[1]+calls[2], 2)
	var onCall int
	require.NoError(t, pool.QueryRow(newContext(t), "SELECT count(*) FROM doctors WHERE on_call").Scan(&onCall))
	require.Equal(t, 2, onCall, "each must have had its effect once")
}

func TestInTxGivesUpAfterFiveRepetitions(t *testing.T) {
	t.Parallel()
	pool := setup(t)
	calls := 0
	err := pg.InTx(newContext(t), pool, pgx.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
		calls++
		_, err := tx.Exec(ctx, raise("40001"))
		return pg.Fault(err) // it must be recognized inside of a fault, too
	})
	require.True(t, fault.Is(err, fault.Aborted), "%v", err)
	require.Equal(t, 6, calls)
}

func TestInTxDoesNotRepeatAfterTheEndOfItsContext(t *testing.T) {
	t.Parallel()
	pool := setup(t)
	ctx, cancel := context.WithCancel(newContext(t))
	calls := 0
	err := pg.InTx(ctx, pool, pgx.TxOptions{}, func(ctx context.Context, tx pgx.Tx) error {
		calls++
		_, err := tx.Exec(ctx, raise("40001"))
		cancel()
		return err
	})
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, 1, calls)
}
