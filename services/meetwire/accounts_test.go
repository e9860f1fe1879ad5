package meetwire_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/publisher"
	"github.com/meetwire/meetwire/services/meetwire"
)

const deployedNATS = "../../deploy/nats/nats.conf"

// natsConfig runs `meetwire nats-config` and returns what it prints.
func natsConfig(t *testing.T, args ...string) string {
	t.Helper()
	var out, problems bytes.Buffer
	require.Zero(t, meetwire.Main(append([]string{"nats-config"}, args...), nil, &out, &problems), problems.String())
	return out.String()
}

// TestDeployedConfigurationOfNATS compares deploy/nats with what the code says that users may do.
func TestDeployedConfigurationOfNATS(t *testing.T) {
	t.Parallel()
	if *update {
		require.NoError(t, os.WriteFile(deployedNATS, []byte(natsConfig(t)), 0o600))
		return
	}
	content, err := os.ReadFile(deployedNATS)
	require.NoError(t, err)
	require.Equal(t, natsConfig(t), string(content), "run the test with -update")

	var out, problems bytes.Buffer
	for _, organization := range []string{"Acme", "a.b", "*", ">", "", "a b", strings.Repeat("a", 64)} {
		require.NotZero(t, meetwire.Main([]string{"nats-config", "--publisher", organization}, nil, &out, &problems), organization)
	}
	require.NotZero(t, meetwire.Main([]string{"nats-config", "--publisher", "acme", "--publisher", "acme"}, nil, &out, &problems))
	require.Contains(t, problems.String(), "each once")
	require.Empty(t, out.String())
}

// accounts is a nats-server with the configuration of the deployment, and two organizations that publish for
// themselves.
type accounts struct {
	url string
	ctx context.Context
}

// startAccounts cannot run in parallel with others: it sets the server's environment.
func startAccounts(t *testing.T) *accounts {
	t.Helper()
	for _, user := range []string{"INGEST", "DELIVERY", "SUBSCRIPTION", "PUBLISHER", "OPERATOR", "SYSTEM", "PUBLISHER_ACME", "PUBLISHER_GLOBEX"} {
		t.Setenv("NATS_"+user+"_PASSWORD", "password-of-"+strings.ToLower(strings.ReplaceAll(user, "_", "-")))
	}
	path := filepath.Join(t.TempDir(), "nats.conf")
	require.NoError(t, os.WriteFile(path, []byte(natsConfig(t, "--publisher", "acme", "--publisher", "globex")), 0o600))
	options, err := server.ProcessConfigFile(path)
	require.NoError(t, err)
	options.Host, options.Port, options.HTTPPort, options.StoreDir, options.NoSigs = "127.0.0.1", -1, 0, t.TempDir(), true
	s, err := server.NewServer(options)
	require.NoError(t, err)
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	require.True(t, s.ReadyForConnections(20*time.Second))
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return &accounts{url: s.ClientURL(), ctx: ctx}
}

// natsUser is a connection of a user.
type natsUser struct {
	name    string
	conn    *nats.Conn
	js      jetstream.JetStream
	refused chan error
}

func (a *accounts) as(t *testing.T, user string) *natsUser {
	t.Helper()
	u := &natsUser{name: user, refused: make(chan error, 1000)}
	var err error
	u.conn, err = nats.Connect(a.url, nats.UserInfo(user, "password-of-"+user), nats.CustomInboxPrefix(bus.InboxPrefix(user)),
		nats.PermissionErrOnSubscribe(true), nats.ReconnectBufSize(-1),
		nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { u.refused <- err }))
	require.NoError(t, err)
	t.Cleanup(u.conn.Close)
	u.js, err = bus.JetStream(u.conn)
	require.NoError(t, err)
	return u
}

// requireRefused asserts that the server has refused what was done last.
func (u *natsUser) requireRefused(t *testing.T, ctx context.Context, what string) {
	t.Helper()
	require.NoError(t, u.conn.FlushWithContext(ctx))
	select {
	case err := <-u.refused:
		require.ErrorIs(t, err, nats.ErrPermissionViolation)
		require.Contains(t, err.Error(), fmt.Sprintf("%q", what))
	case <-ctx.Done():
		require.Fail(t, "not refused", "%s: %s", u.name, what)
	}
}

