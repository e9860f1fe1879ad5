package pgstore_test

import (
	"context"
	"io/fs"
	"os"
	"testing"
	"testing/fstest"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/pg"
	"github.com/meetwire/meetwire/pkg/pgtest"
	"github.com/meetwire/meetwire/services/delivery/internal/pgstore"
)

// TestMigrationKeepsWhatWasRecorded fills the tables as they were before payloads were kept by themselves.
func TestMigrationKeepsWhatWasRecorded(t *testing.T) {
	t.Parallel()
	pool := pgtest.Database(t, "delivery_00002", func(ctx context.Context, pool *pgxpool.Pool) error {
		earlier := fstest.MapFS{}
		for _, name := range []string{"00001_deliveries.sql", "00002_health.sql"} {
			text, err := fs.ReadFile(os.DirFS("migrations"), name)
			if err != nil {
				return err
			}
			earlier[name] = &fstest.MapFile{Data: text}
		}
		return pg.Migrate(ctx, pool, pgstore.Schema, earlier)
	})
	ctx, delivery, attempt := newContext(t), uuid.New(), uuid.New()
	for _, statement := range []string{
		`SELECT delivery.ensure_day('2026-03-14')`,
		`INSERT INTO delivery.delivery VALUES ('2026-03-14', '` + delivery.String() + `', 'acme', gen_random_uuid(), 'meeting.booked', '/booking',
			'bk_1', 7, '2026-03-14 10:00Z', 1, '', 1, '2026-03-14 10:00Z', NULL)`,
		`INSERT INTO delivery.attempt VALUES ('2026-03-14', '` + delivery.String() + `', '` + attempt.String() + `', 1, '2026-03-14 10:00Z', 5,
			'https://example.com', '[["a", "b"]]', 'sent', 503, '[["c", "d"]]', 'got', false, 'status', 'status 503', NULL)`,
	} {
		_, err := pool.Exec(ctx, statement)
		require.NoError(t, err)
	}
	require.NoError(t, pgstore.Migrate(ctx, pool))
	store := pgstore.New(pool)
	kept, err := store.Delivery(ctx, "acme", delivery)
	require.NoError(t, err)
	require.EqualValues(t, 503, kept.GetLastStatusCode())
	require.Equal(t, "status", kept.GetLastErrorClass())
	attempts, _, err := store.Attempts(ctx, "acme", delivery, pgstore.AttemptCursor{}, 10)
	require.NoError(t, err)
	require.Len(t, attempts, 1)
	require.Equal(t, "sent", string(attempts[0].GetRequestBody()))
	require.Equal(t, "got", string(attempts[0].GetResponseBody()))
	require.Equal(t, "b", attempts[0].GetRequestHeaders()[0].GetValue())
	require.Equal(t, kept.GetWebhook(), attempts[0].GetWebhook())
	all, _, err := store.AllAttempts(ctx, "acme", pgstore.AttemptFilter{Failed: true}, pgstore.LastAttempts(), 10)
	require.NoError(t, err)
	require.Len(t, all, 1)
}
