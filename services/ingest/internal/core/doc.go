// Package core owns the rules of taking events in: what is a valid event, which webhooks asked for it, and what
// a delivery is called. It knows neither NATS nor gRPC.
package core
