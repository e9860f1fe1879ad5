package natsbus

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"github.com/nats-io/nats.go/jetstream"
	"google.golang.org/protobuf/proto"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/fault"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
)

// Watcher reads RECORDS live.
type Watcher struct {
	JetStream jetstream.JetStream
	// Behind is how many records a watcher may be behind before it goes on with the newest; 0: 10,000.
	Behind uint64
}

const (
	defaultBehind = 10_000
	// watchPull is how many records wait in this process for one watcher.
	watchPull = 64
)

// Watch gives the records that are published from now on to a function, in the order of the stream: those of one
// organization and webhook, or of all where these are bus.AnyToken. begun is called once, when nothing is missed any more
// for being too early; missed is how many records were left out before one
// because the function could not keep up. It returns the function's error, the context's, or fault.Unavailable.
func (w *Watcher) Watch(
	ctx context.Context, organization, webhook string, begun func() error, do func(record *deliveryv1.Record, missed uint64) error,
) error {
	var missed uint64
	once := sync.OnceValue(begun)
	for {
		skipped, err := w.follow(ctx, organization, webhook, once, func(record *deliveryv1.Record) error {
			before := missed
			missed = 0
			return do(record, before)
		})
		if err != nil {
			return err
		}
		missed += skipped
	}
}

// errStopped is returned by a consumer that has ended by itself.
var errStopped = errors.New("the stream's consumer has ended")

// follow reads until the reader is too far behind. It returns by how much.
func (w *Watcher) follow(
	ctx context.Context, organization, webhook string, begun func() error, do func(*deliveryv1.Record) error,
) (behind uint64, err error) {
	limit := w.Behind
	if limit == 0 {
		limit = defaultBehind
	}
	// The library makes such a consumer anew when it is lost, and goes on after the last message.
	consumer, err := w.JetStream.OrderedConsumer(ctx, bus.StreamRecords, jetstream.OrderedConsumerConfig{
		FilterSubjects: []string{bus.RecordSubject(organization, webhook)}, DeliverPolicy: jetstream.DeliverNewPolicy,
	})
	if err != nil {
		return 0, streamAway(ctx, "watch records", err)
	}
	if err := begun(); err != nil {
		return 0, err
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessages(watchPull))
	if err != nil {
		return 0, streamAway(ctx, "watch records", err)
	}
	defer messages.Stop()
	for {
		msg, err := messages.Next(jetstream.NextContext(ctx))
		if err != nil {
			return 0, streamAway(ctx, "watch records", errors.Join(errStopped, err))
		}
		meta, err := msg.Metadata()
		if err != nil {
			return 0, fmt.Errorf("read the metadata of a record: %w", err)
		}
		if meta.NumPending > limit {
			return meta.NumPending + 1, nil
		}
		record := new(deliveryv1.Record)
		if proto.Unmarshal(msg.Data(), record) != nil {
			continue // only delivery publishes records; the recorder tells of those that cannot be read
		}
		if err := do(record); err != nil {
			return 0, err
		}
	}
}

// streamAway says what a failure to read a stream means to a caller.
func streamAway(ctx context.Context, doing string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", doing, ctx.Err())
	}
	return fault.Wrap(fault.Unavailable, "STREAM_UNAVAILABLE", fmt.Errorf("%s: %w", doing, err), "the stream is not available")
}
