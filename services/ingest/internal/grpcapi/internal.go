package grpcapi

import (
	"context"
	"errors"
	"time"

	"github.com/meetwire/meetwire/pkg/fault"
	ingestv1 "github.com/meetwire/meetwire/proto/gen/meetwire/ingest/v1"
	"github.com/meetwire/meetwire/services/ingest/internal/core"
)

const (
	// revisionWait is how long a configuration is waited for that the caller knows of already.
	revisionWait = 10 * time.Second
	// defaultPart is how many events of the history are looked at when the caller does not say.
	defaultPart = 500
)

// Configuration is what this instance has heard of.
type Configuration interface {
	// WaitFor waits until a revision is in force; 0: until any is. It returns the context's error.
	WaitFor(ctx context.Context, revision int64) error
	// HasOrganization reports whether an organization exists.
	HasOrganization(id string) bool
}

// Streams is what is kept of organizations. Its methods return fault.Unavailable or fault.ResourceExhausted when they
// should be repeated, or the context's error.
type Streams interface {
	// FanOutHistory fans out a part of the history.
	FanOutHistory(ctx context.Context, history core.History) (core.Progress, error)
	// PurgeOrganization removes everything and returns how much it was.
	PurgeOrganization(ctx context.Context, organization string) (int64, error)
}

// Internal implements InternalService.
type Internal struct {
	ingestv1.UnimplementedInternalServiceServer
	Configuration Configuration
	Index         *core.Index
	Streams       Streams
	Rows          Rows
}

// Rows is what is kept of organizations in Postgres.
type Rows interface {
	// PurgeOrganization removes every row and returns how many there were. It can be repeated: fault.Unavailable.
	PurgeOrganization(ctx context.Context, organization string) (int64, error)
}

// FanOutHistory implements InternalService.
func (i *Internal) FanOutHistory(ctx context.Context, request *ingestv1.FanOutHistoryRequest) (*ingestv1.FanOutHistoryResponse, error) {
	start, end := request.GetStartTime().AsTime(), request.GetEndTime().AsTime()
	if !end.After(start) {
		return nil, fault.Invalid(fault.Field{Path: "end_time", Rule: "after_start_time", Message: "must be after start_time"})
	}
	if err := i.waitFor(ctx, request.GetRevision()); err != nil {
		return nil, err
	}
	if !i.Index.HasWebhook(request.GetOrganization(), request.GetWebhook()) {
		return nil, fault.New(fault.NotFound, "WEBHOOK_NOT_FOUND", "organization %s has no webhook %s", request.GetOrganization(), request.GetWebhook())
	}
	events := int(request.GetMaxEvents())
	if events == 0 {
		events = defaultPart
	}
	progress, err := i.Streams.FanOutHistory(ctx, core.History{
		Organization: request.GetOrganization(),
		Webhook:      request.GetWebhook(),
		Start:        start,
		End:          end,
		After:        uint64(request.GetAfterSequence()), //nolint:gosec // G115: checked not to be negative
		MaxEvents:    events,
	})
	if err != nil {
		return nil, err
	}
	return &ingestv1.FanOutHistoryResponse{
		AfterSequence: int64(progress.After),   //nolint:gosec // G115: a sequence of JetStream
		EventCount:    int32(progress.Events),  //nolint:gosec // G115: at most max_events
		MatchedCount:  int32(progress.Matched), //nolint:gosec // G115: at most max_events
		Done:          progress.Done,
	}, nil
}

// PurgeOrganization implements InternalService.
func (i *Internal) PurgeOrganization(ctx context.Context, request *ingestv1.PurgeOrganizationRequest) (*ingestv1.PurgeOrganizationResponse, error) {
	if err := i.waitFor(ctx, request.GetRevision()); err != nil {
		return nil, err
	}
	if i.Configuration.HasOrganization(request.GetOrganization()) {
		return nil, fault.New(fault.FailedPrecondition, "ORGANIZATION_EXISTS", "organization %s has not been deleted", request.GetOrganization())
	}
	n, err := i.Streams.PurgeOrganization(ctx, request.GetOrganization())
	if err != nil {
		return nil, err
	}
	if _, err := i.Rows.PurgeOrganization(ctx, request.GetOrganization()); err != nil {
		return nil, err
	}
	return &ingestv1.PurgeOrganizationResponse{MessageCount: n}, nil
}

// waitFor waits until the configuration is as new as the caller's.
func (i *Internal) waitFor(ctx context.Context, revision int64) error {
	waiting, cancel := context.WithTimeout(ctx, revisionWait)
	defer cancel()
	err := i.Configuration.WaitFor(waiting, revision)
	if err == nil || ctx.Err() != nil {
		return err
	}
	behind := fault.Wrap(fault.Unavailable, "CONFIGURATION_BEHIND", err, "configuration revision %d has not arrived yet", revision)
	if errors.Is(err, context.DeadlineExceeded) {
		behind.RetryAfter = time.Second
	}
	return behind
}
