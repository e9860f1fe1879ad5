// Package e2e owns the tests of the whole: real processes, a real nats-server, a real Postgres, real HTTP
// receivers. It has no code of its own.
package e2e
