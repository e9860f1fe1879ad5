package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/meetwire/meetwire/pkg/pgtest"
	"github.com/meetwire/meetwire/pkg/publisher/outbox"
)

const (
	writers      = 20
	transactions = 15 // of each
)

var errRolledBack = errors.New("rolled back")

// testOrder has many writers write at once while disturb does what it likes to relays, and compares what the stream
// has with a ledger that the same transactions keep.
func testOrder(t *testing.T, e *env, disturb func(ctx context.Context)) {
	t.Helper()
	ctx := newContext(t)
	_, err := e.pool.Exec(ctx, `
		CREATE TABLE ledger (organization text, n bigint, id text);
		CREATE TABLE counter (organization text PRIMARY KEY, n bigint);
		CREATE TABLE other (writer int, value int)`)
	require.NoError(t, err)
	organizations := []string{"acme", "globex", "initech"}
	for _, organization := range organizations {
		_, err := e.pool.Exec(ctx, `INSERT INTO counter VALUES ($1, 0)`, organization)
		require.NoError(t, err)
	}
	disturbing, calm := context.WithCancel(ctx)
	var disturbance errgroup.Group
	disturbance.Go(func() error { disturb(disturbing); return nil })

	var group errgroup.Group
	for writer := range writers {
		group.Go(func() error {
			for i := range transactions {
				organization := organizations[rand.IntN(len(organizations))]
				err := pgx.BeginFunc(ctx, e.pool, func(tx pgx.Tx) error {
					return writeAndNote(ctx, tx, organization, writer, i)
				})
				if err != nil && !errors.Is(err, errRolledBack) {
					return err
				}
			}
			return nil
		})
	}
	require.NoError(t, group.Wait())
	e.awaitEmpty(t)
	calm()
	require.NoError(t, disturbance.Wait())
	for _, organization := range organizations {
		rows, err := e.pool.Query(ctx, `SELECT id FROM ledger WHERE organization = $1 ORDER BY n`, organization)
		require.NoError(t, err)
		want, err := pgx.CollectRows(rows, pgx.RowTo[string])
		require.NoError(t, err)
		require.NotEmpty(t, want)
		require.Equal(t, want, ids(t, e.js, organization), "what was committed, in the order of the commits, once")
	}
}

// writeAndNote writes up to three events and notes after each which one of its organization it is: the note comes
// after the event has taken its number, so that only a lock until the commit makes the two orders the same.
func writeAndNote(ctx context.Context, tx pgx.Tx, organization string, writer, i int) error {
	// Transactions have their numbers before they write events.
	if _, err := tx.Exec(ctx, `INSERT INTO other VALUES ($1, $2)`, writer, i); err != nil {
		return err
	}
	for j := range 1 + rand.IntN(3) {
		id := fmt.Sprintf("%d-%d-%d", writer, i, j)
		if err := outbox.Write(ctx, tx, booked(organization, id)); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, `WITH c AS (UPDATE counter SET n = n + 1 WHERE organization = $1 RETURNING n)
			INSERT INTO ledger SELECT $1, n, $2 FROM c`, organization, id); err != nil {
			return err
		}
	}
	if rand.IntN(5) == 0 {
		return errRolledBack
	}
	return nil
}

func TestEventsArriveInTheOrderOfCommits(t *testing.T) {
	t.Parallel()
	e := setup(t, jetstream.StreamConfig{})
	start(t, e.relay(t, e.js))
	start(t, e.relay(t, e.js)) // two, of which one works
	testOrder(t, e, func(ctx context.Context) { <-ctx.Done() })
}

func TestRelaysThatLoseTheirSessionKeepTheOrder(t *testing.T) {
	t.Parallel()
	e := setup(t, jetstream.StreamConfig{})
	start(t, e.relay(t, e.js))
	start(t, e.relay(t, e.js))
	cut := 0
	testOrder(t, e, func(ctx context.Context) {
		for ctx.Err() == nil {
			// The one that holds the lock of relays.
			tag, err := e.pool.Exec(ctx, `SELECT pg_terminate_backend(pid) FROM pg_locks
				WHERE locktype = 'advisory' AND objid = 4294967295 AND granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())`)
			if err == nil && tag.RowsAffected() > 0 {
				cut++
			}
			pause(ctx)
		}
	})
	require.Positive(t, cut)
}

func TestRelaysThatAreKilledKeepTheOrder(t *testing.T) {
	t.Parallel()
	e := setup(t, jetstream.StreamConfig{})
	kills := 0
	testOrder(t, e, func(ctx context.Context) {
		for ctx.Err() == nil {
			limited, cancel := context.WithCancel(ctx)
			relay := exec.CommandContext(limited, os.Args[0])
			relay.Env = append(os.Environ(), envDatabase+"="+pgtest.URL(e.pool).Reveal(), envNATS+"="+e.server.URL())
			before := e.sequence()
			if relay.Start() == nil {
				// Killed (the context does it with SIGKILL) once it has published something, in the middle of more.
				for ctx.Err() == nil && e.sequence() < before+30 {
					pause(ctx)
				}
				cancel()
				_ = relay.Wait()
				kills++
			}
			cancel()
		}
	})
	require.Positive(t, kills)
}

// pause is between two looks at something.
func pause(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(poll / 2):
	}
}

// sequence is the last of the stream, or 0 when it does not answer.
func (e *env) sequence() uint64 {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	stream, err := e.js.Stream(ctx, "EVENTS")
	if err != nil {
		return 0
	}
	return stream.CachedInfo().State.LastSeq
}
