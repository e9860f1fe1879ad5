// Package core owns what the subscription service knows about organizations, API keys, triggers and webhooks:
// their shapes, their rules and their defaults, and the steps by which a webhook is made and changed. It knows
// neither gRPC nor Postgres, and must not: what it needs of them it says in interfaces of its own.
package core
