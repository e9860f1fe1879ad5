package publisher

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/natstest"
)

func TestPublishWaitsForTheServerToComeBack(t *testing.T) {
	t.Parallel()

	e := setup(t)
	ctx := newContext(t)
	_, err := e.publisher.Publish(ctx, booked("1"))
	require.NoError(t, err)

	e.server.Shutdown()
	js := newFaulty(e.js)
	p := newPublisher(t, js)
	again, next := inBackground(ctx, p, booked("1")), inBackground(ctx, p, booked("2"))
	for range 4 {
		await(t, js.attempted)
	}
	e.server.Restart(t)

	first := await(t, again)
	require.NoError(t, first.err)
	require.True(t, first.ack.Duplicate, "the stream remembers ids over a restart")
	require.EqualValues(t, 1, first.ack.Sequence)
	second := await(t, next)
	require.NoError(t, second.err)
	require.Equal(t, 2, stored(t, e.js))
}

// publishMany publishes events from several goroutines, calls disturb once some are through, and goes on until each
// goroutine has published after disturb has returned: so events are under way all the time, and at the end the
// connection is known to work again.
func publishMany(t *testing.T, p *Publisher, disturb func()) (events int) {
	t.Helper()
	const publishers, before = 4, 50
	ctx := newContext(t)
	var through atomic.Int64
	var disturbed atomic.Bool
	begin := make(chan struct{})
	group, ctx := errgroup.WithContext(ctx)
	for i := range publishers {
		group.Go(func() error {
			for j, last := 0, false; !last; j++ {
				last = disturbed.Load()
				if _, err := p.Publish(ctx, booked(fmt.Sprintf("%d-%d", i, j))); err != nil {
					return err
				}
				if through.Add(1) == before {
					close(begin)
				}
			}
			return nil
		})
	}
	select {
	case <-begin:
		disturb()
		disturbed.Store(true)
	case <-ctx.Done():
	}
	require.NoError(t, group.Wait())
	return int(through.Load())
}

func TestPublishLosesAndDoublesNothingOverARestart(t *testing.T) {
	t.Parallel()

	e := setup(t)
	n := publishMany(t, e.publisher, func() { e.server.Restart(t) })
	require.Equal(t, n, stored(t, e.js))
}

func TestPublishLosesAndDoublesNothingOverAFailover(t *testing.T) {
	t.Parallel()

	cluster := natstest.Cluster(t, 3)
	_, js := cluster.Connect(t)
	var stream jetstream.Stream
	require.Eventually(t, func() bool { // a young cluster may not know all its nodes yet
		var err error
		stream, err = js.CreateOrUpdateStream(newContext(t), jetstream.StreamConfig{
			Name: bus.StreamEvents, Subjects: []string{bus.EventsFilter()}, Replicas: 3,
		})
		return err == nil
	}, patience, 50*time.Millisecond)
	leader := stream.CachedInfo().Cluster.Leader

	n := publishMany(t, newPublisher(t, js), func() {
		for i := range cluster.Size() {
			if fmt.Sprintf("n%d", i) == leader {
				cluster.Kill(i)
			}
		}
	})
	require.Eventually(t, func() bool { return stored(t, js) == n }, patience, 50*time.Millisecond)
	stream, err := js.Stream(newContext(t), bus.StreamEvents)
	require.NoError(t, err)
	require.NotEqual(t, leader, stream.CachedInfo().Cluster.Leader, "the node that was killed did not lead")
}

func TestPublishSurvivesALostAcknowledgement(t *testing.T) {
	t.Parallel()

	e := setup(t)
	js := newFaulty(e.js)
	lost := 0
	js.publish = func(ctx context.Context, msg *nats.Msg, opts ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
		ack, err := e.js.PublishMsg(ctx, msg, opts...)
		if lost < 2 {
			lost++
			return nil, context.DeadlineExceeded
		}
		return ack, err
	}
	ack, err := newPublisher(t, js).Publish(newContext(t), booked("1"))
	require.NoError(t, err)
	require.True(t, ack.Duplicate)
	require.EqualValues(t, 1, ack.Sequence)
	require.Equal(t, 1, stored(t, e.js))
}

