package up

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/nats-io/nats.go"
	"google.golang.org/grpc"

	"github.com/meetwire/meetwire/pkg/boot"
	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/lifecycle"
	"github.com/meetwire/meetwire/pkg/pg"
	"github.com/meetwire/meetwire/pkg/rpc"
	"github.com/meetwire/meetwire/pkg/secret"
	"github.com/meetwire/meetwire/pkg/telemetry"
	"github.com/meetwire/meetwire/services/delivery"
	"github.com/meetwire/meetwire/services/gateway"
	"github.com/meetwire/meetwire/services/ingest"
	"github.com/meetwire/meetwire/services/meetwire/internal/demo"
	"github.com/meetwire/meetwire/services/subscription"
)

// service is what all four are.
type service interface {
	Run(ctx context.Context) error
	Ready(ctx context.Context) error
}

// Run runs everything until the context ends, and tells on stdout where it is.
func Run(ctx context.Context, config Config, stdout, stderr io.Writer) (err error) {
	logger, err := telemetry.NewLogger(stderr, config.log())
	if err != nil {
		return err
	}
	var closers closers
	defer func() { err = errors.Join(err, closers.close(context.WithoutCancel(ctx), logger)) }()

	folder, err := openFolder(config.DataDir)
	if err != nil {
		return err
	}
	closers.add("data folder", func(context.Context) error { return folder.unlock() })
	s, err := start(ctx, config, folder, logger, &closers)
	if err != nil {
		return err
	}
	group := lifecycle.NewGroup(logger, grace)
	for _, part := range s.parts {
		group.Add(part.name, part.service.Run)
	}
	group.Add("ops", s.serveOps)
	group.Add("front", func(ctx context.Context) error { return s.front(ctx, config, logger, stdout) })
	err = group.Run(ctx)
	if err == nil {
		_, err = fmt.Fprintln(stdout, "\nStopped. Everything is kept in", config.DataDir)
	}
	return err
}

// stack is what was started.
type stack struct {
	addresses demo.Addresses
	key       secret.String
	ops       string
	postgres  string
	nats      *natsAccess
	parts     []part
	api       *demo.API

	opsHandler  http.Handler
	opsListener net.Listener
	publishTo   bus.NATSConfig
}

type part struct {
	name    string
	service service
}

// start opens what the services need and makes them, in the order in which they must run.
func start(ctx context.Context, config Config, folder *folder, logger *slog.Logger, closers *closers) (*stack, error) {
	s := &stack{}
	databaseURL, where, err := openPostgres(ctx, config, folder, logger, closers)
	if err != nil {
		return nil, err
	}
	s.postgres = where
	access, err := openNATS(config, folder, logger, closers)
	if err != nil {
		return nil, err
	}
	s.nats, s.addresses.NATS, s.addresses.NATSUser = access, display(access.url), access.publisherFlags()
	credentials, err := makeCredentials(config, folder)
	if err != nil {
		return nil, err
	}
	if config.OperatorKey.IsZero() {
		s.key = credentials.operatorKey // else it is the user's own, whom nobody needs to tell
	}

	listeners, err := listen(config.HTTPAddr, closers)
	if err != nil {
		return nil, err
	}
	s.addresses.REST = "http://" + listeners.gateway.Addr().String()
	s.addresses.Subscription = listeners.subscription.Addr().String()
	s.addresses.Ingest = listeners.ingest.Addr().String()
	s.addresses.Delivery = listeners.delivery.Addr().String()
	s.ops = listeners.ops.Addr().String()
	if err := s.services(ctx, config, databaseURL, credentials, listeners, logger, closers); err != nil {
		return nil, err
	}
	return s, nil
}

