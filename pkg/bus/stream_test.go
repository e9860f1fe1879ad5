package bus_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/natstest"
)

func TestTagsSayTheDefaults(t *testing.T) {
	t.Parallel()
	var config bus.Config
	parser, err := kong.New(&config)
	require.NoError(t, err)
	_, err = parser.Parse(nil)
	require.NoError(t, err)
	require.Equal(t, bus.DefaultConfig(), config)
	require.NoError(t, config.Validate())
}

func TestValidateNamesEverythingThatIsWrong(t *testing.T) {
	t.Parallel()
	for variable, damage := range map[string]func(*bus.Config){
		"MEETWIRE_STREAM_REPLICAS":      func(c *bus.Config) { c.Replicas = 2 },
		"MEETWIRE_EVENTS_MAX_AGE":       func(c *bus.Config) { c.EventsMaxAge = time.Hour - 1 },
		"MEETWIRE_DEADLETTERS_MAX_AGE":  func(c *bus.Config) { c.DeadLettersMaxAge = 0 },
		"MEETWIRE_RECORDS_MAX_AGE":      func(c *bus.Config) { c.RecordsMaxAge = -1 },
		"MEETWIRE_REJECTS_MAX_AGE":      func(c *bus.Config) { c.RejectsMaxAge = 0 },
		"MEETWIRE_DELIVERIES_MAX_BYTES": func(c *bus.Config) { c.DeliveriesMaxBytes = 64<<20 - 1 },
		"MEETWIRE_ACK_WAIT":             func(c *bus.Config) { c.AckWait = time.Second - 1 },
		"MEETWIRE_MAX_ACK_PENDING":      func(c *bus.Config) { c.MaxAckPending = 999 },
	} {
		config := bus.DefaultConfig()
		damage(&config)
		err := config.Validate()
		require.ErrorContains(t, err, variable)
		require.Equal(t, 1, strings.Count(err.Error(), "MEETWIRE_"), "%v", err)
	}
	require.Len(t, strings.Split(bus.Config{}.Validate().Error(), "\n"), 8, "all at once")
	long := bus.DefaultConfig()
	long.AckWait = 10*time.Minute + 1
	require.ErrorContains(t, long.Validate(), "MEETWIRE_ACK_WAIT")
	for _, replicas := range []int{1, 3, 5} {
		config := bus.DefaultConfig()
		config.Replicas = replicas
		config.AckWait, config.MaxAckPending, config.DeliveriesMaxBytes = time.Second, 1000, 64<<20
		require.NoError(t, config.Validate())
	}
}

// requireStreams asserts that the streams are as configured, and returns how the server describes them.
func requireStreams(t *testing.T, js jetstream.JetStream, config bus.Config) map[string]jetstream.StreamConfig {
	t.Helper()
	have := make(map[string]jetstream.StreamConfig)
	for _, want := range config.Streams() {
		stream, err := js.Stream(newContext(t), want.Name)
		require.NoError(t, err)
		got := stream.CachedInfo().Config
		require.Equal(t, want.Subjects, got.Subjects)
		require.Equal(t, want.Replicas, got.Replicas)
		require.Equal(t, want.MaxAge, got.MaxAge)
		require.Equal(t, want.Retention, got.Retention)
		require.Equal(t, jetstream.FileStorage, got.Storage)
		require.Equal(t, want.MaxMsgSize, got.MaxMsgSize)
		require.Equal(t, 2*time.Minute, got.Duplicates)
		have[want.Name] = got
	}
	require.Len(t, have, 7)
	return have
}

