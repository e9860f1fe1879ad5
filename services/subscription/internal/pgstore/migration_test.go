package pgstore_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/services/subscription/internal/core"
)

// directions returns what a migration does and how it is taken back, as one script each.
func directions(t *testing.T, file string) (up, down string) {
	t.Helper()
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	up, down, found := strings.Cut(string(text), "-- +goose Down")
	require.True(t, found, file)
	return up, down
}

// A database of the first release is brought up to date with what it has, and can be taken back.
func TestDatabaseOfTheFirstReleaseIsBroughtUpToDate(t *testing.T) {
	t.Parallel()
	store, pool := setup(t)
	files, err := filepath.Glob("migrations/*.sql")
	require.NoError(t, err)
	slices.Sort(files)
	exec := func(script string) {
		t.Helper()
		_, err := pool.Exec(t.Context(), script, pgx.QueryExecModeSimpleProtocol)
		require.NoError(t, err)
	}
	later := files[1:]
	for _, file := range slices.Backward(later) {
		_, down := directions(t, file)
		exec(down)
	}
	exec(`INSERT INTO subscription.organization (id, display_name, allow_http, create_time) VALUES ('acme', 'Acme', true, '2026-01-02T03:04:05Z');
		INSERT INTO subscription.trigger VALUES ('meeting.booked', 'Meeting booked', 'd', 'g', 'true', '{}', '2026-01-02T03:04:05Z', '2026-01-02T03:04:05Z');`)
	for _, file := range later {
		up, _ := directions(t, file)
		exec(up)
	}

	plans := core.NewPlans([]core.Plan{{Name: "small", WebhooksAvailable: true}}, "small")
	o, err := store.Organization(t.Context(), "acme")
	require.NoError(t, err)
	require.Empty(t, o.Plan)
	require.NoError(t, store.InstallPlans(t.Context(), plans))
	o, err = store.Organization(t.Context(), "acme")
	require.NoError(t, err)
	require.Equal(t, "small", o.Plan)
	require.True(t, o.WebhooksAvailable)
	require.Equal(t, o.CreateTime, o.UpdateTime)
	trigger, err := store.Trigger(t.Context(), "", "meeting.booked")
	require.NoError(t, err)
	require.True(t, trigger.BuiltIn)
	require.False(t, trigger.Deprecated)
}