func TestPublishStopsBeforeTheStreamForgets(t *testing.T) {
	t.Parallel()

	e := setup(t)
	js := newFaulty(e.js)
	js.publish = func(context.Context, *nats.Msg, ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
		return nil, nats.ErrTimeout
	}
	p := newPublisher(t, js, WithAttemptTimeout(10*time.Millisecond))
	p.window = 200 * time.Millisecond
	_, err := p.Publish(newContext(t), booked("1"))

	var unacknowledged *UnacknowledgedError
	require.ErrorAs(t, err, &unacknowledged)
	require.Equal(t, "1", unacknowledged.ID)
	require.Equal(t, "/services/booking", unacknowledged.Source)
	require.Greater(t, unacknowledged.Attempts, 1)
	require.ErrorIs(t, err, nats.ErrTimeout)
	require.NotErrorIs(t, err, context.DeadlineExceeded)
	require.True(t, fault.Is(err, fault.Unavailable))
}

func TestPublishKeepsTryingWhatWasNotStored(t *testing.T) {
	t.Parallel()

	for name, failure := range map[string]error{
		"reconnecting": nats.ErrReconnectBufExceeded,
		"no responder": jetstream.ErrNoStreamResponse,
		"not leader":   &jetstream.APIError{Code: 500, ErrorCode: 10009},
		"no room":      &jetstream.APIError{Code: 503, ErrorCode: 10023},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()

			e := setup(t)
			js := newFaulty(e.js)
			attempts := 0
			js.publish = func(ctx context.Context, msg *nats.Msg, opts ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
				if attempts++; attempts < 5 {
					return nil, failure
				}
				return e.js.PublishMsg(ctx, msg, opts...)
			}
			p := newPublisher(t, js)
			p.window = 0 // what may have been stored would not be tried again
			ack, err := p.Publish(newContext(t), booked("1"))
			require.NoError(t, err)
			require.False(t, ack.Duplicate)
		})
	}
}

