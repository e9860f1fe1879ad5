package pg_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/pg"
	"github.com/meetwire/meetwire/pkg/pgtest"
)

func TestFaultOfRealErrors(t *testing.T) {
	t.Parallel()
	pool := setup(t)
	for _, test := range []struct {
		name, sql  string
		kind       fault.Kind
		reason     string
		constraint string
	}{
		{"unique", "INSERT INTO parents VALUES (1)", fault.AlreadyExists, "ALREADY_EXISTS", "parents_pkey"},
		{"missing parent", "INSERT INTO children (id, parent) VALUES (2, 9)", fault.FailedPrecondition, "CONSTRAINT_VIOLATED", "children_parent_fkey"},
		{"still a parent", "DELETE FROM parents", fault.FailedPrecondition, "CONSTRAINT_VIOLATED", "children_parent_fkey"},
		{"check", "INSERT INTO children (id, age) VALUES (2, 0)", fault.InvalidArgument, "INVALID_VALUE", "children_age"},
		{"null", "INSERT INTO children (id, age) VALUES (2, NULL)", fault.InvalidArgument, "INVALID_VALUE", ""},
		{"too long", "INSERT INTO children (id, name) VALUES (2, 'long')", fault.InvalidArgument, "INVALID_VALUE", ""},
		{"out of range", "SELECT 2147483648::int", fault.InvalidArgument, "INVALID_VALUE", ""},
		{"not a number", "SELECT 'x'::int", fault.InvalidArgument, "INVALID_VALUE", ""},
		{"not a time", "SELECT 'x'::timestamptz", fault.InvalidArgument, "INVALID_VALUE", ""},
		{"no such day", "SELECT '2026-02-30'::timestamptz", fault.InvalidArgument, "INVALID_VALUE", ""},
		{"zero byte", `SELECT E'\u0000'`, fault.Internal, "DATABASE_ERROR", ""}, // a literal of ours is a defect
		{"syntax", "SELEC", fault.Internal, "DATABASE_ERROR", ""},
		{"no table", "SELECT * FROM nowhere", fault.Internal, "DATABASE_ERROR", ""},
		{"statement timeout", "SET statement_timeout = 10; SELECT pg_sleep(60)", fault.Unavailable, "DATABASE_UNAVAILABLE", ""},
		{"terminated", "SELECT pg_terminate_backend(pg_backend_pid())", fault.Unavailable, "DATABASE_UNAVAILABLE", ""},
		{"standby", "BEGIN READ ONLY; DELETE FROM children", fault.Unavailable, "DATABASE_UNAVAILABLE", ""},
		{"serialization", raise("40001"), fault.Aborted, "CONCURRENT_CHANGE", ""},
		{"deadlock", raise("40P01"), fault.Aborted, "CONCURRENT_CHANGE", ""},
		{"lock", raise("55P03"), fault.Aborted, "CONCURRENT_CHANGE", ""},
		{"exclusion", raise("23P01"), fault.FailedPrecondition, "CONSTRAINT_VIOLATED", ""},
		{"restrict", raise("23001"), fault.FailedPrecondition, "CONSTRAINT_VIOLATED", ""},
		{"too many connections", raise("53300"), fault.Unavailable, "DATABASE_UNAVAILABLE", ""},
		{"disk full", raise("53100"), fault.Unavailable, "DATABASE_UNAVAILABLE", ""},
		{"connection", raise("08006"), fault.Unavailable, "DATABASE_UNAVAILABLE", ""},
		{"completion unknown", raise("40003"), fault.Unavailable, "DATABASE_UNAVAILABLE", ""},
		{"starting up", raise("57P03"), fault.Unavailable, "DATABASE_UNAVAILABLE", ""},
		{"corrupt", raise("XX001"), fault.Internal, "DATABASE_ERROR", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			ctx := newContext(t)
			conn, err := pgx.Connect(ctx, pgtest.URL(pool).Reveal())
			require.NoError(t, err)
			defer conn.Close(ctx) // some of these connections are broken
			_, err = conn.Exec(ctx, test.sql, pgx.QueryExecModeSimpleProtocol)
			require.Error(t, err)

			f := pg.Fault(fmt.Errorf("do something: %w", err))
			require.True(t, fault.Is(f, test.kind), "%v", f)
			require.Equal(t, test.reason, fault.From(f).Reason)
			require.ErrorIs(t, f, err, "the cause must be there for the log")
			require.NotContains(t, fault.From(f).Message, "children", "the message must show nothing of the schema")
			require.Equal(t, test.constraint, pg.ConstraintName(f))
			require.Same(t, f, pg.Fault(f), "a fault stays as it is")
		})
	}
}

