// Package core owns the rules of delivering: what happens to a delivery after each attempt, when it is tried
// again, how many attempts one webhook may take up at once, and when it is given up. It knows neither NATS nor
// HTTP nor Postgres; what it needs of them are the interfaces in ports.go.
package core
