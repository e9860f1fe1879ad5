package feed

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"github.com/meetwire/meetwire/pkg/fault"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
)

const (
	heartbeatInterval = time.Second
	// batch is how many changes a watcher reads at a time.
	batch = 100
	// trimInterval is how often old entries are looked for.
	trimInterval = 10 * time.Minute
)

// Config is what a server needs to know.
type Config struct {
	Source    Source
	Logger    *slog.Logger
	Registry  prometheus.Registerer
	Retention time.Duration    // how long entries are kept in the feed
	Now       func() time.Time // what the entries of the feed are dated by
}

// Server implements ConfigService.
type Server struct {
	configv1.UnimplementedConfigServiceServer

	source          Source
	logger          *slog.Logger
	retention       time.Duration
	clock           func() time.Time
	hub             *hub
	snapshots       chan struct{} // holds one element per snapshot under way
	snapshotTimeout time.Duration

	closeOnce sync.Once
	closed    chan struct{}

	watchers prometheus.Gauge
	sent     *prometheus.CounterVec
}

// NewServer returns a server whose Run has to run while it serves.
func NewServer(cfg Config) (*Server, error) {
	s := &Server{
		source:          cfg.Source,
		logger:          cfg.Logger,
		retention:       cfg.Retention,
		clock:           cfg.Now,
		hub:             newHub(cfg.Source, cfg.Logger),
		snapshots:       make(chan struct{}, concurrentSnapshots),
		snapshotTimeout: snapshotTimeout,
		closed:          make(chan struct{}),
		watchers: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "meetwire_config_watchers",
			Help: "Services that follow the configuration.",
		}),
		sent: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "meetwire_config_sent_total",
			Help: "Changes and snapshots sent to watchers.",
		}, []string{"kind"}),
	}
	revision := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "meetwire_config_revision",
		Help: "The newest revision of the configuration.",
	}, func() float64 { return float64(s.hub.now().revision) })
	for _, collector := range []prometheus.Collector{s.watchers, s.sent, revision} {
		if err := cfg.Registry.Register(collector); err != nil {
			return nil, fmt.Errorf("register a metric of the configuration feed: %w", err)
		}
	}
	return s, nil
}

// Run looks for changes, and trims the feed, until the context ends.
func (s *Server) Run(ctx context.Context) error {
	var trimmer sync.WaitGroup
	defer trimmer.Wait()
	trimmer.Go(func() { s.trim(ctx) })
	return s.hub.run(ctx)
}

// Close ends all streams, so that the gRPC server can stop; watchers go on elsewhere from where they are.
func (s *Server) Close() { s.closeOnce.Do(func() { close(s.closed) }) }

// WatchConfig implements ConfigService.
func (s *Server) WatchConfig(req *configv1.WatchConfigRequest, stream grpc.ServerStreamingServer[configv1.WatchConfigResponse]) error {
	s.watchers.Inc()
	defer s.watchers.Dec()
	ctx := stream.Context()
	restored := s.hub.now().restored // before anything is read, so that no restore is missed
	position, err := s.begin(ctx, req.GetAfterRevision(), stream)
	if errors.Is(err, errClosed) {
		return nil
	}
	if err != nil {
		return err
	}
	heartbeat := time.NewTicker(heartbeatInterval)
	defer heartbeat.Stop()
	for {
		s.hub.learn(position, restored)
		now := s.hub.now()
		if now.restored != restored {
			return fault.New(fault.Unavailable, "CONFIGURATION_RESTORED", "the configuration was restored: begin anew")
		}
		if position < now.revision {
			if position, err = s.sendChanges(ctx, position, now.revision, stream); err != nil {
				return err
			}
			select {
			case <-heartbeat.C: // also while there is much to send
			case <-s.closed:
				return nil // watchers go on with another instance, or with this one when it is back
			default:
				continue
			}
		} else {
			select {
			case <-now.changed:
				continue
			case <-heartbeat.C:
			case <-s.closed:
				return nil // watchers go on with another instance, or with this one when it is back
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if err := s.sendHeartbeat(stream); err != nil {
			return err
		}
	}
}

// begin brings a watcher to a revision from which on changes can be sent: its own when the feed reaches back to
// it, else that of a snapshot. A revision that is still to come was seen before the database was restored.
func (s *Server) begin(ctx context.Context, after int64, stream grpc.ServerStreamingServer[configv1.WatchConfigResponse]) (int64, error) {
	if after > 0 {
		// Asked of the database itself: another instance may have told the watcher more than the hub knows yet.
		newest, err := s.source.Revision(ctx)
		if err != nil {
			return 0, err
		}
		if after <= newest {
			_, err := s.source.Changes(ctx, after, newest, 1)
			if err == nil {
				return after, nil
			}
			if !errors.Is(err, core.ErrGap) {
				return 0, err
			}
		}
	}
	revision, err := s.snapshot(ctx, stream)
	if err == nil {
		s.sent.WithLabelValues("snapshot").Inc()
	}
	return revision, err
}

// sendChanges sends one batch of changes and returns the revision that the watcher has then.
func (s *Server) sendChanges(ctx context.Context, position, newest int64,
	stream grpc.ServerStreamingServer[configv1.WatchConfigResponse],
) (int64, error) {
	changes, err := s.source.Changes(ctx, position, newest, batch)
	if errors.Is(err, core.ErrGap) {
		return 0, fault.Wrap(fault.Aborted, "WATCHER_TOO_SLOW", err, "the feed does not reach back to revision %d: begin anew", position)
	}
	if err != nil {
		return 0, err
	}
	for _, change := range changes {
		err := stream.Send(&configv1.WatchConfigResponse{Message: &configv1.WatchConfigResponse_Change{Change: change}})
		if err != nil {
			return 0, err
		}
		position = change.GetRevision()
		s.sent.WithLabelValues("change").Inc()
	}
	return position, nil
}

// sendHeartbeat says that the feed is alive, if it is: a watcher must not trust its copy of the API keys when the
// database has not been heard of.
func (s *Server) sendHeartbeat(stream grpc.ServerStreamingServer[configv1.WatchConfigResponse]) error {
	now := s.hub.now()
	if !now.alive() {
		return nil
	}
	return stream.Send(&configv1.WatchConfigResponse{
		Message: &configv1.WatchConfigResponse_Heartbeat{Heartbeat: &configv1.Heartbeat{Revision: now.revision}},
	})
}

// trim removes old entries from the feed now and then. Every instance does; there is nothing to agree on.
func (s *Server) trim(ctx context.Context) {
	ticker := time.NewTicker(trimInterval)
	defer ticker.Stop()
	for {
		removed, err := s.source.TrimFeed(ctx, s.clock().Add(-s.retention))
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			s.logger.WarnContext(ctx, "old entries of the feed not removed", "error", err)
		case removed > 0:
			s.logger.InfoContext(ctx, "old entries of the feed removed", "entries", removed)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}
