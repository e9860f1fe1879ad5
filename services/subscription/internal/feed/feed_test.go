package feed

import (
	"context"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"

	"github.com/meetwire/meetwire/pkg/fault"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	patience = 10 * time.Second
	poll     = time.Millisecond
)

// fakeSource is a feed in memory.
type fakeSource struct {
	mu       sync.Mutex
	revision int64
	first    int64 // the oldest entry; those before are trimmed
	err      error // of everything, while it is away
	polls    int
	wake     func()
	trims    []time.Time

	pages   int           // of a snapshot
	open    int           // snapshots that are being read
	mostly  int           // the greatest number of them at a time
	reading chan struct{} // gets an element when a snapshot begins
}

func (s *fakeSource) with(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func (s *fakeSource) Revision(context.Context) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.polls++
	return s.revision, s.err
}

func (s *fakeSource) Changes(_ context.Context, after, _ int64, limit int) ([]*configv1.Change, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return nil, s.err
	}
	if after+1 < s.first {
		return nil, core.ErrGap
	}
	var changes []*configv1.Change
	for n := after + 1; n <= s.revision && len(changes) < limit; n++ {
		changes = append(changes, &configv1.Change{Revision: n})
	}
	return changes, nil
}

func (s *fakeSource) Snapshot(_ context.Context, yield func(*configv1.SnapshotPage) error) error {
	var revision int64
	s.with(func() {
		s.open++
		s.mostly = max(s.mostly, s.open)
		revision = s.revision
	})
	defer s.with(func() { s.open-- })
	if s.reading != nil {
		s.reading <- struct{}{}
	}
	for n := range s.pages {
		if err := yield(&configv1.SnapshotPage{Revision: revision, Last: n == s.pages-1}); err != nil {
			return err
		}
	}
	return nil
}

func (s *fakeSource) Listen(ctx context.Context, wake func()) error {
	s.with(func() { s.wake = wake })
	<-ctx.Done()
	return ctx.Err()
}

func (s *fakeSource) TrimFeed(_ context.Context, before time.Time) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trims = append(s.trims, before)
	return 0, s.err
}

// fakeStream hands every message to the test, and blocks until the test takes it.
type fakeStream struct {
	grpc.ServerStream
	ctx      context.Context //nolint:containedctx // that is what a stream is
	messages chan *configv1.WatchConfigResponse
}

func (s *fakeStream) Context() context.Context { return s.ctx }

func (s *fakeStream) Send(m *configv1.WatchConfigResponse) error {
	select {
	case s.messages <- m:
		return nil
	case <-s.ctx.Done():
		return s.ctx.Err()
	}
}

var testNow = time.Date(2026, 1, 8, 0, 0, 0, 0, time.UTC)

// start runs a server over a source until the test ends.
func start(t *testing.T, source *fakeSource) *Server {
	t.Helper()
	s, err := NewServer(Config{
		Source: source, Logger: slog.New(slog.DiscardHandler), Registry: prometheus.NewRegistry(),
		Retention: 24 * time.Hour, Now: func() time.Time { return testNow },
	})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
	})
	return s
}

// watch calls WatchConfig and returns its messages and its end.
func watch(t *testing.T, s *Server, after int64) (*fakeStream, <-chan error) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	stream := &fakeStream{ctx: ctx, messages: make(chan *configv1.WatchConfigResponse)}
	ended, result := make(chan struct{}), make(chan error, 1)
	go func() {
		defer close(ended)
		result <- s.WatchConfig(&configv1.WatchConfigRequest{AfterRevision: after}, stream)
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	return stream, result
}

// next returns the next message that is no heartbeat.
func (s *fakeStream) next(t *testing.T) *configv1.WatchConfigResponse {
	t.Helper()
	for {
		select {
		case m := <-s.messages:
			if m.GetHeartbeat() == nil {
				return m
			}
		case <-time.After(patience):
			require.FailNow(t, "nothing came")
		}
	}
}

func requireEnd(t *testing.T, result <-chan error, kind fault.Kind) {
	t.Helper()
	select {
	case err := <-result:
		require.Equal(t, kind, fault.KindOf(err), "%v", err)
	case <-time.After(patience):
		require.FailNow(t, "the stream does not end")
	}
}