// mayNot asserts that a user may neither publish to some subjects nor listen to others.
func (u *natsUser) mayNot(t *testing.T, ctx context.Context, publish, listen []string) {
	t.Helper()
	for _, subject := range publish {
		require.NoError(t, u.conn.PublishRequest(subject, u.conn.NewInbox(), []byte("{}")))
		u.requireRefused(t, ctx, subject)
	}
	for _, subject := range listen {
		_, err := u.conn.SubscribeSync(subject)
		require.NoError(t, err)
		u.requireRefused(t, ctx, subject)
	}
}

// may asserts that the server has refused nothing so far.
func (u *natsUser) may(t *testing.T) {
	t.Helper()
	require.NoError(t, u.conn.Flush())
	require.Empty(t, u.refused, u.name)
}

// ofStreams returns the requests of the JetStream API about every stream.
func ofStreams(requests ...string) (subjects []string) {
	for _, stream := range bus.DefaultConfig().Streams() {
		for _, request := range requests {
			subjects = append(subjects, "$JS.API."+strings.ReplaceAll(request, "S", stream.Name))
		}
	}
	return subjects
}

// everywhere are the subjects of all streams but EVENTS, for an organization.
func everywhere() []string {
	const organization = "acme"
	return []string{
		bus.DeliverySubject("bulk", organization, "w"), bus.RetryDueSubject("bulk", organization, "w"),
		bus.RetryTimerSubject(organization, "w", "d"), bus.DeadLetterSubject("bulk", organization, "w", "d"),
		bus.RecordSubject(organization, "w"), bus.RejectSubject(organization), bus.FanOutSubject(organization),
		"$KV." + bus.BucketMembers + ".ingest.x",
	}
}