func TestStreamsAreCreatedAndUpdated(t *testing.T) {
	t.Parallel()
	e := setup(t)
	ctx := newContext(t)
	first := requireStreams(t, e.js, e.config)

	require.Equal(t, jetstream.DiscardNew, first[bus.StreamDeliveries].Discard, "nothing is evicted")
	require.EqualValues(t, 4<<30, first[bus.StreamDeliveries].MaxBytes)
	require.True(t, first[bus.StreamRetries].AllowMsgSchedules)
	for _, limit := range []int64{
		first[bus.StreamRetries].MaxBytes, first[bus.StreamRetries].MaxMsgs, first[bus.StreamRetries].MaxMsgsPerSubject,
	} {
		require.EqualValues(t, -1, limit, "a limit would evict timers silently")
	}
	require.Zero(t, first[bus.StreamRetries].MaxAge)
	require.EqualValues(t, 1, first[bus.StreamDeadLetters].MaxMsgsPerSubject)
	require.Greater(t, first[bus.StreamEvents].MaxMsgSize, int32(bus.MaxEventBytes), "what is a little too large is kept in REJECTS")
	require.Less(t, first[bus.StreamEvents].MaxMsgSize, first[bus.StreamRejects].MaxMsgSize, "with headers of ours")

	require.Equal(t, first[bus.StreamEvents].MaxAge, first[bus.StreamFanOuts].MaxAge)
	require.Equal(t, jetstream.WorkQueuePolicy, first[bus.StreamFanOuts].Retention)

	// A second start changes nothing, and what is stored stays.
	sequence := e.publish(t, bookedSubject, "x")
	require.NoError(t, bus.EnsureStreams(ctx, e.js, e.config, discard()))
	require.Equal(t, first, requireStreams(t, e.js, e.config))

	changed := e.config
	changed.EventsMaxAge, changed.DeliveriesMaxBytes, changed.RejectsMaxAge = 2*time.Hour, 64<<20, 3*time.Hour
	require.NoError(t, bus.EnsureStreams(ctx, e.js, changed, discard()))
	require.EqualValues(t, 64<<20, requireStreams(t, e.js, changed)[bus.StreamDeliveries].MaxBytes)
	stream, err := e.js.Stream(ctx, bus.StreamEvents)
	require.NoError(t, err)
	msg, err := stream.GetMsg(ctx, sequence)
	require.NoError(t, err)
	require.Equal(t, "x", string(msg.Data))
}

func TestStreamsThatAreRefusedAreAnErrorAtOnce(t *testing.T) {
	t.Parallel()
	e := setup(t)
	config := e.config
	config.Replicas = 3 // of a single server
	err := bus.EnsureStreams(newContext(t), e.js, config, discard())
	require.ErrorContains(t, err, "ensure stream EVENTS")
	var api *jetstream.APIError
	require.ErrorAs(t, err, &api)
}

func TestStreamsWaitForTheServer(t *testing.T) {
	t.Parallel()
	server := natstest.Start(t)
	_, js := connect(t, server.URL())
	server.Shutdown()
	ensured := run(t, func(ctx context.Context) error { return bus.EnsureStreams(ctx, js, bus.DefaultConfig(), discard()) })
	server.Restart(t)
	require.NoError(t, ensured.wait(t))
	requireStreams(t, js, bus.DefaultConfig())

	// Who does not want to wait any longer is heard.
	server.Shutdown()
	ctx, cancel := context.WithTimeout(newContext(t), 100*time.Millisecond)
	defer cancel()
	require.ErrorIs(t, bus.EnsureStreams(ctx, js, bus.DefaultConfig(), discard()), context.DeadlineExceeded)
}

func TestStreamsAndConsumersInACluster(t *testing.T) {
	t.Parallel()
	cluster := natstest.Cluster(t, 3)
	_, js := connect(t, cluster.URL())
	config := bus.DefaultConfig()

	// More nodes than are known yet may join: that is waited for.
	config.Replicas = 5
	require.Eventually(t, func() bool { // it is not said when the time ends amid an attempt
		ctx, cancel := context.WithTimeout(newContext(t), 300*time.Millisecond)
		defer cancel()
		err := bus.EnsureStreams(ctx, js, config, discard())
		require.ErrorIs(t, err, context.DeadlineExceeded)
		return strings.Contains(err.Error(), "no suitable peers")
	}, patience, tick)

	config.Replicas = 3
	for range 2 { // the second time everything exists
		require.NoError(t, bus.EnsureStreams(newContext(t), js, config, discard()))
		requireStreams(t, js, config)
	}
	for _, c := range consumers(config) {
		_, err := js.CreateOrUpdateConsumer(newContext(t), c.stream, c.config)
		require.NoError(t, err, c.config.Durable)
	}
	stream, err := js.Stream(newContext(t), bus.StreamDeliveries)
	require.NoError(t, err)
	require.Len(t, stream.CachedInfo().Cluster.Replicas, 2)
}