func TestHintIsFollowedBeforeTheNextPoll(t *testing.T) {
	t.Parallel()
	source := &fakeSource{revision: 1, pages: 1}
	s := start(t, source)
	stream, _ := watch(t, s, 1)
	require.Eventually(t, func() bool {
		listening := false
		source.with(func() { listening = source.wake != nil && source.polls > 0 })
		return listening
	}, patience, poll)
	for n := int64(2); n < 20; n++ {
		began := time.Now()
		source.with(func() { source.revision = n })
		source.wake()
		require.Equal(t, n, stream.next(t).GetChange().GetRevision())
		if time.Since(began) < pollInterval/4 {
			return
		}
	}
	require.Fail(t, "hints make nothing faster")
}

func TestChangesAreSeenWithoutHints(t *testing.T) {
	t.Parallel()
	source := &fakeSource{revision: 1, pages: 1}
	stream, _ := watch(t, start(t, source), 1)
	for n := int64(2); n < 5; n++ {
		source.with(func() { source.revision = n })
		require.Equal(t, n, stream.next(t).GetChange().GetRevision())
	}
}

func TestManyChangesComeInOrder(t *testing.T) {
	t.Parallel()
	source := &fakeSource{revision: 10*batch + 7, first: 1, pages: 1}
	stream, _ := watch(t, start(t, source), 3)
	for n := int64(4); n <= source.revision; n++ {
		require.Equal(t, n, stream.next(t).GetChange().GetRevision())
	}
}

func TestSnapshotsAreLimitedInNumber(t *testing.T) {
	t.Parallel()
	source := &fakeSource{revision: 5, pages: 3 * pagesAhead, reading: make(chan struct{}, 100)}
	s := start(t, source)
	const watchers = 3 * concurrentSnapshots
	streams := make([]*fakeStream, watchers)
	for n := range streams {
		streams[n], _ = watch(t, s, 0)
	}
	for range concurrentSnapshots {
		<-source.reading
	}
	require.Empty(t, source.reading)
	var reading sync.WaitGroup
	for _, stream := range streams {
		reading.Go(func() {
			for last := false; !last; {
				last = stream.next(t).GetSnapshotPage().GetLast()
			}
		})
	}
	reading.Wait()
	source.with(func() { require.LessOrEqual(t, source.mostly, concurrentSnapshots) })
}

func TestSnapshotThatIsNotReadGivesItsPlaceBack(t *testing.T) {
	t.Parallel()
	source := &fakeSource{revision: 5, pages: 3 * pagesAhead}
	s := start(t, source)
	s.snapshotTimeout = 50 * time.Millisecond
	var slow []<-chan error
	var streams []*fakeStream
	for range concurrentSnapshots {
		stream, result := watch(t, s, 0)
		stream.next(t)
		slow, streams = append(slow, result), append(streams, stream)
	}
	require.Eventually(t, func() bool {
		open := 0
		source.with(func() { open = source.open })
		return open == 0
	}, patience, poll, "whoever does not read holds no connection")
	for n, result := range slow {
		for ended := false; !ended; {
			select {
			case <-streams[n].messages:
			case err := <-result:
				require.Equal(t, fault.Aborted, fault.KindOf(err), "%v", err)
				ended = true
			}
		}
	}
	stream, _ := watch(t, s, 0)
	require.EqualValues(t, 5, stream.next(t).GetSnapshotPage().GetRevision())
}

func TestWatcherEndsWhenTheFeedWasTrimmedUnderIt(t *testing.T) {
	t.Parallel()
	source := &fakeSource{revision: 5, first: 1, pages: 1}
	stream, result := watch(t, start(t, source), 4)
	stream.next(t)
	source.with(func() { source.revision, source.first = 100, 50 })
	requireEnd(t, result, fault.Aborted)
}

func TestWatcherEndsWhenTheDatabaseWasRestored(t *testing.T) {
	t.Parallel()
	source := &fakeSource{revision: 5, first: 1, pages: 1}
	s := start(t, source)
	stream, result := watch(t, s, 4)
	stream.next(t)
	source.with(func() { source.revision = 3 })
	requireEnd(t, result, fault.Unavailable)
	require.EqualValues(t, 3, s.hub.now().revision)
	require.Equal(t, 1, s.hub.now().restored)
}

