package pgstore_test

import (
	"log/slog"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/pgtest"
	"github.com/meetwire/meetwire/services/subscription/internal/pgstore"
	"github.com/meetwire/meetwire/services/subscription/internal/storetest"
)

func TestConformance(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T, now func() time.Time) storetest.Store {
		return pgstore.New(pgtest.Database(t, "pgstore", pgstore.Migrate), slog.New(slog.DiscardHandler), now)
	})
}

func TestConformanceWithoutDatabase(t *testing.T) {
	t.Parallel()
	storetest.Away(t, func(t *testing.T, now func() time.Time) storetest.Store {
		pool, err := pgxpool.New(t.Context(), "postgres://nobody@127.0.0.1:1/nothing?sslmode=disable&connect_timeout=1")
		require.NoError(t, err)
		t.Cleanup(pool.Close)
		return pgstore.New(pool, slog.New(slog.DiscardHandler), now)
	})
}
