package configfeed_test

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/meetwire/meetwire/pkg/configfeed"
	"github.com/meetwire/meetwire/pkg/rpc"
	"github.com/meetwire/meetwire/pkg/secret"
	accessv1 "github.com/meetwire/meetwire/proto/gen/meetwire/access/v1"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	// patience is how long a test waits for something that should be there at once.
	patience     = 20 * time.Second
	tick         = 5 * time.Millisecond
	serviceToken = "service-token-of-the-tests-0123456789"
)

// feed is a ConfigService whose streams say what a test tells them to.
type feed struct {
	configv1.UnimplementedConfigServiceServer
	t       *testing.T
	streams chan *session
	reports chan *report
}

// report is a call of ReportApiKeyUse, which waits for its answer.
type report struct {
	uses   map[string]time.Time
	answer chan error
}

// ReportApiKeyUse implements ConfigService.
func (f *feed) ReportApiKeyUse(ctx context.Context, request *configv1.ReportApiKeyUseRequest) (*configv1.ReportApiKeyUseResponse, error) {
	r := &report{uses: make(map[string]time.Time), answer: make(chan error, 1)}
	for _, use := range request.GetUses() {
		r.uses[use.GetApiKey()] = use.GetLastUseTime().AsTime()
	}
	f.reports <- r
	select {
	case err := <-r.answer:
		return &configv1.ReportApiKeyUseResponse{}, err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// session is one stream.
type session struct {
	t      *testing.T
	after  int64
	stream grpc.ServerStreamingServer[configv1.WatchConfigResponse]
	ended  chan error
}

// WatchConfig implements ConfigService.
func (f *feed) WatchConfig(request *configv1.WatchConfigRequest, stream grpc.ServerStreamingServer[configv1.WatchConfigResponse]) error {
	if got := metadata.ValueFromIncomingContext(stream.Context(), "authorization"); len(got) != 1 || got[0] != "Bearer "+serviceToken {
		f.t.Errorf("the watcher came with the credential %q", got)
	}
	s := &session{t: f.t, after: request.GetAfterRevision(), stream: stream, ended: make(chan error, 1)}
	select {
	case f.streams <- s:
	case <-stream.Context().Done():
		return stream.Context().Err()
	}
	select {
	case err := <-s.ended:
		return err
	case <-stream.Context().Done():
		return stream.Context().Err()
	}
}

func (s *session) send(message *configv1.WatchConfigResponse) {
	s.t.Helper()
	require.NoError(s.t, s.stream.Send(message))
}

func (s *session) page(revision int64, last bool, resources ...*configv1.Resource) {
	s.t.Helper()
	s.send(&configv1.WatchConfigResponse{Message: &configv1.WatchConfigResponse_SnapshotPage{
		SnapshotPage: &configv1.SnapshotPage{Revision: revision, Resources: resources, Last: last},
	}})
}

func (s *session) snapshot(revision int64, resources ...*configv1.Resource) {
	s.t.Helper()
	s.page(revision, true, resources...)
}

func (s *session) change(revision int64, resources ...*configv1.Resource) {
	s.t.Helper()
	s.send(&configv1.WatchConfigResponse{Message: &configv1.WatchConfigResponse_Change{
		Change: &configv1.Change{Revision: revision, Resources: resources},
	}})
}

func heartbeat(revision int64) *configv1.WatchConfigResponse {
	return &configv1.WatchConfigResponse{Message: &configv1.WatchConfigResponse_Heartbeat{
		Heartbeat: &configv1.Heartbeat{Revision: revision},
	}}
}

// end ends the stream with an error, or in order.
func (s *session) end(err error) { s.ended <- err }

// sink notes what it is told.
type sink struct {
	told chan told
}

type told struct {
	reset     bool
	revision  int64
	resources []string
}

func newSink() *sink { return &sink{told: make(chan told, 100)} }

// Reset implements configfeed.Sink.
func (s *sink) Reset(snapshot []*configv1.Resource, revision int64) {
	s.told <- told{true, revision, names(snapshot)}
}

// Apply implements configfeed.Sink.
func (s *sink) Apply(change *configv1.Change) {
	s.told <- told{false, change.GetRevision(), names(change.GetResources())}
}

// names tells resources apart.
func names(resources []*configv1.Resource) []string {
	all := make([]string, len(resources))
	for i, resource := range resources {
		switch r := resource.GetResource().(type) {
		case *configv1.Resource_Organization:
			all[i] = "organization " + r.Organization.GetId()
		case *configv1.Resource_Trigger:
			all[i] = "trigger " + r.Trigger.GetId()
		case *configv1.Resource_ApiKey:
			all[i] = "key " + r.ApiKey.GetId()
		case *configv1.Resource_DeletedApiKey:
			all[i] = "deleted key " + r.DeletedApiKey
		case *configv1.Resource_Webhook:
			all[i] = "webhook " + r.Webhook.GetId()
		case *configv1.Resource_DeletedWebhook:
			all[i] = "deleted webhook " + r.DeletedWebhook
		case *configv1.Resource_DeletedOrganization:
			all[i] = "deleted organization " + r.DeletedOrganization
		}
	}
	return all
}

func organization(id string) *configv1.Resource {
	return &configv1.Resource{Resource: &configv1.Resource_Organization{Organization: &configv1.Organization{Id: id}}}
}

func trigger(id string) *configv1.Resource {
	return &configv1.Resource{Resource: &configv1.Resource_Trigger{Trigger: &configv1.Trigger{Id: id, Schema: "{}"}}}
}

func ownTrigger(organization, id string) *configv1.Resource {
	own := trigger(id)
	own.GetTrigger().Organization = organization
	return own
}

func deletedTrigger(organization, id string) *configv1.Resource {
	return &configv1.Resource{Resource: &configv1.Resource_DeletedTrigger{DeletedTrigger: &configv1.TriggerKey{Organization: organization, Id: id}}}
}

func deletedOrganization(id string) *configv1.Resource {
	return &configv1.Resource{Resource: &configv1.Resource_DeletedOrganization{DeletedOrganization: id}}
}

func webhook(id string) *configv1.Resource {
	return &configv1.Resource{Resource: &configv1.Resource_Webhook{Webhook: &configv1.Webhook{Id: id}}}
}

func apiKey(id, organization string, role accessv1.Role) *configv1.Resource {
	sum := sha256.Sum256([]byte(id))
	return &configv1.Resource{Resource: &configv1.Resource_ApiKey{ApiKey: &configv1.ApiKey{
		Id: id, Organization: organization, Role: role, SecretSha256: sum[:],
	}}}
}

func deletedKey(id string) *configv1.Resource {
	return &configv1.Resource{Resource: &configv1.Resource_DeletedApiKey{DeletedApiKey: id}}
}

// env is a watcher that runs against a feed.
type env struct {
	feed    *feed
	watcher *configfeed.Watcher
	sink    *sink
	stop    func() error
	ahead   atomic.Int64 // nanoseconds by which the watcher's clock is ahead
}

// now is the watcher's clock.
func (e *env) now() time.Time { return time.Now().Add(time.Duration(e.ahead.Load())) }

// maxAge is how long the feed may be silent before keys are not trusted any more.
const maxAge = time.Minute

func setup(t *testing.T) *env {
	t.Helper()
	return setupWith(t)
}

func setupWith(t *testing.T, options ...func(*configfeed.Watcher)) *env {
	t.Helper()
	e := &env{feed: &feed{t: t, streams: make(chan *session), reports: make(chan *report, 10)}, sink: newSink()}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := grpc.NewServer()
	configv1.RegisterConfigServiceServer(server, e.feed)
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) })
	t.Cleanup(func() {
		server.Stop()
		serving.Wait()
	})
	conn, err := rpc.Dial(listener.Addr().String(), rpc.WithServiceToken(secret.New(serviceToken)))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })

	e.watcher = configfeed.New(configv1.NewConfigServiceClient(conn), slog.New(slog.DiscardHandler), maxAge, e.sink)
	for _, change := range append(options, configfeed.Clock(e.now)) {
		change(e.watcher)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- e.watcher.Run(ctx) }()
	e.stop = sync.OnceValue(func() error {
		cancel()
		return receive(t, done)
	})
	t.Cleanup(func() { require.NoError(t, e.stop()) })
	return e
}

// stream returns the next stream that the watcher opens.
func (e *env) stream(t *testing.T) *session {
	t.Helper()
	return receive(t, e.feed.streams)
}

// waitFor waits until a revision is in force.
func (e *env) waitFor(t *testing.T, revision int64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	require.NoError(t, e.watcher.WaitFor(ctx, revision))
}

// receive returns the next value of a channel, for which it waits a limited time.
func receive[T any](t *testing.T, ch <-chan T) T {
	t.Helper()
	select {
	case v := <-ch:
		return v
	case <-time.After(patience):
		require.Fail(t, "nothing came")
		panic("unreachable")
	}
}
