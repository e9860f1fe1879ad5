package subscription

import (
	"context"
	"errors"
	"io"

	"github.com/meetwire/meetwire/pkg/boot"
	"github.com/meetwire/meetwire/pkg/pg"
)

// Settings is everything that the process of this service is configured with.
type Settings struct {
	Config   `embed:""`
	Database pg.Config   `embed:""`
	Common   boot.Config `embed:""`
}

// Validate reports everything that is wrong.
func (p *Settings) Validate() error { return errors.Join(p.Config.Validate(), p.Database.Validate()) }

// Main runs the service as a process of its own and returns its exit code.
func Main(args []string, stderr io.Writer) int {
	var config Settings
	return boot.Main("subscription", "Keeps organizations, API keys, triggers and webhooks.", &config, &config.Common, args, stderr,
		func(ctx context.Context, r *boot.Runtime, c *Settings) (boot.Service, error) {
			pool, err := r.Postgres(ctx, c.Database)
			if err != nil {
				return nil, err
			}
			listener, err := r.Listen(ctx, c.GRPCAddr)
			if err != nil {
				return nil, err
			}
			return New(c.Config, Deps{Logger: r.Logger, Registry: r.Registry, DB: pool, Listener: listener})
		})
}
