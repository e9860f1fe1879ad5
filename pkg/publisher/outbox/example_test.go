package outbox_test

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/meetwire/meetwire/pkg/publisher"
	"github.com/meetwire/meetwire/pkg/publisher/outbox"
)

// book books a meeting and tells of it: either both happen, or neither.
func book(ctx context.Context, pool *pgxpool.Pool, id string) error {
	return pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `INSERT INTO booking (id) VALUES ($1)`, id); err != nil {
			return err
		}
		return outbox.Write(ctx, tx, publisher.Event{ // last: it holds up others of the organization
			Organization: "acme", Trigger: "meeting.booked", Source: "/services/booking",
			ID: id + ":booked", Data: map[string]any{"id": id},
		})
	})
}

// An event is written in the transaction that it tells of. A relay publishes it, here or in another process.
func Example() {
	var (
		ctx    context.Context      // of the service
		pool   *pgxpool.Pool        // of its database
		events *publisher.Publisher // made with publisher.New
	)
	if err := outbox.DefaultTable.Migrate(ctx, pool); err != nil { // or put outbox.DefaultTable.DDL into a migration
		fmt.Println(err)
		return
	}
	relay := &outbox.Relay{Pool: pool, Publisher: events, Poll: time.Second}
	go func() {
		if err := relay.Run(ctx); err != nil { // until the context ends
			fmt.Println(err)
		}
	}()
	if err := book(ctx, pool, "b-1"); err != nil {
		fmt.Println(err)
	}
}
