package expiry_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/natstest"
	"github.com/meetwire/meetwire/pkg/pgtest"
	"github.com/meetwire/meetwire/pkg/secret"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
	"github.com/meetwire/meetwire/services/delivery/internal/expiry"
	"github.com/meetwire/meetwire/services/delivery/internal/natsbus"
	"github.com/meetwire/meetwire/services/delivery/internal/pgstore"
)

func TestMain(m *testing.M) { pgtest.Main(m) }

const (
	patience = 60 * time.Second
	day      = 24 * time.Hour
	maxAge   = 30 * day

	hook      = "11111111-1111-4111-8111-111111111111"
	otherHook = "22222222-2222-4222-8222-222222222222"
)

func newContext(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// subscription keeps what is reported.
type subscription struct {
	counts []*configv1.ReportDeadLettersRequest_Count
	fails  bool
}

var errAway = errors.New("away")

func (s *subscription) ReportDeadLetters(
	_ context.Context, request *configv1.ReportDeadLettersRequest, _ ...grpc.CallOption,
) (*configv1.ReportDeadLettersResponse, error) {
	if s.fails {
		return nil, errAway
	}
	s.counts = append(s.counts, request.GetCounts()...)
	return &configv1.ReportDeadLettersResponse{}, nil
}

// env has dead letters of now, and a clock that can be ahead.
type env struct {
	*expiry.Announcer
	js    jetstream.JetStream
	pool  *pgxpool.Pool
	rows  *pgstore.Store
	queue *natsbus.Queue
	told  *subscription

	now    time.Time
	active bool
}

func setup(t *testing.T) *env {
	t.Helper()
	ctx, logger := newContext(t), slog.New(slog.DiscardHandler)
	conn, err := bus.Connect(ctx, "tests", bus.NATSConfig{NATSURL: secret.New(natstest.Start(t).URL())}, logger)
	require.NoError(t, err)
	t.Cleanup(conn.Close)
	js, err := bus.JetStream(conn)
	require.NoError(t, err)
	streams := bus.DefaultConfig()
	require.NoError(t, bus.EnsureStreams(ctx, js, streams, logger))
	e := &env{js: js, pool: pgtest.Database(t, "delivery", pgstore.Migrate), told: &subscription{}, now: time.Now(), active: true}
	e.rows = pgstore.New(e.pool)
	e.queue, err = natsbus.NewQueue(ctx, js, js, streams, logger, time.Now)
	require.NoError(t, err)
	letters, err := natsbus.NewDeadLetters(ctx, js, e.queue, nil, time.Now, uuid.NewString)
	require.NoError(t, err)
	e.Announcer = &expiry.Announcer{
		Letters: letters, Ledger: e.rows, Subscription: e.told, Active: func() bool { return e.active },
		Operational: func(trigger string) bool { return trigger == "webhook.disabled" },
		Logger:      logger, Now: func() time.Time { return e.now },
	}
	return e
}

// bury makes a dead letter.
func (e *env) bury(t *testing.T, webhook, trigger string) *core.Task {
	t.Helper()
	task := &core.Task{
		Delivery: uuid.NewString(), Organization: "acme", Webhook: webhook, Lane: bus.Lane(trigger), Trigger: trigger,
		EventSource: "/s", EventID: "1", EventSequence: 1, AcceptedAt: time.Now(), Event: []byte(`{}`),
	}
	require.NoError(t, e.queue.DeadLetter(newContext(t), task, core.ReasonAttemptsExhausted, time.Now(), task.Delivery))
	return task
}

// total counts what was told, by webhook.
func (e *env) total() map[string]int64 {
	all := make(map[string]int64)
	for _, count := range e.told.counts {
		all[count.GetWebhook()] += count.GetCount()
	}
	return all
}

func TestDeadLettersAreAnnouncedThreeDaysBefore(t *testing.T) {
	t.Parallel()
	e := setup(t)
	for range 600 {
		e.bury(t, hook, "meeting.booked")
	}
	e.bury(t, otherHook, "custom.thing")
	e.bury(t, otherHook, "webhook.disabled") // of Meetwire itself
	for _, early := range []time.Duration{0, day, 25 * day} {
		e.now = time.Now().Add(early)
		require.NoError(t, e.Look(newContext(t)))
		require.Empty(t, e.told.counts, "%s", early)
	}

	e.now = time.Now().Add(27 * day)
	e.told.fails = true
	require.ErrorIs(t, e.Look(newContext(t)), errAway)
	e.told.fails = false
	require.NoError(t, e.Look(newContext(t)))
	want := map[string]int64{hook: 600, otherHook: 1}
	require.Equal(t, want, e.total())
	for _, count := range e.told.counts {
		require.True(t, count.GetExpiring())
		require.Equal(t, "acme", count.GetOrganization())
		at := count.GetMinute().AsTime()
		require.True(t, at.Equal(at.Truncate(day)), "a day")
		require.WithinRange(t, at, e.now.Add(2*day-patience), e.now.Add(4*day))
	}
	require.NoError(t, e.Look(newContext(t)))
	require.Equal(t, want, e.total(), "once")

	e.active = false
	require.NoError(t, e.Look(newContext(t)))
	require.Equal(t, want, e.total(), "by one instance")
	e.active = true
	e.told.counts = nil
	require.NoError(t, e.Look(newContext(t)))
	require.Equal(t, want, e.total(), "another instance tells it all again, which has no second effect")
}

func TestExpiryIsRecorded(t *testing.T) {
	t.Parallel()
	e := setup(t)
	ctx, holder := newContext(t), uuid.New()
	_, err := e.rows.Lease(ctx, holder, time.Now(), time.Minute)
	require.NoError(t, err)
	position := uint64(0)
	record := func(task *core.Task, state deliveryv1.Delivery_State, at time.Time) {
		t.Helper()
		require.NoError(t, e.rows.Write(ctx, pgstore.Batch{
			Holder: holder, Before: position, Position: position + 1, Now: time.Now(),
			Threshold: func(*deliveryv1.Record) (core.Threshold, bool) { return core.Threshold{}, false },
			Counted:   func(*deliveryv1.Record) bool { return false },
			Records: []*deliveryv1.Record{{
				Id: uuid.NewString(), Time: timestamppb.New(at), Organization: "acme", Delivery: task.Delivery, Webhook: task.Webhook,
				Trigger: task.Trigger, EventSource: task.EventSource, EventId: task.EventID, EventSequence: 1,
				AcceptTime: timestamppb.New(task.AcceptedAt), State: state, Reason: "attempts_exhausted",
			}},
		}, time.Minute))
		position++
	}
	state := func(task *core.Task) (deliveryv1.Delivery_State, string) {
		t.Helper()
		d, err := e.rows.Delivery(ctx, "acme", uuid.MustParse(task.Delivery))
		require.NoError(t, err)
		return d.GetState(), d.GetReason()
	}
	dead, replayed, young := e.bury(t, hook, "meeting.booked"), e.bury(t, hook, "meeting.booked"), e.bury(t, hook, "meeting.booked")
	now := time.Now()
	record(dead, deliveryv1.Delivery_STATE_DEAD_LETTERED, now)
	record(replayed, deliveryv1.Delivery_STATE_DEAD_LETTERED, now)
	record(replayed, deliveryv1.Delivery_STATE_SUCCEEDED, now.Add(day))
	record(young, deliveryv1.Delivery_STATE_DEAD_LETTERED, now.Add(5*day))

	e.now = now.Add(maxAge)
	require.NoError(t, e.Look(ctx))
	got, _ := state(dead)
	require.Equal(t, deliveryv1.Delivery_STATE_DEAD_LETTERED, got, "it may still be there")
	e.now = now.Add(maxAge + 2*time.Hour)
	require.NoError(t, e.Look(ctx))
	got, reason := state(dead)
	require.Equal(t, deliveryv1.Delivery_STATE_DROPPED, got)
	require.Equal(t, "expired", reason)
	got, _ = state(replayed)
	require.Equal(t, deliveryv1.Delivery_STATE_SUCCEEDED, got)
	got, _ = state(young)
	require.Equal(t, deliveryv1.Delivery_STATE_DEAD_LETTERED, got)

	// What is recorded late counts.
	record(dead, deliveryv1.Delivery_STATE_SUCCEEDED, now.Add(time.Hour))
	got, _ = state(dead)
	require.Equal(t, deliveryv1.Delivery_STATE_SUCCEEDED, got)
}

func TestNothingIsLostWhileTheDatabaseIsAway(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.bury(t, hook, "meeting.booked")
	e.now = time.Now().Add(28 * day)
	e.pool.Close()
	err := e.Look(newContext(t))
	require.True(t, fault.Is(err, fault.Unavailable), "%v", err)
	ctx, cancel := context.WithCancel(newContext(t))
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx) }()
	cancel()
	require.NoError(t, <-done)
}

