package ingest

import (
	"errors"
	"time"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/configfeed"
	"github.com/meetwire/meetwire/pkg/rpc"
	"github.com/meetwire/meetwire/pkg/secret"
)

// Config is what an installation decides about ingest.
type Config struct {
	GRPCAddr         string        `help:"Address to serve gRPC on." name:"grpc-addr" default:"127.0.0.1:9002" env:"MEETWIRE_GRPC_ADDR"`
	SubscriptionAddr string        `help:"Address of subscription's gRPC." default:"127.0.0.1:9001" env:"MEETWIRE_SUBSCRIPTION_ADDR"`
	DeliveryAddr     string        `help:"Address of delivery's gRPC." default:"127.0.0.1:9003" env:"MEETWIRE_DELIVERY_ADDR"`
	ServiceToken     secret.String `help:"Token that services know each other by; at least 32 characters." env:"MEETWIRE_SERVICE_TOKEN"`
	MaxConfigAge     time.Duration `help:"How long API keys are trusted without a sign of life from subscription." default:"60s" env:"MEETWIRE_MAX_CONFIG_AGE"`
	Streams          bus.Config    `embed:""`
}

// Validate reports everything that is wrong.
func (c *Config) Validate() error {
	var all []error
	all = append(all, rpc.CheckServiceToken(c.ServiceToken))
	all = append(all, configfeed.CheckMaxAge(c.MaxConfigAge), c.Streams.Validate())
	return errors.Join(all...)
}
