package recorder_test

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/meetwire/meetwire/pkg/pgtest"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
	"github.com/meetwire/meetwire/services/delivery/internal/pgstore"
	"github.com/meetwire/meetwire/services/delivery/internal/recorder"
)

// subscription notes what it is told, as often as it is told; the first calls fail, and those about some webhooks always
// do, or have no effect.
type subscription struct {
	mu      sync.Mutex
	fails   int
	breaks  map[string]bool
	refuses map[string]bool
	health  []*configv1.ReportWebhookHealthRequest
	counts  []*configv1.ReportDeadLettersRequest_Count
}

func (s *subscription) fail() error {
	if s.fails > 0 {
		s.fails--
		return status.Error(codes.Unavailable, "away")
	}
	return nil
}

func (s *subscription) ReportWebhookHealth(
	_ context.Context, request *configv1.ReportWebhookHealthRequest, _ ...grpc.CallOption,
) (*configv1.ReportWebhookHealthResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.health = append(s.health, request)
	if s.breaks[request.GetWebhook()] {
		return nil, status.Error(codes.Internal, "a defect")
	}
	return &configv1.ReportWebhookHealthResponse{Effective: !s.refuses[request.GetWebhook()]}, s.fail()
}

func (s *subscription) ReportDeadLetters(
	_ context.Context, request *configv1.ReportDeadLettersRequest, _ ...grpc.CallOption,
) (*configv1.ReportDeadLettersResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.counts = append(s.counts, request.GetCounts()...)
	return &configv1.ReportDeadLettersResponse{}, s.fail()
}

// levels is what was told of the health of a webhook, without what was told because the answer before was lost.
func (s *subscription) levels(webhook string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []string
	for _, report := range s.health {
		text := report.GetLevel().String()[len("LEVEL_"):] + " " + report.GetReason()
		if report.GetWebhook() == webhook && (len(all) == 0 || all[len(all)-1] != text) {
			all = append(all, text)
		}
	}
	return all
}

// reporting returns an instance of the recorder that reports.
func (e *env) reporting(pool *pgxpool.Pool, s *subscription, now func() time.Time) *recorder.Recorder {
	store := pgstore.New(pool)
	r := e.recorder(store)
	r.Now = now
	r.Reporter = recorder.NewReporter(recorder.Reporter{
		Findings: store, Subscription: s, Configuration: e.configuration, Logger: slog.New(slog.DiscardHandler), Now: now,
		Reports: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "reports", Help: "reports"}, []string{"kind", "code"}),
	})
	return r
}

// attempts publishes attempts of a webhook, one of a delivery each.
func (e *env) attempts(t *testing.T, webhook string, generation int64, classes ...string) []*deliveryv1.Record {
	t.Helper()
	records := make([]*deliveryv1.Record, len(classes))
	for i, class := range classes {
		record := newRecord()
		record.Webhook, record.WebhookGeneration = webhook, generation
		record.Attempt.ErrorClass, record.Attempt.StatusCode = class, 500
		record.State = deliveryv1.Delivery_STATE_PENDING
		if class == "" {
			record.Attempt.StatusCode, record.State = 200, deliveryv1.Delivery_STATE_SUCCEEDED
		}
		e.publishRecord(t, record)
		records[i] = record
	}
	return records
}

func (e *env) publishRecord(t *testing.T, record *deliveryv1.Record) {
	t.Helper()
	body, err := proto.Marshal(record)
	require.NoError(t, err)
	e.publishBody(t, body)
}

// webhook configures one.
func (e *env) webhook(generation int64, threshold core.Threshold) string {
	id := uuid.NewString()
	e.configuration.put(&core.Webhook{ID: id, Organization: "acme", Generation: generation, Threshold: threshold})
	return id
}

