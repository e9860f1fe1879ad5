// Package bus owns the names and shapes of everything on NATS: streams, subjects, headers, durable consumers,
// message ids. It declares each of them once and builds them by functions, so that no other package
// concatenates a subject. It also holds the two things that every service does with them: a consumer loop that
// maps the outcome of a message to ack, nak or term, and a publisher that waits for the stream's
// acknowledgement. It knows nothing of webhooks, HTTP or Postgres.
package bus
