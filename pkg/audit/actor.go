package audit

import (
	"context"
	"net"
	"strings"

	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/meetwire/meetwire/pkg/rpc"
	accessv1 "github.com/meetwire/meetwire/proto/gen/meetwire/access/v1"
)

// maxText is the greatest number of characters that are kept of what a caller says of itself.
const maxText = 256

// System is the name of the actor of what Meetwire does by itself.
const System = "system"

// Actor is who does something.
type Actor struct {
	Name         string // apiKeys/{id within the key}, or System
	Role         accessv1.Role
	Address      string // from which the call came; empty for Meetwire itself
	ForwardedFor string // what a proxy said of whom it forwarded the call for
	UserAgent    string
}

// ActorOf returns who makes the call that a context belongs to. Services act for Meetwire itself.
func ActorOf(ctx context.Context) Actor {
	caller, ok := rpc.CallerFrom(ctx)
	if !ok || caller.KeyID == "" {
		return Actor{Name: System}
	}
	actor := Actor{
		Name: "apiKeys/" + caller.KeyID, Role: caller.Role,
		ForwardedFor: said(ctx, "x-forwarded-for"), UserAgent: said(ctx, "grpcgateway-user-agent", "user-agent"),
	}
	if from, ok := peer.FromContext(ctx); ok {
		actor.Address = from.Addr.String()
		if host, _, err := net.SplitHostPort(actor.Address); err == nil {
			actor.Address = host
		}
	}
	return actor
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
		return text[:min(len(text), maxText)]
	}
	return ""
}