func TestFailuresInARowAreReportedStageByStage(t *testing.T) {
	t.Parallel()
	e := setup(t)
	pool := pgtest.Database(t, "delivery", pgstore.Migrate)
	s := &subscription{fails: 3}
	failing := e.webhook(2, core.Threshold{Consecutive: 8})
	recovers := e.webhook(1, core.Threshold{Consecutive: 4})
	never := e.webhook(1, core.Threshold{})
	gone := e.webhook(1, core.Threshold{Gone: true})
	operational := e.webhook(1, core.Threshold{Consecutive: 1})
	e.configuration.operational["webhook.disabled"] = true

	const f, ok = core.ErrorStatus, ""
	e.attempts(t, failing, 1, f, f, f, f, f, f, f, f) // of an earlier generation
	e.attempts(t, failing, 2, f, f, f, f, f, f, f)
	e.attempts(t, recovers, 1, f, f, f, ok, f, f, f)
	e.attempts(t, never, 1, f, f, f, f, f, f, f, f, f)
	record := newRecord()
	record.Webhook, record.WebhookGeneration, record.Trigger = operational, 1, "webhook.disabled"
	record.Attempt.ErrorClass = f
	e.publishRecord(t, record)
	record = newRecord()
	record.Webhook, record.WebhookGeneration = gone, 1
	record.Attempt.ErrorClass, record.Attempt.StatusCode = f, 410
	e.publishRecord(t, record)
	run(t, grace, e.reporting(pool, s, now))
	e.requireSettled(t, pool)
	require.Eventually(t, func() bool {
		return len(s.levels(gone)) == 1 && len(s.levels(failing)) == 2 && len(s.levels(never)) == 1
	}, patience, tick)
	require.Equal(t, []string{"FIRST_LASTING_FAILURE consecutive_failures", "HALF_OF_THRESHOLD consecutive_failures"}, s.levels(failing))
	require.Equal(t, []string{"DISABLE gone"}, s.levels(gone))
	require.Equal(t, []string{"FIRST_LASTING_FAILURE consecutive_failures"}, s.levels(never))
	require.Empty(t, s.levels(operational), "what tells of a webhook that was disabled disables none")

	e.attempts(t, failing, 2, f)
	require.Eventually(t, func() bool { return len(s.levels(failing)) == 3 }, patience, tick)
	require.Equal(t, "DISABLE consecutive_failures", s.levels(failing)[2])
	s.mu.Lock()
	last := s.health[len(s.health)-1]
	s.mu.Unlock()
	require.EqualValues(t, 8, last.GetConsecutiveFailures())
	require.EqualValues(t, 2, last.GetGeneration())
	require.EqualValues(t, 500, last.GetLastStatus())
	require.Equal(t, f, last.GetLastErrorClass())
	require.Equal(t, now(), last.GetFailingSince().AsTime())

	// Enabled again, it has everything before it, and what it did before does not count.
	e.configuration.put(&core.Webhook{ID: failing, Organization: "acme", Generation: 3, Threshold: core.Threshold{Consecutive: 3}})
	e.attempts(t, failing, 2, f, f, f)
	e.attempts(t, failing, 3, f, f)
	e.requireSettled(t, pool)
	store := pgstore.New(pool)
	health, err := store.Health(newContext(t), "acme", uuid.MustParse(failing))
	require.NoError(t, err)
	require.EqualValues(t, 3, health.Generation)
	require.EqualValues(t, 2, health.ConsecutiveFailures)
}

