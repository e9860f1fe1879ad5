package pgstore_test

import (
	"bytes"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/meetwire/meetwire/pkg/pgtest"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	"github.com/meetwire/meetwire/services/delivery/internal/pgstore"
)

// benchRecords is a batch of a hundred webhooks.
func benchRecords(webhooks []string, sequence int64) []*deliveryv1.Record {
	records := make([]*deliveryv1.Record, 500)
	for i := range records {
		r := newRecord()
		r.Webhook, r.EventId, r.EventSequence = webhooks[i%len(webhooks)], fmt.Sprintf("bk_%d", sequence), sequence
		r.Organization = fmt.Sprintf("acme-%d", i%10)
		r.Attempt.StartTime = timestamppb.New(accepted().Add(time.Duration(sequence) * time.Millisecond))
		r.Attempt.RequestBody, r.Attempt.ResponseBody = bytes.Repeat([]byte(`{"a":1},`), 150), []byte(`{"ok":true}`)
		for j := range 6 {
			r.Attempt.RequestHeaders = append(r.Attempt.RequestHeaders, &deliveryv1.Header{Name: fmt.Sprintf("X-Header-%d", j), Value: "some value of it"})
			r.Attempt.ResponseHeaders = append(r.Attempt.ResponseHeaders, &deliveryv1.Header{Name: fmt.Sprintf("X-Header-%d", j), Value: "some value of it"})
		}
		if i%20 == 0 {
			r.State, r.Attempt.StatusCode, r.Attempt.ErrorClass = deliveryv1.Delivery_STATE_PENDING, 503, "status"
			r.NextAttemptTime = timestamppb.New(accepted().Add(time.Minute))
		}
		records[i] = r
		sequence++
	}
	return records
}

// BenchmarkWrite stores batches. Beside the time of all, Postgres included, it tells what this process takes.
func BenchmarkWrite(b *testing.B) {
	pool := pgtest.Database(b, "delivery", pgstore.Migrate)
	store, ctx := pgstore.New(pool), b.Context()
	webhooks := make([]string, 100)
	for i := range webhooks {
		webhooks[i] = uuid.NewString()
	}
	position, err := store.Lease(ctx, holder(), accepted(), time.Hour)
	require.NoError(b, err)
	var cpu time.Duration
	b.ReportAllocs()
	for b.Loop() {
		b.StopTimer()
		batch := batch(position, benchRecords(webhooks, int64(position)*500))
		b.StartTimer()
		began := processTime(b)
		require.NoError(b, store.Write(ctx, batch, time.Hour))
		cpu += processTime(b) - began
		position++
	}
	b.ReportMetric(float64(cpu.Microseconds())/1000/float64(b.N), "cpu-ms/op")
}

// processTime is how much time of a processor this process has taken.
func processTime(b *testing.B) time.Duration {
	b.Helper()
	var usage syscall.Rusage
	require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
