// Package up owns `meetwire up`: it starts NATS, Postgres and the four services in one process, all on loopback,
// and stops them in order. The services are the same as in their own processes.
package up

import (
	"time"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/secret"
	"github.com/meetwire/meetwire/pkg/telemetry"
)

// Config is the command line of `meetwire up`.
type Config struct {
	Demo        bool          `help:"Also run a receiver and show some deliveries."`
	DataDir     string        `help:"Folder that everything is kept in." default:".meetwire" type:"path" env:"MEETWIRE_DATA_DIR"`
	HTTPAddr    string        `help:"Address to serve REST on; when its port is taken, a free one." name:"http-addr" default:"127.0.0.1:8080" env:"MEETWIRE_HTTP_ADDR"`
	NATSPort    int           `help:"Port of the embedded NATS; when it is taken, a free one." name:"nats-port" default:"4222" env:"MEETWIRE_NATS_PORT"`
	NATSURL     secret.String `help:"Use this NATS instead of an embedded one." name:"nats-url" env:"MEETWIRE_NATS_URL"`
	Secure      bool          `help:"Have users in the embedded NATS: each service, and each publisher, may do what it needs and nothing else. Their passwords are kept in the data folder."`
	Publisher   []string      `help:"With --secure: organization that gets a NATS user of its own, publisher-ORGANIZATION, for its events; can be given several times." placeholder:"ORGANIZATION" sep:"none"`
	DatabaseURL secret.String `help:"Use this Postgres instead of a private one." env:"MEETWIRE_DATABASE_URL"`
	OperatorKey secret.String `help:"Use this operator's API key instead of one made for this run." env:"MEETWIRE_OPERATOR_KEY"`
	Streams     bus.Config    `embed:""`

	LogLevel  string `help:"Least severe level that is logged: debug, info, warn or error." default:"warn" env:"MEETWIRE_LOG_LEVEL"`
	LogFormat string `help:"Format of logs: json or text." default:"text" env:"MEETWIRE_LOG_FORMAT"`
}

func (c Config) log() telemetry.LogConfig {
	return telemetry.LogConfig{LogLevel: c.LogLevel, LogFormat: c.LogFormat}
}

// grace is how long a stop may take: the services within it, NATS and Postgres in what is left of 10 s.
const grace = 6 * time.Second