func TestAccountsOfNATS(t *testing.T) {
	a := startAccounts(t)
	logger := slog.New(slog.DiscardHandler)
	ingest, delivery := a.as(t, bus.UserIngest), a.as(t, bus.UserDelivery)
	for _, user := range []*natsUser{ingest, delivery} {
		require.NoError(t, bus.EnsureStreams(a.ctx, user.js, bus.DefaultConfig(), logger))
		user.may(t)
	}
	others := []string{">", "events.>", "deliveries.>", "records.>", "_INBOX_operator.>", "$SYS.>", "$JS.API.>"}

	t.Run("a publisher of one organization", func(t *testing.T) {
		acme := a.as(t, bus.PublisherUser("acme"))
		events, err := publisher.New(acme.js, publisher.WithSource("/booking"), publisher.WithAttemptTimeout(500*time.Millisecond))
		require.NoError(t, err)
		event := publisher.Event{Organization: "acme", Trigger: "meeting.booked", ID: "1", Data: 1}
		_, err = events.Publish(a.ctx, event)
		require.NoError(t, err)
		acme.may(t)
		event.Organization = "globex"
		_, err = events.Publish(a.ctx, event)
		require.True(t, fault.Is(err, fault.PermissionDenied), "%v", err)
		acme.requireRefused(t, a.ctx, bus.EventSubject("globex", "meeting.booked"))
		asked := ofStreams("STREAM.CREATE.S", "STREAM.UPDATE.S", "STREAM.INFO.S", "STREAM.DELETE.S", "STREAM.PURGE.S",
			"STREAM.MSG.GET.S", "STREAM.MSG.DELETE.S", "DIRECT.GET.S", "DIRECT.GET.S.events.acme.meeting.booked",
			"CONSUMER.CREATE.S.mine", "CONSUMER.DURABLE.CREATE.S.mine", "CONSUMER.INFO.S.event-index",
			"CONSUMER.MSG.NEXT.S.event-index", "CONSUMER.DELETE.S.event-index", "CONSUMER.LIST.S")
		acme.mayNot(t, a.ctx, slices.Concat(everywhere(), asked, []string{
			bus.EventSubject("globex", "custom.x"), "events.acme", "$JS.API.INFO", "$JS.API.STREAM.NAMES", "$JS.API.STREAM.LIST",
			"$JS.ACK.EVENTS.event-index.1.1.1.1.1", "_INBOX_ingest.x", "_INBOX_publisher-globex.x", "$SYS.REQ.SERVER.PING",
		}), append([]string{"events.acme.>", "_INBOX_ingest.>", "_INBOX_publisher-globex.>", "_INBOX_publisher.>"}, others...))
	})

	t.Run("an acknowledgement goes to nobody else", func(t *testing.T) {
		// The server sends it to the subject that the publisher names, whatever the publisher may publish to.
		acme := a.as(t, bus.PublisherUser("acme"))
		before := a.stored(t, ingest)
		elsewhere := append(everywhere(), bus.EventSubject("globex", "meeting.booked"), "$JS.API.STREAM.PURGE.EVENTS", "_INBOX_ingest.x")
		for _, subject := range elsewhere {
			require.NoError(t, acme.conn.PublishRequest(bus.EventSubject("acme", "meeting.booked"), subject, []byte("{}")))
		}
		_, err := bus.Publish(a.ctx, acme.js, nats.NewMsg(bus.EventSubject("acme", "meeting.booked")), "last")
		require.NoError(t, err)
		want := maps.Clone(before)
		want[bus.StreamEvents] += uint64(len(elsewhere)) + 1
		require.Equal(t, want, a.stored(t, ingest))
	})

	t.Run("a publisher of every organization", func(t *testing.T) {
		user := a.as(t, bus.UserPublisher)
		for _, organization := range []string{"acme", "globex"} {
			_, err := bus.Publish(a.ctx, user.js, nats.NewMsg(bus.EventSubject(organization, "meeting.booked")), organization)
			require.NoError(t, err)
		}
		user.may(t)
		user.mayNot(t, a.ctx, slices.Concat(everywhere(), ofStreams("STREAM.INFO.S", "STREAM.DELETE.S", "CONSUMER.CREATE.S.mine")), others)
	})

	t.Run("subscription", func(t *testing.T) {
		user := a.as(t, bus.UserSubscription)
		_, err := bus.Publish(a.ctx, user.js, nats.NewMsg(bus.EventSubject("acme", "webhook.disabled")), "disabled")
		require.NoError(t, err)
		user.may(t)
		user.mayNot(t, a.ctx, slices.Concat(everywhere(), ofStreams("STREAM.INFO.S"), []string{bus.EventSubject("acme", "meeting.booked")}), others)
	})

	t.Run("ingest", func(t *testing.T) {
		for _, subject := range []string{
			bus.EventSubject("acme", "meeting.booked"), bus.DeliverySubject("bulk", "acme", "w"), bus.RejectSubject("acme"), bus.FanOutSubject("acme"),
		} {
			_, err := bus.Publish(a.ctx, ingest.js, nats.NewMsg(subject), subject)
			require.NoError(t, err, subject)
		}
		a.consumes(t, ingest, bus.StreamEvents, bus.DefaultConfig().EventIndexConsumer())
		a.consumes(t, ingest, bus.StreamFanOuts, bus.DefaultConfig().IndexConsumer())
		ingest.may(t)
		ingest.mayNot(t, a.ctx, slices.Concat(ofStreams("STREAM.DELETE.S"), []string{
			bus.RecordSubject("acme", "w"), bus.RetryTimerSubject("acme", "w", "d"), bus.DeadLetterSubject("bulk", "acme", "w", "d"),
			"$JS.API.CONSUMER.CREATE.DELIVERIES.mine", "$JS.API.STREAM.PURGE.DELIVERIES", "$JS.API.CONSUMER.CREATE.RECORDS.mine",
		}), append([]string{"_INBOX_delivery.>", "_INBOX.>"}, others...))
	})

	t.Run("delivery", func(t *testing.T) {
		for _, subject := range []string{
			bus.DeliverySubject("bulk", "acme", "w"), bus.RetryDueSubject("bulk", "acme", "w"),
			bus.DeadLetterSubject("bulk", "acme", "w", "d"), bus.RecordSubject("acme", "w"),
		} {
			_, err := bus.Publish(a.ctx, delivery.js, nats.NewMsg(subject), "delivery:"+subject)
			require.NoError(t, err, subject)
		}
		a.consumes(t, delivery, bus.StreamDeliveries, bus.DefaultConfig().DeliverConsumer(bus.LaneBulk))
		a.consumes(t, delivery, bus.StreamRetries, bus.DefaultConfig().RetryConsumer(bus.LaneBulk))
		delivery.may(t)
		delivery.mayNot(t, a.ctx, slices.Concat(ofStreams("STREAM.DELETE.S"), []string{
			bus.EventSubject("acme", "meeting.booked"), bus.RejectSubject("acme"), bus.FanOutSubject("acme"),
			"$JS.API.CONSUMER.CREATE.EVENTS.mine", "$JS.API.STREAM.PURGE.EVENTS", "$JS.API.STREAM.MSG.DELETE.EVENTS",
		}), append([]string{"_INBOX_ingest.>", "_INBOX.>"}, others...))
	})

	t.Run("an operator", func(t *testing.T) {
		user := a.as(t, bus.UserOperator)
		stream, err := user.js.Stream(a.ctx, bus.StreamDeadLetters)
		require.NoError(t, err)
		_, err = stream.GetMsg(a.ctx, 1)
		require.NoError(t, err)
		_, err = user.js.PauseConsumer(a.ctx, bus.StreamEvents, bus.DurableEventIndex, time.Now().Add(time.Hour))
		require.NoError(t, err)
		user.may(t)
		user.mayNot(t, a.ctx, append(everywhere(), bus.EventSubject("acme", "meeting.booked")), []string{"events.>", "_INBOX_ingest.>"})
	})

	t.Run("the system account", func(t *testing.T) {
		conn, err := nats.Connect(a.url, nats.UserInfo(bus.UserSystem, "password-of-system"))
		require.NoError(t, err)
		defer conn.Close()
		reply, err := conn.RequestWithContext(a.ctx, "$SYS.REQ.SERVER.PING", nil)
		require.NoError(t, err)
		require.Contains(t, string(reply.Data), "statsz")
		js, err := jetstream.New(conn)
		require.NoError(t, err)
		_, err = js.Stream(a.ctx, bus.StreamEvents)
		require.ErrorIs(t, err, jetstream.ErrJetStreamNotEnabledForAccount, "it has no part in what is Meetwire's")
	})

	_, err := nats.Connect(a.url)
	require.ErrorIs(t, err, nats.ErrAuthorization)
	_, err = nats.Connect(a.url, nats.UserInfo(bus.PublisherUser("acme"), "password-of-publisher-globex"))
	require.ErrorIs(t, err, nats.ErrAuthorization)
}

