package gateway

import "errors"

// Config is what an installation decides about the gateway.
type Config struct {
	HTTPAddr         string `help:"Address to serve REST on." name:"http-addr" default:"127.0.0.1:8080" env:"MEETWIRE_HTTP_ADDR"`
	SubscriptionAddr string `help:"Address of subscription's gRPC." default:"127.0.0.1:9001" env:"MEETWIRE_SUBSCRIPTION_ADDR"`
	IngestAddr       string `help:"Address of ingest's gRPC." default:"127.0.0.1:9002" env:"MEETWIRE_INGEST_ADDR"`
	DeliveryAddr     string `help:"Address of delivery's gRPC." default:"127.0.0.1:9003" env:"MEETWIRE_DELIVERY_ADDR"`
}

// Validate reports everything that is wrong.
func (c *Config) Validate() error {
	var all []error
	for _, address := range []struct{ name, value string }{
		{"http-addr (MEETWIRE_HTTP_ADDR)", c.HTTPAddr},
		{"subscription-addr (MEETWIRE_SUBSCRIPTION_ADDR)", c.SubscriptionAddr},
		{"ingest-addr (MEETWIRE_INGEST_ADDR)", c.IngestAddr},
		{"delivery-addr (MEETWIRE_DELIVERY_ADDR)", c.DeliveryAddr},
	} {
		if address.value == "" {
			all = append(all, errors.New(address.name+": is required"))
		}
	}
	return errors.Join(all...)
}
