package grpcapi

import (
	"context"

	"github.com/meetwire/meetwire/pkg/audit"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
)

// WithActor returns a context in which changes are made by the caller of the API. Services act for Meetwire itself.
func WithActor(ctx context.Context) context.Context {
	actor := audit.ActorOf(ctx)
	if actor.Name == audit.System {
		return ctx
	}
	return core.WithActor(ctx, core.Actor{
		Name: actor.Name, Role: core.Role(actor.Role),
		Address: actor.Address, ForwardedFor: actor.ForwardedFor, UserAgent: actor.UserAgent,
	})
}
