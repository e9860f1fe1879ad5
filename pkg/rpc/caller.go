package rpc

import (
	"context"

	accessv1 "github.com/meetwire/meetwire/proto/gen/meetwire/access/v1"
)

// Caller is who makes a call.
type Caller struct {
	// KeyID is the id of the API key; empty for a service.
	KeyID string
	// Role is what the caller may do.
	Role accessv1.Role
	// Organization is the slug of the caller's organization; empty for operators and services.
	Organization string
}

type callerKey struct{}

// CallerFrom returns who makes the call that the context belongs to. It reports false outside a call, and in
// the methods that need no credential.
func CallerFrom(ctx context.Context) (Caller, bool) {
	caller, ok := ctx.Value(callerKey{}).(Caller)
	return caller, ok
}

func withCaller(ctx context.Context, caller Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, caller)
}
