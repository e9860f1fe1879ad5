// Package outbox publishes events exactly when the transactions that they tell of are committed: Write puts an event
// into a table in the caller's own transaction, and a Relay publishes what the table has to Meetwire. An event of a
// transaction that was rolled back is never published, and that of one that was committed always is, whatever dies
// in between. It owns that one table, and must touch nothing else in the caller's database.
//
// # Order
//
// The events of one organization are published exactly in the order in which their transactions were committed, and
// within a transaction in the order of the calls of Write. To that end Write takes a lock of the organization, which
// Postgres holds until the transaction ends: transactions that write events of one organization wait for each other
// from there. Call Write last, and keep what follows short. (A sequence alone is not the order of commits: of two
// transactions, the one that took its number first may commit last, and a relay that has gone past it would not see
// it. Waiting until no older transaction runs is no remedy either: a transaction that began earlier may have seen what
// a later one has done.) The events of different organizations have no order among each other.
//
// A transaction that writes events of several organizations, or that locks rows of its own in another order than
// others do, can end up waiting for one that waits for it. Postgres ends one of the two with the SQLSTATE 40P01, as
// with any locks, and it can be tried again.
//
// # Repetitions
//
// An event is published at least once: a relay that dies between the acknowledgement and the deletion of the row, and
// the one that takes its place, both publish it. Its identity is in the row, so that the stream recognizes it within
// two minutes, and receivers by its webhook-id for ever.
//
// # What cannot be published
//
// Write refuses what Meetwire would refuse, so that the error comes while the transaction can still be rolled back.
// What the stream refuses nevertheless for good, such as an event that is larger than the stream takes, is parked: its
// row stays, with parked_at and error set, a line of the level error is logged, and the events after it go on. To try
// it again, set parked_at to NULL. What may pass is waited for: that NATS is away, has no room, or does not allow the
// relay's user to publish for the organization. Nothing is published for that organization then, so that the order
// holds; others are not held up.
package outbox
