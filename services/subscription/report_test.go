package subscription_test

import (
	"bytes"
	"encoding/json"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/google/uuid"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/meetwire/meetwire/pkg/bus"
	accessv1 "github.com/meetwire/meetwire/proto/gen/meetwire/access/v1"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	subscriptionv1 "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
	"github.com/meetwire/meetwire/services/subscription"
)

// mailbox is an SMTP server on loopback that takes everything.
type mailbox struct {
	port int

	mu   sync.Mutex
	sent []string
}

func newMailbox(t *testing.T) *mailbox {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	m := &mailbox{port: listener.Addr().(*net.TCPAddr).Port}
	server := smtp.NewServer(smtp.BackendFunc(func(*smtp.Conn) (smtp.Session, error) { return mailSession{m}, nil }))
	server.Domain = "127.0.0.1"
	server.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() { require.NoError(t, server.Close()); require.NoError(t, <-done) })
	return m
}

// config returns what an instance needs to send to it.
func (m *mailbox) config() subscription.MailConfig {
	return subscription.MailConfig{Host: "127.0.0.1", Port: m.port, TLS: "none", From: "alerts@meetwire.example"}
}

// messages returns what was sent so far.
func (m *mailbox) messages() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]string(nil), m.sent...)
}

// mailSession is a connection to a mailbox.
type mailSession struct{ *mailbox }

func (mailSession) Mail(string, *smtp.MailOptions) error { return nil }
func (mailSession) Rcpt(string, *smtp.RcptOptions) error { return nil }
func (mailSession) Reset()                               {}
func (mailSession) Logout() error                        { return nil }

func (s mailSession) Data(r io.Reader) error {
	raw, err := io.ReadAll(r)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent = append(s.sent, string(raw))
	return err
}

// announced is an event that Meetwire has published.
type announced struct {
	ID, Source, Type string
	Data             map[string]any
}

// announcements waits until so many events are in EVENTS, and returns them: there are no more.
func (i *installation) announcements(t *testing.T, want int) []announced {
	t.Helper()
	all := i.published(t, want)
	require.Len(t, all, want)
	return all
}

// published waits until so many events are in EVENTS and returns all that are.
func (i *installation) published(t *testing.T, want int) []announced {
	t.Helper()
	_, js := i.broker.Connect(t)
	stream, err := js.Stream(t.Context(), bus.StreamEvents)
	require.NoError(t, err)
	var info *jetstream.StreamInfo
	require.Eventually(t, func() bool {
		info, err = stream.Info(t.Context())
		return err == nil && info.State.Msgs >= uint64(want)
	}, patience, poll)
	var all []announced
	for n := info.State.FirstSeq; n <= info.State.LastSeq; n++ {
		msg, err := stream.GetMsg(t.Context(), n)
		require.NoError(t, err)
		var event announced
		require.NoError(t, json.Unmarshal(msg.Data, &event))
		require.Equal(t, bus.EventSubject("acme", event.Type), msg.Subject)
		require.True(t, bus.CheckOperational(i.serviceToken, msg.Header, bus.EventMsgID("acme", event.Source, event.ID)))
		i.requireValid(t, event)
		all = append(all, event)
	}
	return all
}

// requireValid asserts that the data of an event satisfies the schema of its trigger.
func (i *installation) requireValid(t *testing.T, event announced) {
	t.Helper()
	var text string
	require.NoError(t, i.pool.QueryRow(t.Context(), "SELECT schema FROM subscription.trigger WHERE id = $1", event.Type).Scan(&text))
	document, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	require.NoError(t, err)
	compiler := jsonschema.NewCompiler()
	compiler.AssertFormat()
	require.NoError(t, compiler.AddResource("trigger.json", document))
	schema, err := compiler.Compile("trigger.json")
	require.NoError(t, err)
	data, err := json.Marshal(event.Data)
	require.NoError(t, err)
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	require.NoError(t, err)
	require.NoError(t, schema.Validate(value), "%s", data)
}

