// Package publisher lets services publish what happened as CloudEvents 1.0 documents to Meetwire's stream of
// events, and know that they arrived: it is for services that have a NATS connection of their own. It builds and
// checks the document, gives it the message id that makes repeating harmless, and repeats until the stream has
// acknowledged it. It must not create streams, keep events of its own, or know of webhooks.
//
// # Identity
//
// An event is identified by its organization, Source and ID. Publishing the same event again within two minutes
// is recognized and changes nothing (Ack.Duplicate). So that a publish can be repeated after a crash or an error,
// the ID must be the same in the repetition: take it from what happened, such as the id of the row in your
// outbox, and not from the moment of publishing. An Event without an ID gets a new one at each call of Publish,
// which is only good for events whose loss or doubling nobody minds.
//
// # Reliability
//
// Publish returns nil only after the stream has stored the event. From then on it is delivered or dead-lettered
// for every webhook that matches it. The stream does not look into the event: if the trigger is unknown or the
// data does not satisfy the trigger's JSON Schema, the event is kept among the rejects instead.
//
// # Ways to publish
//
// Publish waits for each event. PublishAsync holds a bounded number of events in flight and tells the outcome of each
// by a Future; PublishAll publishes a batch. The package outbox publishes what was committed in a database together
// with what it tells of, exactly in order. All send what passes again while NATS fails over, under the same message
// id, so that nothing is lost and nothing stored twice.
package publisher
