package bus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/lifecycle"
)

// Consumer takes the messages of one durable consumer and gives them to Handle.
type Consumer struct {
	JetStream jetstream.JetStream
	Stream    string
	Config    jetstream.ConsumerConfig
	// Pull is the greatest number of messages that wait in this process. The time within which one must be
	// settled runs from its arrival here, so it should be what is worked off in a fraction of AckWait.
	Pull int
	// Workers is how many calls of Handle run at once.
	Workers int
	// Handle takes over a message: sooner or later it, or what it starts, must settle it. The context
	// outlives a stop by the grace period.
	Handle func(ctx context.Context, msg *Msg)
	Logger *slog.Logger
}

// Run consumes until the context ends, then waits for the messages that are being worked on. What has arrived
// but was not begun goes back at once.
func (c *Consumer) Run(ctx context.Context) error {
	held := newHeld()
	stopProgress := held.signalProgress(c.Config.AckWait/4, c.Logger)
	defer stopProgress()

	err := lifecycle.Retry(ctx, c.Logger, "consume "+c.Config.Durable, minConnectWait, maxConnectWait, func(ctx context.Context) error {
		return c.consume(ctx, held)
	})
	if ctx.Err() == nil {
		return fmt.Errorf("consume %s: %w", c.Config.Durable, err)
	}
	return held.wait(lifecycle.Grace(ctx))
}

// consume works off one subscription until the context ends or the subscription fails.
func (c *Consumer) consume(ctx context.Context, held *held) error {
	consumer, err := c.ensure(ctx)
	if err != nil {
		return err
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessages(c.Pull), jetstream.PullExpiry(5*time.Second))
	if err != nil {
		return fmt.Errorf("pull: %w", err)
	}
	stop := context.AfterFunc(ctx, func() {
		if c.JetStream.Conn().IsConnected() {
			messages.Drain()
			return
		}
		// Draining would wait 10 s for a server that is away, and nothing can be given back to it.
		messages.Stop()
	})
	defer stop()
	defer messages.Stop()

	work := make(chan *Msg)
	var workers sync.WaitGroup
	for range c.Workers {
		workers.Go(func() {
			for msg := range work {
				c.handle(lifecycle.Grace(ctx), msg)
			}
		})
	}
	defer workers.Wait()
	defer close(work)

	for {
		raw, err := messages.Next()
		switch {
		case errors.Is(err, jetstream.ErrMsgIteratorClosed) && ctx.Err() != nil:
			return ctx.Err()
		case errors.Is(err, jetstream.ErrMsgIteratorClosed):
			return fmt.Errorf("take the next message: %w", lifecycle.Permanent(err)) // the connection is closed for good
		case errors.Is(err, jetstream.ErrNoHeartbeat):
			// The server is away or has a new leader, and the iterator asks again by itself. Or the consumer is
			// gone, which nobody tells a client that was disconnected then.
			c.Logger.Warn("no heartbeat of a consumer", "consumer", c.Config.Durable)
			if _, err := c.ensure(ctx); err != nil {
				c.Logger.Warn("consumer cannot be ensured", "consumer", c.Config.Durable, "error", err)
			}
			continue
		case err != nil:
			return fmt.Errorf("take the next message: %w", err)
		}
		msg, err := c.wrap(raw, held)
		if err != nil {
			return err
		}
		if msg == nil {
			continue
		}
		if ctx.Err() != nil {
			msg.Return()
			continue
		}
		select {
		case work <- msg:
		case <-ctx.Done():
			msg.Return()
		}
	}
}

// ensure creates the durable consumer, or changes it to what is configured. Where it began cannot be changed.
func (c *Consumer) ensure(ctx context.Context) (jetstream.Consumer, error) {
	ctx, cancel := context.WithTimeout(ctx, requestWait)
	defer cancel()
	config := c.Config
	if existing, err := c.JetStream.Consumer(ctx, c.Stream, config.Durable); err == nil {
		began := existing.CachedInfo().Config
		config.DeliverPolicy, config.OptStartSeq, config.OptStartTime = began.DeliverPolicy, began.OptStartSeq, began.OptStartTime
	} else if !errors.Is(err, jetstream.ErrConsumerNotFound) {
		return nil, fmt.Errorf("look the consumer up: %w", permanentIfRefused(err))
	}
	consumer, err := c.JetStream.CreateOrUpdateConsumer(ctx, c.Stream, config)
	if err != nil {
		return nil, fmt.Errorf("ensure the consumer: %w", permanentIfRefused(err))
	}
	return consumer, nil
}