func TestTimeWithoutSuccessIsReportedWithoutAnAttempt(t *testing.T) {
	t.Parallel()
	e := setup(t)
	pool := pgtest.Database(t, "delivery", pgstore.Migrate)
	s := new(subscription)
	var mu sync.Mutex
	at := now()
	clock := func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return at
	}
	set := func(t time.Time) {
		mu.Lock()
		defer mu.Unlock()
		at = t
	}
	three := e.webhook(1, core.Threshold{WithoutSuccess: 5 * time.Hour})
	two := e.webhook(1, core.Threshold{WithoutSuccess: 5 * time.Hour})
	paused := e.webhook(1, core.Threshold{WithoutSuccess: 5 * time.Hour})
	e.attempts(t, three, 1, core.ErrorTimeout, core.ErrorTimeout, core.ErrorTimeout)
	e.attempts(t, two, 1, core.ErrorTimeout, core.ErrorTimeout)
	e.attempts(t, paused, 1, core.ErrorTimeout, core.ErrorTimeout, core.ErrorTimeout)
	run(t, grace, e.reporting(pool, s, clock))
	require.Eventually(t, func() bool { return len(s.levels(three)) == 1 && len(s.levels(two)) == 1 && len(s.levels(paused)) == 1 }, patience, tick)
	e.configuration.put(&core.Webhook{
		ID: paused, Organization: "acme", Generation: 1, Status: core.StatusPaused, Threshold: core.Threshold{WithoutSuccess: 5 * time.Hour},
	})
	set(now().Add(3 * time.Hour))
	require.Eventually(t, func() bool { return len(s.levels(three)) == 2 }, patience, tick)
	set(now().Add(5 * time.Hour))
	require.Eventually(t, func() bool { return len(s.levels(three)) == 3 }, patience, tick)
	require.Equal(t, []string{
		"FIRST_LASTING_FAILURE consecutive_failures", "HALF_OF_THRESHOLD without_success", "DISABLE without_success",
	}, s.levels(three))
	require.Len(t, s.levels(two), 1, "two deliveries that fail say nothing about the others")
	require.Len(t, s.levels(paused), 1, "what is not sent cannot succeed")
}

// Two instances take turns, each cut off at some moment; what is recorded twice in the stream, and what is taken in
// again, counts once.
func TestEveryRecordCountsOnceWhoeverTakesItIn(t *testing.T) {
	t.Parallel()
	e := setup(t)
	pool := pgtest.Database(t, "delivery", pgstore.Migrate)
	s := new(subscription)
	webhook := e.webhook(1, core.Threshold{})
	const rounds, size = 6, 40
	classes := make([]string, size)
	for i := range classes {
		classes[i] = core.ErrorReset
	}
	first, second := run(t, grace, e.reporting(pool, s, now)), run(t, grace, e.reporting(pool, s, now))
	for round := range rounds {
		for _, record := range e.attempts(t, webhook, 1, classes...)[:size/2] {
			e.publishRecord(t, record) // its acknowledgement was lost
		}
		stopped := []*running{first, second}[round%2]
		require.NoError(t, stopped.stop())
		next := run(t, grace, e.reporting(pool, s, now))
		if round%2 == 0 {
			first = next
		} else {
			second = next
		}
	}
	e.requireSettled(t, pool)
	health, err := pgstore.New(pool).Health(newContext(t), "acme", uuid.MustParse(webhook))
	require.NoError(t, err)
	require.EqualValues(t, rounds*size, health.ConsecutiveFailures)
	require.Len(t, health.FailingDeliveries, 3)
}

