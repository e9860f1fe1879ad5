package delivery

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/configfeed"
	"github.com/meetwire/meetwire/pkg/rpc"
	"github.com/meetwire/meetwire/pkg/seal"
	"github.com/meetwire/meetwire/pkg/secret"
)

// Config is what an installation decides about delivery.
type Config struct {
	GRPCAddr         string         `help:"Address to serve gRPC on." name:"grpc-addr" default:"127.0.0.1:9003" env:"MEETWIRE_GRPC_ADDR"`
	SubscriptionAddr string         `help:"Address of subscription's gRPC." default:"127.0.0.1:9001" env:"MEETWIRE_SUBSCRIPTION_ADDR"`
	ServiceToken     secret.String  `help:"Token that services know each other by; at least 32 characters." env:"MEETWIRE_SERVICE_TOKEN"`
	Keyset           secret.String  `help:"Keyset that webhook secrets are encrypted with." env:"MEETWIRE_KEYSET"`
	AllowedTargets   []netip.Prefix `help:"Prefixes of addresses, beside public ones, that webhooks may point to." env:"MEETWIRE_ALLOWED_TARGETS"`
	Concurrency      int            `help:"Greatest number of attempts that one webhook takes up at once, per process, whatever it is configured with; 1 to 1000." default:"1000" env:"MEETWIRE_CONCURRENCY"`
	Retention        time.Duration  `help:"How long deliveries are listed after their event was stored." default:"720h" env:"MEETWIRE_RETENTION"`
	MaxConfigAge     time.Duration  `help:"How long API keys are trusted without a sign of life from subscription." default:"60s" env:"MEETWIRE_MAX_CONFIG_AGE"`
	Streams          bus.Config     `embed:""`
}

// Validate reports everything that is wrong. No error shows a secret.
func (c *Config) Validate() error {
	var all []error
	all = append(all, rpc.CheckServiceToken(c.ServiceToken))
	if c.Keyset.IsZero() {
		all = append(all, errors.New("keyset (MEETWIRE_KEYSET): is required"))
	} else if _, err := seal.New(c.Keyset); err != nil {
		all = append(all, fmt.Errorf("keyset (MEETWIRE_KEYSET): %w", err))
	}
	if c.Concurrency < 1 || c.Concurrency > 1000 {
		all = append(all, errors.New("concurrency (MEETWIRE_CONCURRENCY): must be from 1 to 1000"))
	}
	if c.Retention < 24*time.Hour {
		all = append(all, errors.New("retention (MEETWIRE_RETENTION): must be at least 24h"))
	}
	all = append(all, configfeed.CheckMaxAge(c.MaxConfigAge), c.Streams.Validate())
	return errors.Join(all...)
}