// stored is how many messages each stream has had.
func (a *accounts) stored(t *testing.T, user *natsUser) map[string]uint64 {
	t.Helper()
	all := make(map[string]uint64)
	for _, config := range bus.DefaultConfig().Streams() {
		stream, err := user.js.Stream(a.ctx, config.Name)
		require.NoError(t, err)
		all[config.Name] = stream.CachedInfo().State.LastSeq
	}
	return all
}

// consumes takes a message of a durable consumer and acknowledges it.
func (a *accounts) consumes(t *testing.T, user *natsUser, stream string, config jetstream.ConsumerConfig) {
	t.Helper()
	handled := make(chan struct{}, 1000)
	ctx, stop := context.WithCancel(a.ctx)
	consumer := &bus.Consumer{
		JetStream: user.js, Stream: stream, Config: config, Pull: 1, Workers: 1, Logger: slog.New(slog.DiscardHandler),
		Handle: func(_ context.Context, msg *bus.Msg) { msg.Done(); handled <- struct{}{} },
	}
	done := make(chan error, 1)
	go func() { done <- consumer.Run(ctx) }()
	select {
	case <-handled:
	case <-a.ctx.Done():
		require.Fail(t, "nothing came", "%s of %s", config.Durable, stream)
	}
	stop()
	require.NoError(t, <-done)
	require.Eventually(t, func() bool {
		consumer, err := user.js.Consumer(a.ctx, stream, config.Durable)
		return err == nil && consumer.CachedInfo().AckFloor.Consumer > 0
	}, 30*time.Second, 20*time.Millisecond, "nothing was acknowledged")
}