// failing is a report about a webhook.
func failing(w *subscriptionv1.Webhook, level configv1.ReportWebhookHealthRequest_Level) *configv1.ReportWebhookHealthRequest {
	return &configv1.ReportWebhookHealthRequest{
		Organization: "acme", Webhook: idIn(w.GetName()), Generation: 1, Level: level, Reason: "consecutive_failures",
		ConsecutiveFailures: 20, FailingSince: timestamppb.New(time.Date(2026, 5, 1, 10, 0, 0, 0, time.UTC)),
		LastStatus: 503, LastErrorClass: "status",
	}
}

const (
	levelFirst   = configv1.ReportWebhookHealthRequest_LEVEL_FIRST_LASTING_FAILURE
	levelHalf    = configv1.ReportWebhookHealthRequest_LEVEL_HALF_OF_THRESHOLD
	levelDisable = configv1.ReportWebhookHealthRequest_LEVEL_DISABLE
)

func TestFailingWebhookIsDisabledAndEverybodyIsTold(t *testing.T) {
	t.Parallel()
	i := newInstallation(t)
	box := newMailbox(t)
	cfg := i.config()
	cfg.Mail = box.config()
	instance := i.startWith(t, cfg)
	operator := instance.operator(t)
	operator.organization(t, "acme", false)
	wanted := booking()
	wanted.AlertEmails = []string{"ops@example.com"}
	w := operator.webhook(t, "acme", wanted)
	delivery := instance.as(t, i.serviceToken)
	report := func(level configv1.ReportWebhookHealthRequest_Level) bool {
		t.Helper()
		answer, err := delivery.config.ReportWebhookHealth(t.Context(), failing(w, level))
		require.NoError(t, err)
		return answer.GetEffective()
	}
	revision := i.revision(t)
	require.True(t, report(levelFirst))
	require.False(t, report(levelFirst))
	require.True(t, report(levelHalf))
	require.Equal(t, revision, i.revision(t), "nothing has changed for the other services")
	require.True(t, report(levelDisable))
	require.False(t, report(levelDisable), "once")
	require.False(t, report(levelHalf))
	require.Equal(t, revision+1, i.revision(t))

	now, err := operator.webhooks.GetWebhook(t.Context(), &subscriptionv1.GetWebhookRequest{Name: w.GetName()})
	require.NoError(t, err)
	require.Equal(t, subscriptionv1.Webhook_STATUS_DISABLED, now.GetStatus())
	require.Equal(t, "consecutive_failures", now.GetStatusReason())
	audit := operator.entries(t, "acme", "action = disable")
	require.Len(t, audit, 1)
	require.Equal(t, "system", audit[0].GetActor())
	require.Equal(t, w.GetName(), audit[0].GetResource())

	event := i.announcements(t, 1)[0]
	require.Equal(t, "webhook.disabled", event.Type)
	require.Equal(t, "//meetwire/subscription", event.Source)
	require.Equal(t, map[string]any{"name": w.GetName(), "id": idIn(w.GetName()), "display_name": "Booking sync"}, event.Data["webhook"])
	require.Equal(t, "consecutive_failures", event.Data["reason"])
	require.EqualValues(t, 1, event.Data["generation"])
	require.EqualValues(t, 20, event.Data["consecutive_failures"])
	require.Equal(t, "2026-05-01T10:00:00Z", event.Data["failing_since"])
	require.EqualValues(t, 503, event.Data["last_status"])

	require.Eventually(t, func() bool { return len(box.messages()) == 3 }, patience, poll)
	var subjects []string
	for _, message := range box.messages() {
		_, rest, _ := strings.Cut(message, "Subject: [Meetwire] ")
		subject, _, _ := strings.Cut(rest, ":")
		subjects = append(subjects, subject)
	}
	require.ElementsMatch(t, []string{"Failing", "Still failing", "Disabled"}, subjects)
}

