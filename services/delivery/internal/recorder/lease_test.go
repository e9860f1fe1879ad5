package recorder_test

import (
	"testing"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/pgtest"
	"github.com/meetwire/meetwire/services/delivery/internal/pgstore"
)

// An instance that was frozen for longer than its lease writes nothing more, and goes on as one that waits for its turn.
func TestAnInstanceThatWasFrozenStandsBack(t *testing.T) {
	t.Parallel()
	e := setup(t)
	pool := pgtest.Database(t, "delivery", pgstore.Migrate)
	store := &heldStore{Store: pgstore.New(pool), entered: make(chan struct{}, 100), release: make(chan struct{})}
	ids := e.publish(t, 3)
	frozen := run(t, grace, e.recorder(store))
	<-store.entered
	_, err := pool.Exec(newContext(t), "UPDATE delivery.recorder SET lease_until = '-infinity'")
	require.NoError(t, err)
	second := run(t, grace, e.recorder(pgstore.New(pool)))
	requireStored(t, pool, ids)
	close(store.release)
	require.NoError(t, second.stop())
	ids = append(ids, e.publish(t, 2)...)
	requireStored(t, pool, ids)
	require.NoError(t, frozen.stop())
	require.Zero(t, e.leftOut())
}

// What the server has sent to a connection that broke is not sent again by itself, and when nothing follows it nobody
// sees a gap.
func TestRecordsThatGotLostOnTheWayAreReadAgain(t *testing.T) {
	t.Parallel()
	e := setup(t)
	pool := pgtest.Database(t, "delivery", pgstore.Migrate)
	run(t, grace, e.recorder(pgstore.New(pool)))
	ids := e.publish(t, 1)
	requireStored(t, pool, ids)

	stream, err := e.js.Stream(newContext(t), bus.StreamRecords)
	require.NoError(t, err)
	var name string
	for consumer := range stream.ListConsumers(newContext(t)).Info() {
		name = consumer.Name
	}
	thief, err := stream.Consumer(newContext(t), name)
	require.NoError(t, err)
	lost, err := thief.Fetch(1, jetstream.FetchMaxWait(patience))
	require.NoError(t, err)
	for stolen := false; !stolen; {
		ids = append(ids, e.publish(t, 1)...)
		select {
		case _, stolen = <-lost.Messages():
			require.True(t, stolen, lost.Error())
		case <-time.After(100 * time.Millisecond): // it went to the recorder
		}
	}
	requireStored(t, pool, ids)
}