// services makes the four services as their own processes would, with connections of their own.
func (s *stack) services(ctx context.Context, config Config, databaseURL secret.String, credentials credentials, listeners *listeners, logger *slog.Logger, closers *closers) error {
	registry := telemetry.NewRegistry()
	pool, err := pg.Open(ctx, pg.Config{DatabaseURL: databaseURL, MaxConns: 20})
	if err != nil {
		return err
	}
	closers.add("database pool", func(context.Context) error { pool.Close(); return nil })
	for _, migrate := range []func() error{
		func() error { return subscription.Migrate(ctx, pool) },
		func() error { return ingest.Migrate(ctx, pool) },
		func() error { return delivery.Migrate(ctx, pool) },
	} {
		if err := migrate(); err != nil {
			return err
		}
	}
	var subscriptionNATS, ingestNATS, deliveryNATS, deliveryScans *nats.Conn
	for _, c := range []struct {
		user    string
		conn    **nats.Conn
		options []nats.Option
	}{
		{bus.UserSubscription, &subscriptionNATS, nil},
		{bus.UserIngest, &ingestNATS, nil},
		{bus.UserDelivery, &deliveryNATS, []nats.Option{bus.Gather()}},
		{bus.UserDelivery, &deliveryScans, []nats.Option{nats.Name("meetwire delivery scans")}},
	} {
		config, err := s.nats.as(c.user)
		if err != nil {
			return err
		}
		conn, err := bus.Connect(ctx, "meetwire "+c.user, config, logger, c.options...)
		if err != nil {
			return err
		}
		closers.add(c.user+"'s NATS connection", func(context.Context) error { conn.Close(); return nil })
		*c.conn = conn
	}

	token := rpc.WithServiceToken(credentials.serviceToken)
	dial := func(address string, options ...rpc.Option) (*grpc.ClientConn, error) {
		conn, err := rpc.Dial(address, options...)
		if err == nil {
			closers.add("connection to "+address, func(context.Context) error { return conn.Close() })
		}
		return conn, err
	}
	subscriptionConn, err := dial(s.addresses.Subscription, token)
	if err != nil {
		return err
	}
	ingestConn, err := dial(s.addresses.Ingest, token)
	if err != nil {
		return err
	}
	deliveryConn, err := dial(s.addresses.Delivery, token)
	if err != nil {
		return err
	}
	ports := make([]*grpc.ClientConn, 0, 3)
	for _, address := range []string{s.addresses.Subscription, s.addresses.Ingest, s.addresses.Delivery} {
		conn, err := dial(address)
		if err != nil {
			return err
		}
		ports = append(ports, conn)
	}

	subscriptionService, err := subscription.New(subscription.Config{
		ServiceToken: credentials.serviceToken, OperatorKey: credentials.operatorKey, Keyset: credentials.keyset,
		FeedRetention: feedRetention, AllowedTargets: loopback(),
	}, subscription.Deps{
		Logger: logger, Registry: registryFor(registry, "subscription"), DB: pool, Listener: listeners.subscription,
		NATS: subscriptionNATS, Ingest: ingestConn, Delivery: deliveryConn,
	})
	if err != nil {
		return err
	}
	ingestService, err := ingest.New(ingest.Config{
		ServiceToken: credentials.serviceToken, MaxConfigAge: time.Minute, Streams: config.Streams,
	}, ingest.Deps{
		Logger: logger, Registry: registryFor(registry, "ingest"), DB: pool, NATS: ingestNATS,
		Listener: listeners.ingest, Subscription: subscriptionConn, Delivery: deliveryConn, Grace: grace,
	})
	if err != nil {
		return err
	}
	deliveryService, err := delivery.New(delivery.Config{
		ServiceToken: credentials.serviceToken, Keyset: credentials.keyset, AllowedTargets: loopback(),
		Concurrency: 1000, MaxAttempts: 4096, Retention: 30 * 24 * time.Hour, PayloadRetention: 30 * 24 * time.Hour, MaxConfigAge: time.Minute, Streams: config.Streams,
	}, delivery.Deps{
		Logger: logger, Registry: registryFor(registry, "delivery"), DB: pool, NATS: deliveryNATS, Scans: deliveryScans,
		Listener: listeners.delivery, Subscription: subscriptionConn, Grace: grace,
	})
	if err != nil {
		return err
	}
	gatewayService, err := gateway.New(ctx, gateway.Config{
		HTTPAddr: s.addresses.REST, SubscriptionAddr: s.addresses.Subscription,
		IngestAddr: s.addresses.Ingest, DeliveryAddr: s.addresses.Delivery,
	}, gateway.Deps{
		Logger: logger, Listener: listeners.gateway, Subscription: ports[0], Ingest: ports[1], Delivery: ports[2],
	})
	if err != nil {
		return err
	}
	s.parts = []part{
		{"subscription", subscriptionService}, {"delivery", deliveryService},
		{"ingest", ingestService}, {"gateway", gatewayService},
	}
	s.opsHandler = telemetry.OpsHandler(registry, s.ready)
	s.opsListener = listeners.ops
	if s.publishTo, err = s.nats.as(bus.UserPublisher); err != nil {
		return err
	}
	s.api, err = demo.NewAPI(ports[0], credentials.operatorKey)
	return err
}

