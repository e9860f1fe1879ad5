// Package rpc owns how the services talk gRPC: the server with everything around a call (access, validation,
// metrics, logs, recovery from a panic, health), the client connection, API keys, and the way from a fault to a
// gRPC status and back. It decides nothing about what a method does, and it stores no keys.
//
// Every method says in its descriptor who may call it (option meetwire.access.v1.rule). A method that says
// nothing is refused, so that forgetting the rule closes a method instead of opening it.
package rpc