func TestReportOfAnEarlierGenerationHasNoEffect(t *testing.T) {
	t.Parallel()
	i := setup(t)
	operator := i.operator(t)
	operator.organization(t, "acme", false)
	operator.organization(t, "other", false)
	w := operator.webhook(t, "acme", booking())
	delivery := i.as(t, i.serviceToken)
	report := func(spoil func(*configv1.ReportWebhookHealthRequest)) bool {
		t.Helper()
		req := failing(w, levelDisable)
		spoil(req)
		answer, err := delivery.config.ReportWebhookHealth(t.Context(), req)
		require.NoError(t, err)
		return answer.GetEffective()
	}
	require.True(t, report(func(*configv1.ReportWebhookHealthRequest) {}))
	_, err := operator.webhooks.EnableWebhook(t.Context(), &subscriptionv1.EnableWebhookRequest{Name: w.GetName()})
	require.NoError(t, err)
	for _, spoil := range []func(*configv1.ReportWebhookHealthRequest){
		func(*configv1.ReportWebhookHealthRequest) {}, // of generation 1
		func(r *configv1.ReportWebhookHealthRequest) { r.Generation = 3 },
		func(r *configv1.ReportWebhookHealthRequest) { r.Generation, r.Organization = 2, "other" },
		func(r *configv1.ReportWebhookHealthRequest) { r.Generation, r.Organization = 2, "nobody" },
		func(r *configv1.ReportWebhookHealthRequest) { r.Generation, r.Webhook = 2, uuid.NewString() },
		func(r *configv1.ReportWebhookHealthRequest) { r.Generation, r.Level = 2, levelFirst }, // nobody reads e-mails here
	} {
		require.False(t, report(spoil))
	}
	require.True(t, report(func(r *configv1.ReportWebhookHealthRequest) { r.Generation = 2 }))
	for _, credential := range []*caller{operator, i.as(t, operator.key(t, "acme", accessv1.Role_ROLE_ADMIN))} {
		_, err := credential.config.ReportWebhookHealth(t.Context(), failing(w, levelDisable))
		requireCode(t, err, codes.PermissionDenied)
	}
	_, err = delivery.config.ReportWebhookHealth(t.Context(), failing(w, 0))
	requireField(t, err, "level", "")
	var mails int
	require.NoError(t, i.pool.QueryRow(t.Context(), "SELECT count(*) FROM subscription.mail").Scan(&mails))
	require.Zero(t, mails, "without an SMTP server nothing is queued")
}

// A report may be under way while somebody pauses the webhook.
func TestReportDoesNotDisableAPausedWebhook(t *testing.T) {
	t.Parallel()
	i := setup(t)
	operator := i.operator(t)
	operator.organization(t, "acme", false)
	w := operator.webhook(t, "acme", booking())
	name := w.GetName()
	delivery := i.as(t, i.serviceToken)
	report := func(generation int64, effective bool, want subscriptionv1.Webhook_Status) {
		t.Helper()
		req := failing(w, levelDisable)
		req.Generation = generation
		for range 2 { // it is made again until the pause has got to delivery
			answer, err := delivery.config.ReportWebhookHealth(t.Context(), req)
			require.NoError(t, err)
			require.Equal(t, effective, answer.GetEffective())
			effective = false
		}
		got, err := operator.webhooks.GetWebhook(t.Context(), &subscriptionv1.GetWebhookRequest{Name: name})
		require.NoError(t, err)
		require.Equal(t, want, got.GetStatus())
	}
	_, err := operator.webhooks.PauseWebhook(t.Context(), &subscriptionv1.PauseWebhookRequest{Name: name})
	require.NoError(t, err)
	report(1, false, subscriptionv1.Webhook_STATUS_PAUSED)
	_, err = operator.webhooks.ResumeWebhook(t.Context(), &subscriptionv1.ResumeWebhookRequest{Name: name})
	require.NoError(t, err)
	report(1, false, subscriptionv1.Webhook_STATUS_ACTIVE)
	report(2, true, subscriptionv1.Webhook_STATUS_DISABLED)
	i.announcements(t, 1)
}