// A watcher can know more than was last looked for.
func TestARestoreBehindWhatAWatcherWasToldIsNoticed(t *testing.T) {
	t.Parallel()
	source := &fakeSource{revision: 4}
	h := newHub(source, slog.New(slog.DiscardHandler))
	require.NoError(t, h.poll(t.Context()))
	changed := h.now().changed
	h.learn(4, 0)
	h.learn(3, 0)
	require.Equal(t, changed, h.now().changed, "it is known")
	h.learn(5, 0)
	<-changed
	require.EqualValues(t, 5, h.now().revision)
	require.NoError(t, h.poll(t.Context()))
	require.Equal(t, 1, h.now().restored)
	require.EqualValues(t, 4, h.now().revision)
	h.learn(5, 0) // by a watcher that does not know yet
	require.NoError(t, h.poll(t.Context()))
	require.Equal(t, 1, h.now().restored)
	require.EqualValues(t, 4, h.now().revision)
}

// overtaken is a source whose answer is outdated when it comes.
type overtaken struct {
	*fakeSource

	meanwhile func()
}

func (s *overtaken) Revision(ctx context.Context) (int64, error) {
	revision, err := s.fakeSource.Revision(ctx)
	s.meanwhile()
	return revision, err
}

func TestAnAnswerThatIsOutdatedIsNoRestore(t *testing.T) {
	t.Parallel()
	source := &overtaken{fakeSource: &fakeSource{revision: 4}}
	h := newHub(source, slog.New(slog.DiscardHandler))
	source.meanwhile = func() { h.learn(5, 0) }
	require.NoError(t, h.poll(t.Context()))
	require.Zero(t, h.now().restored)
	require.EqualValues(t, 5, h.now().revision)
	require.True(t, h.now().alive())
	source.meanwhile = func() {}
	source.revision = 5
	require.NoError(t, h.poll(t.Context()))
	require.Zero(t, h.now().restored)
}

func TestWatcherEndsWhenTheServerCloses(t *testing.T) {
	t.Parallel()
	source := &fakeSource{revision: 5, first: 1, pages: 1}
	s := start(t, source)
	stream, result := watch(t, s, 4)
	stream.next(t)
	s.Close()
	s.Close()
	select {
	case err := <-result:
		require.NoError(t, err)
	case <-time.After(patience):
		require.FailNow(t, "the stream does not end")
	}
}

func TestNoHeartbeatWhileTheSourceIsAway(t *testing.T) {
	t.Parallel()
	source := &fakeSource{revision: 5, first: 1, pages: 1}
	s := start(t, source)
	stream, _ := watch(t, s, 5)
	require.EqualValues(t, 5, (<-stream.messages).GetHeartbeat().GetRevision())
	source.with(func() { source.err = fault.New(fault.Unavailable, "AWAY", "away") })
	require.Eventually(t, func() bool {
		select {
		case <-stream.messages:
			return false
		case <-time.After(2 * heartbeatInterval):
			return true
		}
	}, patience, poll)
	_, result := watch(t, s, 5)
	requireEnd(t, result, fault.Unavailable)
	source.with(func() { source.err = nil })
	require.NotNil(t, (<-stream.messages).GetHeartbeat(), "it is back")
}

func TestOldEntriesAreTrimmed(t *testing.T) {
	t.Parallel()
	source := &fakeSource{revision: 5}
	start(t, source)
	require.Eventually(t, func() bool {
		trimmed := false
		source.with(func() { trimmed = len(source.trims) > 0 && source.trims[0].Equal(testNow.Add(-24*time.Hour)) })
		return trimmed
	}, patience, poll)
}

func TestRegistryThatRefusesIsReported(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	cfg := Config{Source: &fakeSource{}, Logger: slog.New(slog.DiscardHandler), Registry: registry, Now: time.Now}
	_, err := NewServer(cfg)
	require.NoError(t, err)
	_, err = NewServer(cfg)
	require.ErrorAs(t, err, new(prometheus.AlreadyRegisteredError))
}
