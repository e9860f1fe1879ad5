package delivery

import (
	"context"
	"io"

	"github.com/nats-io/nats.go"

	"github.com/meetwire/meetwire/pkg/boot"
	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/pg"
	"github.com/meetwire/meetwire/pkg/rpc"
)

// Settings is everything that the process of this service is configured with.
type Settings struct {
	boot.Config    `embed:""`
	bus.NATSConfig `embed:""`
	Postgres       pg.Config `embed:""`
	Service        Config    `embed:""`
	Migrate        bool      `help:"Bring the database schema up to date at the start." default:"true" negatable:"" env:"MEETWIRE_MIGRATE"`
}

// Main runs the service as a process of its own and returns the exit code.
func Main(args []string, stderr io.Writer) int {
	var settings Settings
	return boot.Main("delivery", "Sends events to webhooks, retries, and remembers.",
		&settings, &settings.Config, args, stderr, build)
}

// garbage is for three seconds' deliveries, of which each makes about 28 KB of it, on a core or two: a collection, which takes
// 50 ms, makes everything late that is sent meanwhile.
const garbage = 384 << 20

func build(ctx context.Context, runtime *boot.Runtime, settings *Settings) (boot.Service, error) {
	runtime.AllowGarbage(garbage)
	pool, err := runtime.Postgres(ctx, settings.Postgres)
	if err != nil {
		return nil, err
	}
	if settings.Migrate {
		if err := Migrate(ctx, pool); err != nil {
			return nil, err
		}
	}
	conn, err := runtime.NATS(ctx, settings.NATSConfig, bus.Gather())
	if err != nil {
		return nil, err
	}
	scans, err := runtime.NATS(ctx, settings.NATSConfig, nats.Name("meetwire-delivery-scans"))
	if err != nil {
		return nil, err
	}
	listener, err := runtime.Listen(ctx, settings.Service.GRPCAddr)
	if err != nil {
		return nil, err
	}
	subscription, err := rpc.Dial(settings.Service.SubscriptionAddr, rpc.WithServiceToken(settings.Service.ServiceToken))
	if err != nil {
		return nil, err
	}
	runtime.Defer("subscription connection", func(context.Context) error { return subscription.Close() })
	return New(settings.Service, Deps{
		Logger:       runtime.Logger,
		Registry:     runtime.Registry,
		DB:           pool,
		NATS:         conn,
		Scans:        scans,
		Listener:     listener,
		Subscription: subscription,
		Grace:        settings.ShutdownGrace,
	})
}