type consumerOf struct {
	stream string
	config jetstream.ConsumerConfig
	filter string
}

// consumers are all durables of an installation with one platform trigger.
func consumers(config bus.Config) []consumerOf {
	return []consumerOf{
		{bus.StreamEvents, config.IngestConsumer("meeting.booked", time.Time{}), "events.*.meeting.booked"},
		{bus.StreamEvents, config.IngestConsumer(bus.LaneCustom, time.Time{}), "events.*.custom.>"},
		{bus.StreamEvents, config.EventIndexConsumer(), "events.>"},
		{bus.StreamFanOuts, config.IndexConsumer(), "fanouts.>"},
		{bus.StreamDeliveries, config.DeliverConsumer("meeting-booked"), "deliveries.meeting-booked.>"},
		{bus.StreamDeliveries, config.DeliverConsumer(bus.LaneCustom), "deliveries.custom.>"},
		{bus.StreamDeliveries, config.DeliverConsumer(bus.LaneBulk), "deliveries.bulk.>"},
		{bus.StreamRetries, config.RetryConsumer("meeting-booked"), "retries.due.meeting-booked.>"},
		{bus.StreamRetries, config.RetryConsumer(bus.LaneCustom), "retries.due.custom.>"},
		{bus.StreamRetries, config.RetryConsumer(bus.LaneBulk), "retries.due.bulk.>"},
	}
}

func TestAllConsumersCanBeCreatedTogetherAndAgain(t *testing.T) {
	t.Parallel()
	e := setup(t)
	names := make(map[string]bool)
	for range 2 {
		for _, c := range consumers(e.config) {
			consumer, err := e.js.CreateOrUpdateConsumer(newContext(t), c.stream, c.config)
			require.NoError(t, err, c.config.Durable)
			got := consumer.CachedInfo().Config
			require.Equal(t, c.filter, got.FilterSubject)
			require.Equal(t, time.Minute, got.AckWait)
			require.Equal(t, -1, got.MaxDeliver, "a limit would give up silently")
			require.Equal(t, 20_000, got.MaxAckPending)
			require.Equal(t, jetstream.AckExplicitPolicy, got.AckPolicy)
			require.Equal(t, c.config.Durable == bus.DurableEventIndex, got.HeadersOnly)
			names[c.stream+"/"+got.Durable] = true
		}
	}
	require.Len(t, names, 10)
	for _, want := range []string{
		"EVENTS/ingest-meeting-booked", "EVENTS/ingest-custom", "EVENTS/event-index", "DELIVERIES/deliver-meeting-booked",
		"DELIVERIES/deliver-bulk", "RETRIES/retry-meeting-booked",
	} {
		require.True(t, names[want], want)
	}
}

// A worker that dies leaves an event for AckWait. What it has made of it must not be made twice then.
func TestStreamsKnowWhatAFanOutHasMadeWhenItIsRepeated(t *testing.T) {
	t.Parallel()
	config := bus.DefaultConfig()
	config.AckWait = 10 * time.Minute
	require.NoError(t, config.Validate())
	for _, stream := range config.Streams() {
		switch stream.Name {
		case bus.StreamDeliveries, bus.StreamRejects:
			require.Greater(t, stream.Duplicates, config.AckWait, stream.Name)
		default:
			require.Equal(t, 2*time.Minute, stream.Duplicates, stream.Name)
		}
	}
}
