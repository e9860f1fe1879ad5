package natsbus

import (
	"context"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

// pull is how many messages of one consumer wait in this process: what is handed out in well under a second.
const pull = 500

// Worker gives the tasks of lanes to the engine.
type Worker struct {
	JetStream jetstream.JetStream
	Config    bus.Config
	Engine    *core.Engine
	// Came is told of every new delivery, and when its event was accepted.
	Came   func(accepted time.Time)
	Logger *slog.Logger
}

// Run works off one lane, its first tries and its retries, until the context ends.
func (w *Worker) Run(ctx context.Context, lane string) error {
	tries := w.consumer(bus.StreamDeliveries, w.Config.DeliverConsumer(lane))
	retries := w.consumer(bus.StreamRetries, w.Config.RetryConsumer(lane))
	return bus.RunAll(ctx, tries.Run, retries.Run)
}

func (w *Worker) consumer(stream string, config jetstream.ConsumerConfig) *bus.Consumer {
	return &bus.Consumer{
		JetStream: w.JetStream,
		Stream:    stream,
		Config:    config,
		Pull:      pull,
		Workers:   1, // handing a task over to its webhook's slots takes microseconds
		Handle:    w.handle,
		Logger:    w.Logger,
	}
}

func (w *Worker) handle(ctx context.Context, msg *bus.Msg) {
	work, err := bus.ParseWorkSubject(msg.Subject())
	if err == nil {
		var task *core.Task
		if task, err = decode(msg.Headers(), work.Lane, msg.Data()); err == nil {
			if msg.Stream == bus.StreamDeliveries && work.Lane == core.LaneBulk && task.RunAt.IsZero() {
				task.RunAt = msg.Stored // ingest has sent it, from the history of events
			}
			if isNew(msg, task) {
				w.Came(task.AcceptedAt)
			}
			w.Engine.Handle(ctx, task, ticket{msg})
			return
		}
	}
	// Only ingest and delivery may publish here. What somebody else put here cannot be delivered to anyone.
	w.Logger.ErrorContext(ctx, "message is no delivery and was removed",
		"stream", msg.Stream, "sequence", msg.Sequence, "subject", msg.Subject(), "error", err)
	msg.Done()
}

// isNew reports whether a delivery comes for the first time, straight from its event.
func isNew(msg *bus.Msg, task *core.Task) bool {
	return msg.Stream == bus.StreamDeliveries && msg.Deliveries == 1 && task.Lane != core.LaneBulk && task.RunAt.IsZero()
}

// ticket implements core.Ticket.
type ticket struct{ *bus.Msg }

// Deliveries implements core.Ticket.
func (t ticket) Deliveries() uint64 { return t.Msg.Deliveries }