// handle calls Handle. A message that makes it panic comes again after a while: one message must not end the
// process, and with it all others, time and again.
func (c *Consumer) handle(ctx context.Context, msg *Msg) {
	defer func() {
		if r := recover(); r != nil {
			c.Logger.ErrorContext(ctx, "message made its handler panic", "stream", msg.Stream, "sequence", msg.Sequence,
				"panic", fmt.Sprint(r), "stack", string(debug.Stack()))
			msg.Later(maxRedelivery)
		}
	}()
	c.Handle(ctx, msg)
}

// wrap makes a Msg, or none when this process is still working on an earlier delivery of the same message: NATS was
// away for longer than AckWait, and what is being done need not be done twice.
func (c *Consumer) wrap(raw jetstream.Msg, held *held) (*Msg, error) {
	meta, err := raw.Metadata()
	if err != nil {
		return nil, fmt.Errorf("read the metadata of a message: %w", err)
	}
	msg := &Msg{
		Msg:        raw,
		Stream:     c.Stream,
		Sequence:   meta.Sequence.Stream,
		Deliveries: meta.NumDelivered,
		Stored:     meta.Timestamp,
		latest:     raw,
		held:       held,
		logger:     c.Logger,
	}
	if !held.add(msg) {
		return nil, nil //nolint:nilnil // see above
	}
	return msg, nil
}

// Msg is a message that is being worked on. Exactly one of Done, Later and Return settles it.
type Msg struct {
	jetstream.Msg
	Stream     string
	Sequence   uint64
	Deliveries uint64    // how many times it has been given out, this time included
	Stored     time.Time // when the stream stored it

	latest jetstream.Msg // its newest delivery, which answers go to; guarded by held
	held   *held
	logger *slog.Logger
}

// ID is what a message that replaces this one carries as its Nats-Msg-Id.
func (m *Msg) ID() string { return ReplacementMsgID(m.Stream, m.Sequence) }

// Done acknowledges: the message has had its effect and is not needed any more. A delivery of it that is on its way
// is answered by the same.
func (m *Msg) Done() { m.settled(m.held.newest(m).Ack()) }

// Later gives the message back, to be given out again after the delay. Meanwhile it counts as pending.
func (m *Msg) Later(delay time.Duration) { m.settled(m.held.release(m).NakWithDelay(delay)) }

// Return gives the message back, to be given out again at once.
func (m *Msg) Return() { m.settled(m.held.release(m).Nak()) }

// Bounds of the wait before a message that failed is given out again.
const (
	minRedelivery = 100 * time.Millisecond
	maxRedelivery = 10 * time.Second
)

// Settle acknowledges when err is nil. Otherwise the message comes again after a while, whatever the failure is:
// what no repetition can mend is the caller's to record, and then is no failure any more.
func (m *Msg) Settle(err error) {
	switch {
	case err == nil:
		m.Done()
	case errors.Is(err, context.Canceled):
		m.Return()
	default:
		delay := min(minRedelivery<<min(m.Deliveries, 10), maxRedelivery)
		m.logger.Warn("message failed and will be given out again",
			"stream", m.Stream, "sequence", m.Sequence, "deliveries", m.Deliveries, "delay", delay,
			"reason", fault.From(err).Reason, "error", err)
		m.Later(delay)
	}
}

func (m *Msg) settled(err error) {
	m.held.answered(m)
	if err != nil {
		// It comes again after AckWait; every handler is safe to run twice.
		m.logger.Warn("answer to a message was lost", "stream", m.Stream, "sequence", m.Sequence, "error", err)
	}
}