// It is looked once an hour: what expires right after midnight is told of in the hour before three days are left.
func TestThreeDaysAreLeftAtLeast(t *testing.T) {
	t.Parallel()
	e := setup(t)
	e.bury(t, hook, "meeting.booked")
	expires := time.Now().Add(maxAge)
	begin := expires.UTC().Truncate(day)
	e.now = begin.Add(-3*day - 90*time.Minute)
	require.NoError(t, e.Look(newContext(t)))
	require.Empty(t, e.told.counts)
	e.now = begin.Add(-3*day - 30*time.Minute)
	require.NoError(t, e.Look(newContext(t)))
	require.Len(t, e.told.counts, 1)
}

// The age is the stream's, which another process may have been told to change.
func TestExpiryIsThatOfTheStream(t *testing.T) {
	t.Parallel()
	e := setup(t)
	ctx, task := newContext(t), e.bury(t, hook, "meeting.booked")
	_, err := e.pool.Exec(ctx, "SELECT delivery.ensure_day($1::date)", time.Now())
	require.NoError(t, err)
	_, err = e.pool.Exec(ctx, `INSERT INTO delivery.delivery (accepted_on, id, organization, webhook, trigger, event_source, event_id,
		event_sequence, accept_time, state, reason, attempt_count, update_time) VALUES ($1::date, $2, 'acme', $3, '', '', '', 1, $1, 3, '', 1, $1)`,
		time.Now().UTC(), task.Delivery, hook)
	require.NoError(t, err)
	e.now = time.Now().Add(10 * day)
	for _, test := range []struct {
		age  time.Duration
		want deliveryv1.Delivery_State
	}{
		{0, deliveryv1.Delivery_STATE_DEAD_LETTERED}, // for ever
		{11 * day, deliveryv1.Delivery_STATE_DEAD_LETTERED},
		{9 * day, deliveryv1.Delivery_STATE_DROPPED},
	} {
		e.keep(t, test.age)
		require.NoError(t, e.Look(ctx))
		d, err := e.rows.Delivery(ctx, "acme", uuid.MustParse(task.Delivery))
		require.NoError(t, err)
		require.Equal(t, test.want, d.GetState(), test.age)
	}
}

// keep changes how long dead letters are kept.
func (e *env) keep(t *testing.T, age time.Duration) {
	t.Helper()
	stream, err := e.js.Stream(newContext(t), bus.StreamDeadLetters)
	require.NoError(t, err)
	config := stream.CachedInfo().Config
	config.MaxAge = age
	_, err = e.js.UpdateStream(newContext(t), config)
	require.NoError(t, err)
}