// feedRetention is how far back services can catch up with changes.
const feedRetention = 7 * 24 * time.Hour

// loopback is what webhooks may point to here beside public addresses.
func loopback() []netip.Prefix {
	return []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
}

// Waits between looks at whether everything is ready.
const (
	minReadyWait = 20 * time.Millisecond
	maxReadyWait = 250 * time.Millisecond
)

// front waits until everything is ready, tells where it is, runs the demo, and then waits for the end.
func (s *stack) front(ctx context.Context, config Config, logger *slog.Logger, stdout io.Writer) error {
	quiet := slog.New(slog.DiscardHandler) // not being ready yet is what is expected here
	if err := lifecycle.Retry(ctx, quiet, "wait for the services", minReadyWait, maxReadyWait, s.ready); err != nil {
		return nil //nolint:nilerr // we are being stopped
	}
	if err := s.tell(stdout); err != nil {
		return err
	}
	if config.Demo {
		return demo.Run(ctx, s.api, s.addresses, s.publishTo, s.key, stdout, logger)
	}
	<-ctx.Done()
	return nil
}

// ready reports whether every service is.
func (s *stack) ready(ctx context.Context) error {
	checks := make([]lifecycle.Check, len(s.parts))
	for i, part := range s.parts {
		checks[i] = lifecycle.Check{Name: part.name, Func: part.service.Ready}
	}
	return lifecycle.Ready(ctx, checks...)
}

// serveOps serves what operators look at.
func (s *stack) serveOps(ctx context.Context) error {
	return boot.ServeHTTP(ctx, &http.Server{Handler: s.opsHandler, ReadHeaderTimeout: 5 * time.Second}, s.opsListener)
}

// tell prints where everything is.
func (s *stack) tell(stdout io.Writer) error {
	_, err := fmt.Fprintf(stdout, `Meetwire is up.

  REST            %s        (OpenAPI: %s/openapi.json)
  for receivers   %s/docs/webhooks
  NATS            %s
  Postgres        %s
  gRPC            subscription %s   ingest %s   delivery %s
  metrics         http://%s/metrics
  operator key    %s
`, s.addresses.REST, s.addresses.REST, s.addresses.REST, s.addresses.NATS, s.postgres,
		s.addresses.Subscription, s.addresses.Ingest, s.addresses.Delivery, s.ops, s.showKey())
	if err == nil && s.nats.users != nil {
		_, err = fmt.Fprintf(stdout, "  passwords       %s   (of the users of NATS; for your eyes only)\n", s.nats.passwords)
	}
	return err
}

func (s *stack) showKey() string {
	if s.key.IsZero() {
		return "yours"
	}
	return s.key.Reveal() + "   (made for this run)"
}

// listeners are what is served on.
type listeners struct{ subscription, ingest, delivery, gateway, ops net.Listener }

func listen(httpAddr string, closers *closers) (*listeners, error) {
	l := &listeners{}
	for _, one := range []struct {
		address string
		into    *net.Listener
	}{
		{"127.0.0.1:0", &l.subscription}, {"127.0.0.1:0", &l.ingest}, {"127.0.0.1:0", &l.delivery},
		{httpAddr, &l.gateway}, {"127.0.0.1:0", &l.ops},
	} {
		listener, err := listenOrFree(one.address)
		if err != nil {
			return nil, err
		}
		closers.add("listener", func(context.Context) error {
			if err := listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
				return err
			}
			return nil
		})
		*one.into = listener
	}
	return l, nil
}
