package grpcapi

import (
	"context"
	"net"
	"strings"

	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/meetwire/meetwire/pkg/rpc"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
)

// maxActorText is the greatest number of characters that are kept of what a caller says of itself.
const maxActorText = 256

// WithActor returns a context in which changes are made by the caller of the API. Services act for Meetwire itself.
func WithActor(ctx context.Context) context.Context {
	caller, ok := rpc.CallerFrom(ctx)
	if !ok || caller.KeyID == "" {
		return ctx
	}
	actor := core.Actor{
		Name: "apiKeys/" + caller.KeyID, Role: core.Role(caller.Role),
		ForwardedFor: said(ctx, "x-forwarded-for"), UserAgent: said(ctx, "grpcgateway-user-agent", "user-agent"),
	}
	if from, ok := peer.FromContext(ctx); ok {
		actor.Address = from.Addr.String()
		if host, _, err := net.SplitHostPort(actor.Address); err == nil {
			actor.Address = host
		}
	}
	return core.WithActor(ctx, actor)
}

// said returns the first of these metadata that the caller has sent, as text that can be stored and shown.
func said(ctx context.Context, names ...string) string {
	for _, name := range names {
		values := metadata.ValueFromIncomingContext(ctx, name)
		if len(values) == 0 {
			continue
		}
		text := strings.Map(func(r rune) rune {
			if r < ' ' || r > '~' {
				return '?'
			}
			return r
		}, strings.Join(values, ", "))
		return text[:min(len(text), maxActorText)]
	}
	return ""
}
