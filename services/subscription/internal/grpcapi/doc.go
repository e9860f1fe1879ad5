// Package grpcapi owns the translation between the API of the subscription service and its domain: requests into
// changes, domain values into messages, lists into pages. It must not hold a rule about what is valid, and counts
// on the interceptors of pkg/rpc for access, for the limits that the protos declare and for turning faults into
// statuses.
package grpcapi