func raise(code string) string {
	return "DO $$ BEGIN RAISE SQLSTATE '" + code + "'; END $$"
}

func TestZeroByteFromOutsideIsAnInvalidValue(t *testing.T) {
	t.Parallel()
	pool := setup(t)
	var s string
	err := pool.QueryRow(newContext(t), "SELECT $1::text", "a\x00b").Scan(&s)
	require.True(t, fault.Is(pg.Fault(err), fault.InvalidArgument), "%v", err)
}

func TestNoRowIsNotFound(t *testing.T) {
	t.Parallel()
	pool := setup(t)
	var id int
	err := pg.Fault(pool.QueryRow(newContext(t), "SELECT id FROM parents WHERE id = 9").Scan(&id))
	require.True(t, fault.Is(err, fault.NotFound))
	require.Equal(t, "NOT_FOUND", fault.From(err).Reason)
	require.ErrorIs(t, err, pgx.ErrNoRows)
}

func TestEndOfAContextStaysThat(t *testing.T) {
	t.Parallel()
	pool := setup(t)
	canceled, cancel := context.WithCancel(newContext(t))
	cancel()
	_, err := pool.Exec(canceled, "SELECT 1")
	require.Equal(t, err, pg.Fault(err))
	require.ErrorIs(t, err, context.Canceled)

	late, cancel := context.WithTimeout(newContext(t), 20*time.Millisecond)
	defer cancel()
	_, err = pool.Exec(late, "SELECT pg_sleep(60)")
	require.Equal(t, err, pg.Fault(err))
	require.ErrorIs(t, err, context.DeadlineExceeded)
}

func TestOtherErrors(t *testing.T) {
	t.Parallel()
	require.NoError(t, pg.Fault(nil))
	require.True(t, fault.Is(pg.Fault(errors.New("x")), fault.Internal))
	require.True(t, fault.Is(pg.Fault(io.ErrUnexpectedEOF), fault.Unavailable))
	require.True(t, fault.Is(pg.Fault(pgconn.ErrConnClosed), fault.Unavailable))
	own := fault.New(fault.NotFound, "WEBHOOK_NOT_FOUND", "no such webhook")
	require.ErrorIs(t, pg.Fault(fmt.Errorf("look it up: %w", own)), own)
	require.True(t, fault.Is(pg.Fault(fmt.Errorf("look it up: %w", own)), fault.NotFound))
	require.Empty(t, pg.ConstraintName(nil))
	require.Empty(t, pg.ConstraintName(own))
}

func TestServerThatIsAwayIsUnavailable(t *testing.T) {
	t.Parallel()
	s := pgtest.Server(t)
	pool := open(t, s.URL(), 2)
	ctx := newContext(t)

	running := make(chan error, 1)
	go func() {
		_, err := pool.Exec(ctx, "SELECT pg_sleep(60)")
		running <- err
	}()
	require.Eventually(t, func() bool {
		var n int
		err := pool.QueryRow(ctx, "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(60)'").Scan(&n)
		return err == nil && n == 1
	}, 10*time.Second, 5*time.Millisecond)

	require.NoError(t, s.Stop(ctx))
	require.True(t, fault.Is(pg.Fault(<-running), fault.Unavailable), "a statement that was cut off")
	_, err := pool.Exec(ctx, "SELECT 1")
	require.True(t, fault.Is(pg.Fault(err), fault.Unavailable), "a new statement: %v", err)

	pgtest.Restart(t, s)
	require.Eventually(t, func() bool { return pool.Ping(ctx) == nil }, 10*time.Second, 5*time.Millisecond)

	pool.Close()
	_, err = pool.Exec(ctx, "SELECT 1")
	require.True(t, fault.Is(pg.Fault(err), fault.Unavailable), "a closed pool: %v", err)
}
