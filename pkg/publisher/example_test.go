package publisher_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/publisher"
)

// Publishing an event, and publishing it again because the first answer was lost.
func ExamplePublisher_Publish() {
	url, stop := startNATS() // in a service: the URL from its configuration
	defer stop()

	conn, err := nats.Connect(url, nats.MaxReconnects(-1), nats.ReconnectBufSize(-1))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		fmt.Println(err)
		return
	}
	events, err := publisher.New(js, publisher.WithSource("/services/booking"))
	if err != nil {
		fmt.Println(err)
		return
	}

	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	event := publisher.Event{
		Organization: "acme",
		Trigger:      "meeting.booked",
		ID:           "booking-4711:booked", // from what happened: the same in every repetition
		Subject:      "booking-4711",
		Time:         time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC),
		Data:         map[string]any{"meeting": map[string]any{"id": "booking-4711"}},
		Extensions: map[string]string{
			publisher.ExtensionTeams:     "sales,support",
			publisher.ExtensionEventType: "intro-call",
		},
	}
	for range 2 {
		ack, err := events.Publish(ctx, event)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println("sequence", ack.Sequence, "duplicate", ack.Duplicate)
	}
	// Output:
	// sequence 1 duplicate false
	// sequence 1 duplicate true
}

// Publishing many events without waiting for each, and a batch.
func ExamplePublisher_PublishAsync() {
	url, stop := startNATS()
	defer stop()

	conn, err := nats.Connect(url, nats.MaxReconnects(-1), nats.ReconnectBufSize(-1))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		fmt.Println(err)
		return
	}
	events, err := publisher.New(js, publisher.WithSource("/services/booking"), publisher.WithMaxInFlight(100))
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()

	var futures []*publisher.Future
	for _, id := range []string{"b-1", "b-2", "b-3"} {
		future, err := events.PublishAsync(ctx, publisher.Event{
			Organization: "acme", Trigger: "meeting.booked", ID: id + ":booked", Data: map[string]any{"id": id},
		})
		if err != nil {
			fmt.Println(err)
			return
		}
		futures = append(futures, future)
	}
	for _, future := range futures {
		ack, err := future.Result(ctx)
		fmt.Println(future.ID, ack.Sequence, err)
	}

	batch := []publisher.Event{
		{Organization: "acme", Trigger: "meeting.booked", ID: "b-3:booked", Data: 3},
		{Organization: "acme", Trigger: "meeting", ID: "b-4:booked", Data: 4},
	}
	for _, result := range events.PublishAll(ctx, batch) {
		fmt.Println(result.Ack.Sequence, result.Ack.Duplicate, result.Err)
	}
	fmt.Println(events.Close(ctx))
	// Output:
	// b-1:booked 1 <nil>
	// b-2:booked 2 <nil>
	// b-3:booked 3 <nil>
	// 3 true <nil>
	// 0 false invalid event: type must be two to four tokens of [a-z][a-z0-9_]*, separated by dots, at most 128 characters
	// <nil>
}

// What can go wrong: the event itself, or the way to the stream.
func ExampleUnacknowledgedError() {
	url, stop := startNATS()
	conn, err := nats.Connect(url, nats.MaxReconnects(-1), nats.ReconnectBufSize(-1),
		nats.DisconnectErrHandler(func(*nats.Conn, error) {}))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		fmt.Println(err)
		return
	}
	events, err := publisher.New(js, publisher.WithSource("/services/booking"))
	if err != nil {
		fmt.Println(err)
		return
	}
	stop() // NATS goes away

	publish := func(event publisher.Event) {
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		_, err := events.Publish(ctx, event)

		var field *publisher.FieldError
		var unacknowledged *publisher.UnacknowledgedError
		switch {
		case errors.As(err, &field):
			fmt.Println("a mistake of ours:", field)
		case errors.As(err, &unacknowledged):
			fmt.Println("publish again later, with id", unacknowledged.ID)
		default:
			fmt.Println(err)
		}
	}
	publish(publisher.Event{Organization: "acme", Trigger: "meeting", ID: "1", Data: 1})
	publish(publisher.Event{Organization: "acme", Trigger: "meeting.booked", ID: "booking-4711:booked", Data: 1})
	// Output:
	// a mistake of ours: invalid event: type must be two to four tokens of [a-z][a-z0-9_]*, separated by dots, at most 128 characters
	// publish again later, with id booking-4711:booked
}

// startNATS starts a server with a stream of events in this process.
func startNATS() (url string, stop func()) {
	dir, err := os.MkdirTemp("", "publisher-example-")
	if err != nil {
		panic(err)
	}
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: dir, NoSigs: true, NoLog: true,
	})
	if err != nil {
		panic(err)
	}
	s.Start()
	if !s.ReadyForConnections(time.Minute) {
		panic("the nats-server does not accept connections")
	}
	conn, err := nats.Connect(s.ClientURL())
	if err != nil {
		panic(err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		panic(err)
	}
	if _, err := js.CreateStream(context.Background(), jetstream.StreamConfig{
		Name: bus.StreamEvents, Subjects: []string{bus.EventsFilter()},
	}); err != nil {
		panic(err)
	}
	return s.ClientURL(), func() {
		s.Shutdown()
		s.WaitForShutdown()
		if err := os.RemoveAll(dir); err != nil {
			panic(err)
		}
	}
}
