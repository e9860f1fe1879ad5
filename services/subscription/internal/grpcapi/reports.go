package grpcapi

import (
	"context"
	"strings"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/meetwire/meetwire/pkg/fault"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
	"github.com/meetwire/meetwire/services/subscription/internal/feed"
)

// ReportStore does what reports of the other services ask for. All methods return fault.Unavailable while it is away.
type ReportStore interface {
	// ReportHealth does what a report about a failing webhook asks for, with e-mails if mail says so. It reports
	// whether that had an effect now.
	ReportHealth(ctx context.Context, report core.HealthReport, mail bool) (bool, error)
	// ReportDeadLetters announces dead letters, each count once.
	ReportDeadLetters(ctx context.Context, counts []core.DeadLetterCount) error
	// TouchAPIKeys notes when API keys were used.
	TouchAPIKeys(ctx context.Context, uses []core.KeyUse) error
	// RecordAction writes an entry of the audit log, once. fault.NotFound when its organization is gone.
	RecordAction(ctx context.Context, e core.AuditEntry) error
}

// Config implements ConfigService: the feed, and what the other services report.
type Config struct {
	*feed.Server

	store ReportStore
	mail  bool
}

// NewConfig returns the service over a feed and a store. mail says whether e-mails are sent.
func NewConfig(feed *feed.Server, store ReportStore, mail bool) *Config {
	return &Config{Server: feed, store: store, mail: mail}
}

// ReportWebhookHealth implements ConfigService.
func (s *Config) ReportWebhookHealth(ctx context.Context, req *configv1.ReportWebhookHealthRequest) (*configv1.ReportWebhookHealthResponse, error) {
	report := core.HealthReport{
		Organization: req.GetOrganization(), Webhook: strings.ToLower(req.GetWebhook()), Generation: req.GetGeneration(),
		Reason: req.GetReason(), ConsecutiveFailures: req.GetConsecutiveFailures(), LastStatus: req.GetLastStatus(),
		LastErrorClass: strings.Map(printable, req.GetLastErrorClass()),
	}
	switch req.GetLevel() {
	case configv1.ReportWebhookHealthRequest_LEVEL_FIRST_LASTING_FAILURE:
		report.Level = core.HealthFirstLastingFailure
	case configv1.ReportWebhookHealthRequest_LEVEL_HALF_OF_THRESHOLD:
		report.Level = core.HealthHalfOfThreshold
	case configv1.ReportWebhookHealthRequest_LEVEL_DISABLE:
		report.Level = core.HealthDisable
	default:
		return nil, fault.Invalid(fault.Field{Path: "level", Rule: "enum", Message: "must be one of the levels"})
	}
	if since := req.GetFailingSince(); since != nil {
		if !valid(since) {
			return nil, invalidTime("failing_since")
		}
		report.FailingSince = core.Stored(since.AsTime())
	}
	effective, err := s.store.ReportHealth(ctx, report, s.mail)
	if err != nil {
		return nil, err
	}
	return &configv1.ReportWebhookHealthResponse{Effective: effective}, nil
}

// ReportDeadLetters implements ConfigService.
func (s *Config) ReportDeadLetters(ctx context.Context, req *configv1.ReportDeadLettersRequest) (*configv1.ReportDeadLettersResponse, error) {
	counts := make([]core.DeadLetterCount, len(req.GetCounts()))
	for i, count := range req.GetCounts() {
		if !valid(count.GetMinute()) {
			return nil, invalidTime("counts.minute")
		}
		counts[i] = core.DeadLetterCount{
			Organization: count.GetOrganization(), Webhook: count.GetWebhook(), Reason: count.GetReason(),
			Minute: count.GetMinute().AsTime(), Count: count.GetCount(), Expiring: count.GetExpiring(),
		}
	}
	if err := s.store.ReportDeadLetters(ctx, counts); err != nil {
		return nil, err
	}
	return &configv1.ReportDeadLettersResponse{}, nil
}

// ReportApiKeyUse implements ConfigService.
func (s *Config) ReportApiKeyUse(ctx context.Context, req *configv1.ReportApiKeyUseRequest) (*configv1.ReportApiKeyUseResponse, error) { //nolint:revive // var-naming: the name is generated
	uses := make([]core.KeyUse, len(req.GetUses()))
	for i, use := range req.GetUses() {
		if !valid(use.GetLastUseTime()) {
			return nil, invalidTime("uses.last_use_time")
		}
		uses[i] = core.KeyUse{ID: use.GetApiKey(), Time: use.GetLastUseTime().AsTime()}
	}
	if err := s.store.TouchAPIKeys(ctx, uses); err != nil {
		return nil, err
	}
	return &configv1.ReportApiKeyUseResponse{}, nil
}

// valid reports whether a time can be told and stored.
func valid(t *timestamppb.Timestamp) bool { return t.IsValid() && !t.AsTime().IsZero() }

// printable leaves out what is no text.
func printable(r rune) rune {
	if r < ' ' || r == 0x7f {
		return -1
	}
	return r
}
