package bus

import (
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// The streams.
const (
	StreamEvents      = "EVENTS"
	StreamDeliveries  = "DELIVERIES"
	StreamRetries     = "RETRIES"
	StreamDeadLetters = "DEADLETTERS"
	StreamRecords     = "RECORDS"
	StreamRejects     = "REJECTS"
	StreamFanOuts     = "FANOUTS"
)

// MaxEventBytes is the greatest size of an event, as published.
const MaxEventBytes = 256 << 10

// Limits of messages with their headers. EVENTS takes more than MaxEventBytes, so that what is a little too
// large is kept in REJECTS with a reason, and less than the other streams, so that everything in it can be
// moved there with headers of ours.
const (
	maxEventMessageBytes = 512 << 10
	maxMessageBytes      = 1 << 20
)

// dedupWindow is how long a stream remembers a Nats-Msg-Id. A longer one costs memory and throughput: a million
// ids took 210 MB and 30 % of the throughput.
const dedupWindow = 2 * time.Minute

// longestFanOut is how long the fan-out of one event may take until its last delivery is stored, with much to spare: that
// of 10,000 webhooks takes seconds.
const longestFanOut = time.Minute

// Config is what an installation decides about its streams.
type Config struct {
	Replicas           int           `help:"Replicas of every stream: 1, 3 or 5." default:"1" env:"MEETWIRE_STREAM_REPLICAS"`
	EventsMaxAge       time.Duration `help:"How long events are kept." default:"720h" env:"MEETWIRE_EVENTS_MAX_AGE"`
	DeliveriesMaxBytes int64         `help:"Greatest size of DELIVERIES, in bytes; beyond it events wait in EVENTS." default:"4294967296" env:"MEETWIRE_DELIVERIES_MAX_BYTES"`
	DeadLettersMaxAge  time.Duration `help:"How long dead letters are kept." default:"720h" env:"MEETWIRE_DEADLETTERS_MAX_AGE"`
	RecordsMaxAge      time.Duration `help:"How long records are kept for Postgres to catch up." default:"72h" env:"MEETWIRE_RECORDS_MAX_AGE"`
	RejectsMaxAge      time.Duration `help:"How long rejected events are kept." default:"336h" env:"MEETWIRE_REJECTS_MAX_AGE"`
	AckWait            time.Duration `help:"How long a message may be worked on without a sign of life before another worker gets it." default:"60s" env:"MEETWIRE_ACK_WAIT"`
	MaxAckPending      int           `help:"Greatest number of messages of one consumer that are being worked on." default:"20000" env:"MEETWIRE_MAX_ACK_PENDING"`
}

// DefaultConfig returns what the tags of Config say.
func DefaultConfig() Config {
	return Config{
		Replicas:           1,
		EventsMaxAge:       30 * 24 * time.Hour,
		DeliveriesMaxBytes: 4 << 30,
		DeadLettersMaxAge:  30 * 24 * time.Hour,
		RecordsMaxAge:      3 * 24 * time.Hour,
		RejectsMaxAge:      14 * 24 * time.Hour,
		AckWait:            time.Minute,
		MaxAckPending:      20_000,
	}
}

// Streams returns the configuration of every stream.
func (c Config) Streams() []jetstream.StreamConfig {
	common := func(s jetstream.StreamConfig) jetstream.StreamConfig {
		s.Storage = jetstream.FileStorage
		s.Replicas = c.Replicas
		if s.MaxMsgSize == 0 {
			s.MaxMsgSize = maxMessageBytes
		}
		s.Duplicates = max(s.Duplicates, dedupWindow)
		return s
	}
	// An event whose worker died is fanned out again after AckWait: what was made of it must be known until that is done.
	again := c.AckWait + longestFanOut
	return []jetstream.StreamConfig{
		common(jetstream.StreamConfig{
			Name:        StreamEvents,
			Description: "What happened, as published.",
			Subjects:    []string{EventsFilter()},
			Retention:   jetstream.LimitsPolicy,
			MaxAge:      c.EventsMaxAge,
			MaxMsgSize:  maxEventMessageBytes,
			Compression: jetstream.S2Compression,
			AllowDirect: true,
		}),
		common(jetstream.StreamConfig{
			Name:        StreamDeliveries,
			Description: "Deliveries that may be tried now.",
			Subjects:    []string{"deliveries.>"},
			Retention:   jetstream.WorkQueuePolicy,
			MaxBytes:    c.DeliveriesMaxBytes,
			Discard:     jetstream.DiscardNew, // pressure goes back to EVENTS; nothing is evicted
			AllowDirect: true,
			Duplicates:  again,
		}),
		common(jetstream.StreamConfig{
			Name:              StreamRetries,
			Description:       "Timers of deliveries that wait, and those that are due.",
			Subjects:          []string{"retries.at.>", "retries.due.>"},
			Retention:         jetstream.WorkQueuePolicy,
			AllowDirect:       true,
			AllowMsgSchedules: true,
			AllowMsgTTL:       true,
			// No limit of size, number or age: with schedules, a limit evicts silently.
		}),
		common(jetstream.StreamConfig{
			Name:              StreamDeadLetters,
			Description:       "Deliveries that are not tried any more, with their events.",
			Subjects:          []string{"deadletters.>"},
			Retention:         jetstream.LimitsPolicy,
			MaxAge:            c.DeadLettersMaxAge,
			MaxMsgsPerSubject: 1,
			AllowDirect:       true,
		}),
		common(jetstream.StreamConfig{
			Name:        StreamRecords,
			Description: "Changes in the lives of deliveries.",
			Subjects:    []string{"records.>"},
			Retention:   jetstream.LimitsPolicy,
			MaxAge:      c.RecordsMaxAge,
			// No compression: a server compresses a block of 8 MiB at once, again and again at the rate of records.
			AllowDirect: true,
		}),
		common(jetstream.StreamConfig{
			Name:        StreamRejects,
			Description: "What was published and could not be accepted, with the reason.",
			Subjects:    []string{"rejects.>"},
			Retention:   jetstream.LimitsPolicy,
			MaxAge:      c.RejectsMaxAge,
			AllowDirect: true,
			Duplicates:  again,
		}),
		common(jetstream.StreamConfig{
			Name:        StreamFanOuts,
			Description: "What became of events, on its way into their index.",
			Subjects:    []string{FanOutsFilter()},
			Retention:   jetstream.WorkQueuePolicy,
			MaxAge:      c.EventsMaxAge, // what is told of an event is of no use after it
		}),
	}
}

// DurableEventIndex is the durable consumer that reads every event: the one of EVENTS that is not one per trigger.
const DurableEventIndex = "event-index"

// DurableIndex is the durable consumer that writes the index of events.
const DurableIndex = "index"

// IndexConsumer is the durable that writes the index of events from FANOUTS.
func (c Config) IndexConsumer() jetstream.ConsumerConfig {
	return c.consumer(DurableIndex, FanOutsFilter())
}

// consumer fills in what all durable consumers have in common.
func (c Config) consumer(name, filter string) jetstream.ConsumerConfig {
	return jetstream.ConsumerConfig{
		Durable:       name,
		FilterSubject: filter,
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       c.AckWait,
		MaxDeliver:    -1, // the worker counts; a limit here would give up silently
		MaxAckPending: c.MaxAckPending,
	}
}

// IngestDurable is the name of the durable that fans out the events of a lane.
func IngestDurable(lane string) string { return "ingest-" + lane }

// IngestConsumer is the durable that fans out the events of a platform trigger, or of LaneCustom. A new one begins
// with what was stored at start or later, or with everything when start is zero; one that exists goes on where it is.
func (c Config) IngestConsumer(trigger string, start time.Time) jetstream.ConsumerConfig {
	consumer := c.consumer(IngestDurable(Lane(trigger)), EventLaneFilter(trigger))
	if !start.IsZero() {
		start = start.UTC()
		consumer.DeliverPolicy, consumer.OptStartTime = jetstream.DeliverByStartTimePolicy, &start
	}
	return consumer
}

// DeliverConsumer is the durable that makes the first tries of a lane.
func (c Config) DeliverConsumer(lane string) jetstream.ConsumerConfig {
	return c.consumer("deliver-"+lane, DeliveryLaneFilter(lane))
}

// RetryConsumer is the durable that makes the retries of a lane. They have a consumer of their own so that
// they never stand in front of first tries.
func (c Config) RetryConsumer(lane string) jetstream.ConsumerConfig {
	return c.consumer("retry-"+lane, RetryDueLaneFilter(lane))
}

// EventIndexConsumer is the durable that looks at the subject of every event and moves what has no lane to
// REJECTS. It gets no bodies.
func (c Config) EventIndexConsumer() jetstream.ConsumerConfig {
	consumer := c.consumer(DurableEventIndex, EventsFilter())
	consumer.HeadersOnly = true
	return consumer
}

// Validate reports everything that is wrong.
func (c Config) Validate() error {
	var all []error
	if c.Replicas != 1 && c.Replicas != 3 && c.Replicas != 5 {
		all = append(all, errors.New("replicas (MEETWIRE_STREAM_REPLICAS): must be 1, 3 or 5"))
	}
	for _, age := range []struct {
		name  string
		value time.Duration
	}{
		{"events-max-age (MEETWIRE_EVENTS_MAX_AGE)", c.EventsMaxAge},
		{"dead-letters-max-age (MEETWIRE_DEADLETTERS_MAX_AGE)", c.DeadLettersMaxAge},
		{"records-max-age (MEETWIRE_RECORDS_MAX_AGE)", c.RecordsMaxAge},
		{"rejects-max-age (MEETWIRE_REJECTS_MAX_AGE)", c.RejectsMaxAge},
	} {
		if age.value < time.Hour {
			all = append(all, fmt.Errorf("%s: must be at least 1h", age.name))
		}
	}
	if c.DeliveriesMaxBytes < 64<<20 {
		all = append(all, errors.New("deliveries-max-bytes (MEETWIRE_DELIVERIES_MAX_BYTES): must be at least 67108864 (64 MiB)"))
	}
	if c.AckWait < time.Second || c.AckWait > 10*time.Minute {
		all = append(all, errors.New("ack-wait (MEETWIRE_ACK_WAIT): must be from 1s to 10m"))
	}
	if c.MaxAckPending < 1000 {
		all = append(all, errors.New("max-ack-pending (MEETWIRE_MAX_ACK_PENDING): must be at least 1000"))
	}
	return errors.Join(all...)
}