func TestPublishEndsWithTheContext(t *testing.T) {
	t.Parallel()

	e := setup(t)
	e.server.Shutdown()
	require.Eventually(t, func() bool { return !e.conn.IsConnected() }, patience, time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := e.publisher.Publish(ctx, booked("1"))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorIs(t, err, nats.ErrDisconnected)
	require.ErrorContains(t, err, `publish event "1" of "/services/booking": no acknowledgement after `)

	ctx, cancel = context.WithCancel(t.Context())
	js := newFaulty(e.js)
	done := inBackground(ctx, newPublisher(t, js), booked(""))
	await(t, js.attempted)
	cancel()
	outcome := await(t, done)
	require.ErrorIs(t, outcome.err, context.Canceled)
	var unacknowledged *UnacknowledgedError
	require.ErrorAs(t, outcome.err, &unacknowledged)
	require.NotEmpty(t, unacknowledged.ID, "without it a repetition would be another event")

	_, err = e.publisher.Publish(ctx, booked("1"))
	require.ErrorAs(t, err, &unacknowledged)
	require.Zero(t, unacknowledged.Attempts)
}

func TestPublishWithinAnAttemptEndsWithTheContext(t *testing.T) {
	t.Parallel()

	e := setup(t)
	js := newFaulty(e.js)
	ctx, cancel := context.WithCancel(t.Context())
	js.publish = func(ctx context.Context, _ *nats.Msg, _ ...jetstream.PublishOpt) (*jetstream.PubAck, error) {
		cancel()
		<-ctx.Done()
		return nil, ctx.Err()
	}
	_, err := newPublisher(t, js).Publish(ctx, booked("1"))
	require.ErrorIs(t, err, context.Canceled)
	var unacknowledged *UnacknowledgedError
	require.ErrorAs(t, err, &unacknowledged)
	require.Equal(t, 1, unacknowledged.Attempts)
}

func TestPublishNeedsAConnection(t *testing.T) {
	t.Parallel()

	e := setup(t)
	e.conn.Close()
	_, err := e.publisher.Publish(newContext(t), booked("1"))
	require.ErrorIs(t, err, nats.ErrConnectionClosed)
	var unacknowledged *UnacknowledgedError
	require.NotErrorAs(t, err, &unacknowledged)
}

func TestPublishWaitsForTheStream(t *testing.T) {
	t.Parallel()

	_, js := natstest.Start(t).Connect(t)
	watched := newFaulty(js)
	done := inBackground(newContext(t), newPublisher(t, watched), booked("1"))
	await(t, watched.attempted)
	await(t, watched.attempted)
	createEvents(t, js, jetstream.StreamConfig{})
	outcome := await(t, done)
	require.NoError(t, outcome.err)
	require.EqualValues(t, 1, outcome.ack.Sequence)
}

func createEvents(t *testing.T, js jetstream.JetStream, config jetstream.StreamConfig) jetstream.Stream {
	t.Helper()
	config.Name, config.Subjects = bus.StreamEvents, []string{bus.EventsFilter()}
	stream, err := js.CreateStream(newContext(t), config)
	require.NoError(t, err)
	return stream
}

func TestPublishWaitsForRoom(t *testing.T) {
	t.Parallel()

	_, js := natstest.Start(t).Connect(t)
	stream := createEvents(t, js, jetstream.StreamConfig{MaxMsgs: 1, Discard: jetstream.DiscardNew})
	watched := newFaulty(js)
	p := newPublisher(t, watched)
	_, err := p.Publish(newContext(t), booked("1"))
	require.NoError(t, err)
	await(t, watched.attempted)

	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	_, err = p.Publish(ctx, booked("2"))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.True(t, fault.Is(err, fault.ResourceExhausted), "%v", err)

	done := inBackground(newContext(t), p, booked("2"))
	for range 3 {
		await(t, watched.attempted)
	}
	require.NoError(t, stream.Purge(newContext(t)))
	require.NoError(t, await(t, done).err)
}

func TestPublishReturnsARefusalAtOnce(t *testing.T) {
	t.Parallel()

	_, js := natstest.Start(t).Connect(t)
	createEvents(t, js, jetstream.StreamConfig{MaxMsgSize: 100})
	_, err := newPublisher(t, js).Publish(newContext(t), booked("1"))
	require.True(t, fault.Is(err, fault.InvalidArgument), "%v", err)
	var unacknowledged *UnacknowledgedError
	require.NotErrorAs(t, err, &unacknowledged)
}

func TestPublishSaysWhatIsForbidden(t *testing.T) {
	t.Parallel()

	url := startWithUser(t, &server.User{
		Username: "booking", Password: "for-this-test",
		Permissions: &server.Permissions{Publish: &server.SubjectPermission{
			Allow: []string{"events.acme.>", "$JS.API.STREAM.CREATE.EVENTS"},
		}},
	})
	conn, err := nats.Connect(url, nats.UserInfo("booking", "for-this-test"),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	require.NoError(t, err)
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	require.NoError(t, err)
	createEvents(t, js, jetstream.StreamConfig{})
	p := newPublisher(t, js, WithAttemptTimeout(200*time.Millisecond))

	forbidden := booked("1")
	forbidden.Organization = "other"
	_, err = p.Publish(newContext(t), forbidden)
	require.True(t, fault.Is(err, fault.PermissionDenied), "%v", err)
	require.ErrorContains(t, err, "events.other.meeting.booked")

	ack, err := p.Publish(newContext(t), booked("1"))
	require.NoError(t, err)
	require.EqualValues(t, 1, ack.Sequence)
}

// startWithUser starts a server that only this user may use.
func startWithUser(t *testing.T, user *server.User) string {
	t.Helper()
	s, err := server.NewServer(&server.Options{
		Host: "127.0.0.1", Port: server.RANDOM_PORT, JetStream: true, StoreDir: t.TempDir(), NoSigs: true, NoLog: true,
		Users: []*server.User{user},
	})
	require.NoError(t, err)
	s.Start()
	t.Cleanup(func() {
		s.Shutdown()
		s.WaitForShutdown()
	})
	require.True(t, s.ReadyForConnections(patience))
	return s.ClientURL()
}