func TestDeadLettersAreAnnouncedOncePerMinute(t *testing.T) {
	t.Parallel()
	i := setup(t)
	operator := i.operator(t)
	operator.organization(t, "acme", false)
	w := operator.webhook(t, "acme", booking())
	delivery := i.as(t, i.serviceToken)
	minute := time.Date(2026, 5, 1, 10, 0, 0, 0, time.UTC)
	count := func(webhook, reason string, minute time.Time, n int64) *configv1.ReportDeadLettersRequest_Count {
		return &configv1.ReportDeadLettersRequest_Count{
			Organization: "acme", Webhook: webhook, Reason: reason, Minute: timestamppb.New(minute), Count: n,
		}
	}
	counts := []*configv1.ReportDeadLettersRequest_Count{
		count(idIn(w.GetName()), "attempts_exhausted", minute, 7),
		count(idIn(w.GetName()), "attempts_exhausted", minute.Add(time.Minute), 1),
		count(idIn(w.GetName()), "gone", minute, 2),
		count(uuid.NewString(), "gone", minute, 2), // of a webhook that was deleted
	}
	report := func() {
		t.Helper()
		_, err := delivery.config.ReportDeadLetters(t.Context(), &configv1.ReportDeadLettersRequest{Counts: counts})
		require.NoError(t, err)
	}
	report()
	events := i.announcements(t, 3)
	report() // also after they were published
	report()
	w2 := operator.webhook(t, "acme", booking())
	counts = append(counts, count(idIn(w2.GetName()), "gone", minute, 1))
	report()
	again := i.announcements(t, 4)
	require.Equal(t, events, again[:3])
	require.Equal(t, idIn(w2.GetName())+":gone:2026-05-01T10:00:00Z", again[3].ID)
	var told []any
	for _, event := range events {
		require.Equal(t, "delivery.dead_lettered", event.Type)
		told = append(told, event.ID, event.Data["reason"], event.Data["minute"], event.Data["count"])
	}
	require.Subset(t, told, []any{idIn(w.GetName()) + ":attempts_exhausted:2026-05-01T10:00:00Z", float64(7), "2026-05-01T10:01:00Z"})
}

func TestUseOfAPIKeysIsKnown(t *testing.T) {
	t.Parallel()
	i := setup(t)
	operator := i.operator(t)
	operator.organization(t, "acme", false)
	k, err := operator.apiKeys.CreateApiKey(t.Context(), &subscriptionv1.CreateApiKeyRequest{
		Parent: "organizations/acme", ApiKey: &subscriptionv1.ApiKey{DisplayName: "CI", Role: accessv1.Role_ROLE_PUBLISHER},
	})
	require.NoError(t, err)
	require.Nil(t, k.GetLastUseTime())
	get := func() *timestamppb.Timestamp {
		t.Helper()
		got, err := operator.apiKeys.GetApiKey(t.Context(), &subscriptionv1.GetApiKeyRequest{Name: k.GetName()})
		require.NoError(t, err)
		require.Empty(t, got.GetKey())
		return got.GetLastUseTime()
	}
	require.Nil(t, get())
	ingest := i.as(t, i.serviceToken)
	report := func(times ...time.Time) {
		t.Helper()
		req := &configv1.ReportApiKeyUseRequest{Uses: []*configv1.ReportApiKeyUseRequest_Use{
			{ApiKey: "0000000000000000", LastUseTime: timestamppb.Now()}, // of a key that is gone
		}}
		for _, at := range times {
			req.Uses = append(req.Uses, &configv1.ReportApiKeyUseRequest_Use{ApiKey: idIn(k.GetName()), LastUseTime: timestamppb.New(at)})
		}
		_, err := ingest.config.ReportApiKeyUse(t.Context(), req)
		require.NoError(t, err)
	}
	revision, entries := i.revision(t), len(operator.entries(t, "acme", ""))
	first := time.Date(2026, 5, 1, 10, 0, 0, 0, time.UTC)
	report(first, first.Add(-time.Hour))
	require.Equal(t, first, get().AsTime())
	report(first.Add(-time.Minute))
	require.Equal(t, first, get().AsTime(), "only ever forward")
	report(time.Now().Add(time.Hour))
	require.WithinDuration(t, time.Now(), get().AsTime(), time.Minute, "nothing was used in the future")
	require.Equal(t, revision, i.revision(t))
	require.Len(t, operator.entries(t, "acme", ""), entries)

	// What the service itself was used with is stored when it stops, at the latest.
	admin := operator.key(t, "acme", accessv1.Role_ROLE_ADMIN)
	_, err = i.as(t, admin).webhooks.ListWebhooks(t.Context(), &subscriptionv1.ListWebhooksRequest{Parent: "organizations/acme"})
	require.NoError(t, err)
	i.stop()
	var used *time.Time
	require.NoError(t, i.pool.QueryRow(t.Context(), "SELECT last_use_time FROM subscription.api_key WHERE id = $1", idOf(admin)).Scan(&used))
	require.NotNil(t, used)
}
