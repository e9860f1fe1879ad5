package pgstore_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/meetwire/meetwire/pkg/pgtest"
	ingestv1 "github.com/meetwire/meetwire/proto/gen/meetwire/ingest/v1"
	"github.com/meetwire/meetwire/services/ingest/internal/pgstore"
)

// A batch of 1,000 events, as the index writes it.
func BenchmarkWrite(b *testing.B) {
	store := pgstore.New(pgtest.Database(b, "ingest", pgstore.Migrate))
	sequence := int64(0)
	for b.Loop() {
		batch := make([]*ingestv1.FanOut, 1000)
		for i := range batch {
			sequence++
			batch[i] = newNote(sequence)
			batch[i].Id, batch[i].Subject = time.Duration(sequence).String(), time.Duration(sequence/10).String()
			batch[i].AcceptTime = timestamppb.New(accepted().Add(time.Duration(sequence) * time.Millisecond))
		}
		_, err := store.Write(b.Context(), batch)
		require.NoError(b, err)
	}
	b.ReportMetric(float64(sequence)/b.Elapsed().Seconds(), "events/s")
}
