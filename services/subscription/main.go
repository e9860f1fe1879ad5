package subscription

import (
	"context"
	"errors"
	"io"

	"google.golang.org/grpc"

	"github.com/meetwire/meetwire/pkg/boot"
	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/pg"
	"github.com/meetwire/meetwire/pkg/rpc"
)

// Settings is everything that the process of this service is configured with.
type Settings struct {
	Config   `embed:""`
	Database pg.Config      `embed:""`
	NATS     bus.NATSConfig `embed:""`
	Common   boot.Config    `embed:""`
}

// Validate reports everything that is wrong.
func (p *Settings) Validate() error { return errors.Join(p.Config.Validate(), p.Database.Validate()) }

// Main runs the service as a process of its own and returns its exit code.
func Main(args []string, stderr io.Writer) int {
	var config Settings
	return boot.Main("subscription", "Keeps organizations, API keys, triggers and webhooks.", &config, &config.Common, args, stderr, build)
}

func build(ctx context.Context, r *boot.Runtime, c *Settings) (boot.Service, error) {
	pool, err := r.Postgres(ctx, c.Database)
	if err != nil {
		return nil, err
	}
	conn, err := r.NATS(ctx, c.NATS)
	if err != nil {
		return nil, err
	}
	deps := Deps{Logger: r.Logger, Registry: r.Registry, DB: pool, NATS: conn}
	for _, peer := range []struct {
		name, address string
		conn          *grpc.ClientConnInterface
	}{
		{"ingest", c.IngestAddr, &deps.Ingest},
		{"delivery", c.DeliveryAddr, &deps.Delivery},
	} {
		conn, err := rpc.Dial(peer.address, rpc.WithServiceToken(c.ServiceToken))
		if err != nil {
			return nil, err
		}
		r.Defer(peer.name+" connection", func(context.Context) error { return conn.Close() })
		*peer.conn = conn
	}
	if deps.Listener, err = r.Listen(ctx, c.GRPCAddr); err != nil {
		return nil, err
	}
	return New(c.Config, deps)
}
