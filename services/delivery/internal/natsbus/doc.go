// Package natsbus is delivery's side of NATS: it turns messages into tasks and back, and publishes timers, dead
// letters and records. It decides nothing about when a delivery is tried.
package natsbus
