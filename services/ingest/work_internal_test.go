package ingest

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/meetwire/meetwire/pkg/operation"
	"github.com/meetwire/meetwire/pkg/pgtest"
	ingestv1 "github.com/meetwire/meetwire/proto/gen/meetwire/ingest/v1"
	"github.com/meetwire/meetwire/services/ingest/internal/pgstore"
)

func TestPurgedOrganizationLeavesNoRows(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	pool := pgtest.Database(t, "ingest", pgstore.Migrate)
	store, operations := pgstore.New(pool), operation.NewPgStore(pool, pgstore.Schema, time.Now)
	for i, organization := range []string{"acme", "beta"} {
		_, err := store.Write(ctx, []*ingestv1.FanOut{{
			EventSequence: int64(i + 1), Organization: organization, Trigger: "meeting.booked", Source: "/s", Id: "1",
			AcceptTime: timestamppb.Now(), Skips: []*ingestv1.FanOut_Skip{{Webhook: uuid.NewString(), Generation: 1}},
		}})
		require.NoError(t, err)
		_, err = operations.Begin(ctx, operation.Operation{Organization: organization, Type: "erase_events"}, "")
		require.NoError(t, err)
	}
	purger := rows{store, operations}
	for _, want := range []int64{3, 0} { // it can be repeated
		removed, err := purger.PurgeOrganization(ctx, "acme")
		require.NoError(t, err)
		require.Equal(t, want, removed)
	}
	for _, table := range []string{"event", "webhook_matching", "operation"} {
		var left []string
		require.NoError(t, pool.QueryRow(ctx, `SELECT array_agg(organization) FROM ingest.`+table).Scan(&left))
		require.Equal(t, []string{"beta"}, left, table)
	}
}
