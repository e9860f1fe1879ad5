package gateway

import (
	"context"
	"io"

	"google.golang.org/grpc"

	"github.com/meetwire/meetwire/pkg/boot"
	"github.com/meetwire/meetwire/pkg/rpc"
)

// Settings is everything that the process of this service is configured with.
type Settings struct {
	boot.Config `embed:""`
	Service     Config `embed:""`
}

// Main runs the service as a process of its own and returns the exit code.
func Main(args []string, stderr io.Writer) int {
	var settings Settings
	return boot.Main("gateway", "Serves the REST interface.", &settings, &settings.Config, args, stderr, build)
}

func build(ctx context.Context, runtime *boot.Runtime, settings *Settings) (boot.Service, error) {
	deps := Deps{Logger: runtime.Logger}
	for _, backend := range []struct {
		name, address string
		conn          **grpc.ClientConn
	}{
		{"subscription", settings.Service.SubscriptionAddr, &deps.Subscription},
		{"ingest", settings.Service.IngestAddr, &deps.Ingest},
		{"delivery", settings.Service.DeliveryAddr, &deps.Delivery},
	} {
		conn, err := rpc.Dial(backend.address)
		if err != nil {
			return nil, err
		}
		runtime.Defer(backend.name+" connection", func(context.Context) error { return conn.Close() })
		*backend.conn = conn
	}
	var err error
	if deps.Listener, err = runtime.Listen(ctx, settings.Service.HTTPAddr); err != nil {
		return nil, err
	}
	return New(ctx, settings.Service, deps)
}