func TestDeadLettersAreReportedOncePerMinute(t *testing.T) {
	t.Parallel()
	e := setup(t)
	pool := pgtest.Database(t, "delivery", pgstore.Migrate)
	s := &subscription{fails: 2}
	var mu sync.Mutex
	at := now()
	clock := func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return at
	}
	webhook, minute := e.webhook(1, core.Threshold{}), now().Truncate(time.Minute)
	e.configuration.operational["webhook.disabled"] = true
	die := func(reason, trigger string, at time.Time) *deliveryv1.Record {
		record := newRecord()
		record.Webhook, record.Trigger, record.Attempt, record.Time = webhook, trigger, nil, timestamppb.New(at)
		record.State, record.Reason = deliveryv1.Delivery_STATE_DEAD_LETTERED, reason
		e.publishRecord(t, record)
		return record
	}
	for range 3 {
		record := die("attempts_exhausted", "meeting.booked", minute.Add(time.Second))
		record.Id = uuid.Must(uuid.NewV7()).String()
		e.publishRecord(t, record) // the step was done twice
	}
	die("webhook_disabled", "meeting.booked", minute.Add(-time.Second))
	die("attempts_exhausted", "webhook.disabled", minute)
	run(t, grace, e.reporting(pool, s, clock))
	e.requireSettled(t, pool)
	// Replayed and dead again, it is one more.
	again := die("poison", "meeting.booked", minute.Add(2*time.Second))
	replayed := proto.CloneOf(again)
	replayed.State, replayed.Reason, replayed.Time = deliveryv1.Delivery_STATE_PENDING, "", timestamppb.New(minute.Add(3*time.Second))
	e.publishRecord(t, replayed)
	again.Time = timestamppb.New(minute.Add(4 * time.Second))
	e.publishRecord(t, again)
	e.requireSettled(t, pool)

	mu.Lock()
	at = minute.Add(62 * time.Second)
	mu.Unlock()
	type key struct {
		reason string
		minute time.Time
	}
	counts := func() map[key]int64 {
		s.mu.Lock()
		defer s.mu.Unlock()
		all := make(map[key]int64)
		for _, c := range s.counts {
			k := key{c.GetReason(), c.GetMinute().AsTime()}
			if have, known := all[k]; known {
				require.Equal(t, have, c.GetCount(), "a count that is told again is the same")
			}
			all[k] = c.GetCount()
		}
		return all
	}
	want := map[key]int64{
		{"attempts_exhausted", minute}:                 3,
		{"webhook_disabled", minute.Add(-time.Minute)}: 1,
		{"poison", minute}:                             2,
	}
	unreported := func() int {
		var n int
		require.NoError(t, pool.QueryRow(newContext(t), "SELECT count(*) FROM delivery.dead_letter_count WHERE NOT reported").Scan(&n))
		return n
	}
	require.Eventually(t, func() bool { return len(counts()) == 3 && unreported() == 0 }, patience, tick)
	require.Equal(t, want, counts())

	// What is late goes into the minute that is running.
	die("attempts_exhausted", "meeting.booked", minute.Add(5*time.Second))
	e.requireSettled(t, pool)
	mu.Lock()
	at = minute.Add(122 * time.Second)
	mu.Unlock()
	require.Eventually(t, func() bool { return len(counts()) == 4 && unreported() == 0 }, patience, tick)
	want[key{"attempts_exhausted", minute.Add(time.Minute)}] = 1
	require.Equal(t, want, counts())
}

func TestRecordsOfADeletedOrganizationAreLeftOut(t *testing.T) {
	t.Parallel()
	e := setup(t)
	pool := pgtest.Database(t, "delivery", pgstore.Migrate)
	gone := newRecord()
	gone.Organization = "gone"
	e.publishRecord(t, gone)
	e.configuration.deleted["gone"] = true
	ids := e.publish(t, 2)
	run(t, grace, e.recorder(pgstore.New(pool)))
	e.requireSettled(t, pool)
	requireStored(t, pool, ids)
}

func TestPendingDeliveriesOfADeletedWebhookAreDropped(t *testing.T) {
	t.Parallel()
	e := setup(t)
	pool := pgtest.Database(t, "delivery", pgstore.Migrate)
	webhook := e.webhook(1, core.Threshold{})
	pending := e.attempts(t, webhook, 1, core.ErrorDNS)[0]
	done := e.attempts(t, webhook, 1, "")[0]
	other := e.attempts(t, e.webhook(1, core.Threshold{}), 1, core.ErrorDNS)[0]
	e.publishRecord(t, &deliveryv1.Record{
		Id: uuid.NewString(), Time: timestamppb.New(now().Add(time.Second)), Organization: "acme", Webhook: webhook,
		State: deliveryv1.Delivery_STATE_DROPPED, Reason: core.ReasonWebhookDeleted, AcceptTime: new(timestamppb.Timestamp),
	})
	store := pgstore.New(pool)
	run(t, grace, e.recorder(store))
	e.requireSettled(t, pool)
	for record, want := range map[*deliveryv1.Record]deliveryv1.Delivery_State{
		pending: deliveryv1.Delivery_STATE_DROPPED, done: deliveryv1.Delivery_STATE_SUCCEEDED, other: deliveryv1.Delivery_STATE_PENDING,
	} {
		got, err := store.Delivery(newContext(t), "acme", uuid.MustParse(record.GetDelivery()))
		require.NoError(t, err)
		require.Equal(t, want, got.GetState())
	}
	require.Zero(t, e.leftOut())
}
