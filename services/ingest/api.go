package ingest

import (
	"time"

	"github.com/google/uuid"

	"github.com/meetwire/meetwire/pkg/audit"
	"github.com/meetwire/meetwire/pkg/bus"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	"github.com/meetwire/meetwire/services/ingest/internal/core"
	"github.com/meetwire/meetwire/services/ingest/internal/grpcapi"
	"github.com/meetwire/meetwire/services/ingest/internal/natsbus"
)

// join makes what this instance shares the quotas of organizations with the others by, and publishes for callers with.
func (s *Service) join() (err error) {
	if s.batches, err = bus.JetStream(s.deps.NATS); err != nil {
		return err
	}
	s.members, err = bus.NewMembership(s.js, "ingest", uuid.NewString(), s.config.Streams.Replicas, s.deps.Logger)
	return err
}

// publishing makes what takes events in.
func (s *Service) publishing(known catalogue) *grpcapi.Publishing {
	return &grpcapi.Publishing{
		JetStream: s.batches,
		Catalogue: known,
		Kept:      &natsbus.Events{JetStream: s.js},
		Quotas:    grpcapi.NewQuotas(s.watcher.Organization, s.members.Count, time.Now),
		Waiting:   grpcapi.NewWaiting(grpcapi.MaxWaiting),
		Metrics:   s.metrics,
		Now:       time.Now,
	}
}

// explaining makes what shows why an event matches.
func (s *Service) explaining(known catalogue, webhooks *core.Index) *grpcapi.Explaining {
	return &grpcapi.Explaining{
		Webhooks: webhooks, Catalogue: known, Kept: &natsbus.Events{JetStream: s.js}, ServiceToken: s.config.ServiceToken,
	}
}

// rejects makes what shows what was not accepted.
func (s *Service) rejects(publishing *grpcapi.Publishing) *grpcapi.Rejects {
	return &grpcapi.Rejects{
		Store: &natsbus.Rejects{JetStream: s.js}, Publishing: publishing,
		Audit: audit.New(configv1.NewConfigServiceClient(s.deps.Subscription), time.Now),
	}
}
