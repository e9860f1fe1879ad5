package recorder

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/proto"

	"github.com/meetwire/meetwire/pkg/bus"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
)

// bounds are those of a batch, which ends at the first that is reached.
type bounds struct {
	records, bytes int
	// delay is how long the first record waits for others. A batch costs as much as some ninety records do, however few are in
	// it: where many have come by then, all wait for longer.
	delay, longer time.Duration
	many          int
	// idle is when a batch ends whatever has come, so that the lease is prolonged.
	idle time.Duration
}

func defaultBounds() bounds {
	return bounds{
		records: 1000, bytes: 8 << 20,
		delay: 20 * time.Millisecond, longer: 250 * time.Millisecond, many: 5,
		idle: leaseEvery,
	}
}

// pullBytes is how much is on its way here, or waits for its batch. It must be more than a message may have, and is sent at
// once when the recorder catches up, while others wait for the server.
const pullBytes = 2 << 20

// consumerLife is how long the server keeps the consumer of an instance that has gone away.
const consumerLife = time.Minute

// entry is a record, nil when it cannot be read, and its sequence in the stream, which has stored it at a time.
type entry struct {
	sequence uint64
	stored   time.Time
	record   *deliveryv1.Record
	bytes    int
}

// shorten leaves out of a record what nothing depends on, and reports false when nothing is left to leave out.
func (e entry) shorten() bool {
	attempt := e.record.GetAttempt()
	if attempt == nil {
		return false
	}
	before := proto.Size(attempt)
	attempt.RequestTruncated = attempt.GetRequestTruncated() || len(attempt.GetRequestBody()) > 0
	attempt.ResponseTruncated = attempt.GetResponseTruncated() || len(attempt.GetResponseBody()) > 0
	attempt.RequestHeaders, attempt.RequestBody, attempt.ResponseHeaders, attempt.ResponseBody = nil, nil, nil, nil
	attempt.RequestUrl, attempt.ErrorMessage, attempt.RemoteAddress = "", "", ""
	return proto.Size(attempt) < before
}

// tail reads RECORDS in its order. The server keeps nothing for it: whoever reads knows where to go on.
type tail struct {
	js     jetstream.JetStream
	logger *slog.Logger
	lag    prometheus.Gauge
	bounds bounds

	messages jetstream.MessagesContext // nil: must be opened
	incoming chan jetstream.Msg        // closed at the end of messages
	failure  error                     // why; may be read when incoming is closed
	expected uint64                    // number of the consumer's next message
}

// errGap is returned when messages got lost on the way: they are asked for again.
var errGap = errors.New("messages are missing")

// next returns the records after a position. It returns none when nothing has come for a while, and what has come when
// the context ends. After an error it begins anew.
func (t *tail) next(ctx context.Context, position uint64) ([]entry, error) {
	if t.messages == nil {
		if err := t.open(ctx, position); err != nil {
			return nil, err
		}
	}
	var batch []entry
	idle := time.NewTimer(t.bounds.idle)
	defer idle.Stop()
	var full, fuller <-chan time.Time
	for bytes := 0; len(batch) < t.bounds.records && bytes < t.bounds.bytes; {
		select {
		case msg, ok := <-t.incoming:
			if !ok {
				err := t.failure
				t.close()
				return nil, err
			}
			e, err := t.read(msg)
			if err != nil {
				t.close()
				return nil, err
			}
			batch, bytes = append(batch, e), bytes+e.bytes
			if len(batch) == 1 {
				full, fuller = time.After(t.bounds.delay), time.After(t.bounds.longer)
			}
		case <-full:
			if len(batch) < t.bounds.many {
				return batch, nil
			}
		case <-fuller:
			return batch, nil
		case <-idle.C:
			return batch, nil
		case <-ctx.Done():
			return batch, nil
		}
	}
	return batch, nil
}

// open begins to read after a position.
func (t *tail) open(ctx context.Context, position uint64) error {
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	consumer, err := t.js.CreateConsumer(ctx, bus.StreamRecords, jetstream.ConsumerConfig{
		Description:       "Writes records to Postgres.",
		DeliverPolicy:     jetstream.DeliverByStartSequencePolicy,
		OptStartSeq:       position + 1,
		AckPolicy:         jetstream.AckNonePolicy,
		InactiveThreshold: consumerLife,
		MemoryStorage:     true,
		Replicas:          1,
	})
	if err != nil {
		return fmt.Errorf("read %s: %w", bus.StreamRecords, err)
	}
	messages, err := consumer.Messages(jetstream.PullMaxBytes(pullBytes), jetstream.PullExpiry(requestTime))
	if err != nil {
		return fmt.Errorf("read %s: %w", bus.StreamRecords, err)
	}
	t.messages, t.incoming, t.failure, t.expected = messages, make(chan jetstream.Msg), nil, 1
	go t.pump(messages, t.incoming)
	return nil
}

// pump hands messages on until there are no more.
func (t *tail) pump(messages jetstream.MessagesContext, incoming chan<- jetstream.Msg) {
	defer close(incoming)
	for {
		msg, err := messages.Next()
		if err != nil {
			// Also without a heartbeat: the consumer may be gone, which is in the memory of one server.
			t.failure = fmt.Errorf("read %s: %w", bus.StreamRecords, err)
			return
		}
		incoming <- msg
	}
}

func (t *tail) read(msg jetstream.Msg) (entry, error) {
	meta, err := msg.Metadata()
	if err != nil {
		return entry{}, fmt.Errorf("read the metadata of a record: %w", err)
	}
	if meta.Sequence.Consumer != t.expected {
		return entry{}, fmt.Errorf("%w: number %d came instead of %d", errGap, meta.Sequence.Consumer, t.expected)
	}
	t.expected++
	t.lag.Set(float64(meta.NumPending))
	e := entry{sequence: meta.Sequence.Stream, stored: meta.Timestamp, record: new(deliveryv1.Record), bytes: len(msg.Data())}
	if err := proto.Unmarshal(msg.Data(), e.record); err != nil {
		// Only delivery itself publishes records.
		t.logger.Error("record cannot be stored and is left out", "sequence", e.sequence, "error", err)
		e.record = nil
	}
	return e, nil
}

// close ends the reading.
func (t *tail) close() {
	if t.messages == nil {
		return
	}
	t.messages.Stop()
	for range t.incoming {
		continue // until pump has ended
	}
	t.messages = nil
}
