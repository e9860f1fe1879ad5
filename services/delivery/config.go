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
	"github.com/meetwire/meetwire/services/delivery/internal/sender"
)

// Config is what an installation decides about delivery.
type Config struct {
	GRPCAddr         string         `help:"Address to serve gRPC on." name:"grpc-addr" default:"127.0.0.1:9003" env:"MEETWIRE_GRPC_ADDR"`
	SubscriptionAddr string         `help:"Address of subscription's gRPC." default:"127.0.0.1:9001" env:"MEETWIRE_SUBSCRIPTION_ADDR"`
	ServiceToken     secret.String  `help:"Token that services know each other by; at least 32 characters." env:"MEETWIRE_SERVICE_TOKEN"`
	Keyset           secret.String  `help:"Keyset that webhook secrets are encrypted with." env:"MEETWIRE_KEYSET"`
	AllowedTargets   []netip.Prefix `help:"Prefixes of addresses, beside public ones, that webhooks may point to." env:"MEETWIRE_ALLOWED_TARGETS"`
	EgressProxy      secret.String  `help:"URL of the proxy that receivers are called through: http://, https:// or socks5://, with a user and a password if it wants them. None when empty." env:"MEETWIRE_EGRESS_PROXY"`
	ProxyResolves    bool           `help:"Leave it to the egress proxy to resolve the names of receivers. The addresses that they stand for are then not checked." name:"egress-proxy-resolves" env:"MEETWIRE_EGRESS_PROXY_RESOLVES"`
	ExtraCA          string         `help:"PEM file with certificate authorities that receivers' certificates may be from, beside those of the system." env:"MEETWIRE_EXTRA_CA"`
	Concurrency      int            `help:"Greatest number of attempts that one webhook takes up at once, per process, whatever it is configured with; 1 to 1000." default:"1000" env:"MEETWIRE_CONCURRENCY"`
	MaxAttempts      int            `help:"Greatest number of attempts, of all webhooks together, that are under way at once, per process; 16 to 65536. Webhooks whose last attempt timed out share at most half of them." default:"4096" env:"MEETWIRE_MAX_ATTEMPTS"`
	Retention        time.Duration  `help:"How long deliveries are listed after their event was stored." default:"720h" env:"MEETWIRE_RETENTION"`
	PayloadRetention time.Duration  `help:"How long requests and answers of attempts are kept after their event was stored, if the deliveries are listed for so long." default:"720h" env:"MEETWIRE_PAYLOAD_RETENTION"`
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
	if _, err := c.sender(); err != nil {
		all = append(all, err)
	}
	if c.Concurrency < 1 || c.Concurrency > 1000 {
		all = append(all, errors.New("concurrency (MEETWIRE_CONCURRENCY): must be from 1 to 1000"))
	}
	if c.MaxAttempts < 16 || c.MaxAttempts > 65536 {
		all = append(all, errors.New("max-attempts (MEETWIRE_MAX_ATTEMPTS): must be from 16 to 65536"))
	}
	if c.Retention < 24*time.Hour {
		all = append(all, errors.New("retention (MEETWIRE_RETENTION): must be at least 24h"))
	}
	if c.PayloadRetention < time.Hour {
		all = append(all, errors.New("payload-retention (MEETWIRE_PAYLOAD_RETENTION): must be at least 1h"))
	}
	all = append(all, configfeed.CheckMaxAge(c.MaxConfigAge), c.Streams.Validate())
	return errors.Join(all...)
}

// sender is what the sender is made with. It reports all that is wrong with what belongs to it.
func (c *Config) sender() (sender.Config, error) {
	config := sender.Config{Allowed: c.AllowedTargets, PerHost: c.Concurrency, ProxyResolves: c.ProxyResolves, Now: time.Now, NewID: newID}
	var all []error
	if c.ExtraCA != "" {
		roots, err := sender.Roots(c.ExtraCA)
		if err != nil {
			all = append(all, fmt.Errorf("extra-ca (MEETWIRE_EXTRA_CA): %w", err))
		}
		config.Roots = roots
	}
	switch {
	case !c.EgressProxy.IsZero():
		proxy, err := sender.ParseProxy(c.EgressProxy, config.Roots)
		if err != nil {
			all = append(all, fmt.Errorf("egress-proxy (MEETWIRE_EGRESS_PROXY): %w", err))
		}
		config.Proxy = proxy
	case c.ProxyResolves:
		all = append(all, errors.New("egress-proxy-resolves (MEETWIRE_EGRESS_PROXY_RESOLVES): needs egress-proxy (MEETWIRE_EGRESS_PROXY)"))
	}
	return config, errors.Join(all...)
}
