package recorder

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/meetwire/meetwire/pkg/fault"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
	"github.com/meetwire/meetwire/services/delivery/internal/pgstore"
)

// Findings is what there is to report.
type Findings interface {
	// CheckHealth has every webhook that fails for a time, or that is to be disabled, looked at.
	CheckHealth(ctx context.Context, check func(*pgstore.WebhookHealth)) error
	// DueHealth returns webhooks of which a stage is to be reported, by id.
	DueHealth(ctx context.Context, after uuid.UUID, size int) ([]pgstore.WebhookHealth, error)
	// MarkReported notes that a stage of a generation has been reported.
	MarkReported(ctx context.Context, webhook uuid.UUID, generation int64, level core.Level) error
	// CloseCounts ends the counts of the minutes up to one that began by a time, and returns some that are to be reported.
	CloseCounts(ctx context.Context, before time.Time, size int) ([]pgstore.DeadLetterCount, error)
	// MarkCounted notes that counts have been reported.
	MarkCounted(ctx context.Context, counts []pgstore.DeadLetterCount, now time.Time) error
}

// Subscription is who is told.
type Subscription interface {
	// ReportWebhookHealth reports a stage; one report has its effect once.
	ReportWebhookHealth(context.Context, *configv1.ReportWebhookHealthRequest, ...grpc.CallOption) (*configv1.ReportWebhookHealthResponse, error)
	// ReportDeadLetters reports counts; one count has its effect once.
	ReportDeadLetters(context.Context, *configv1.ReportDeadLettersRequest, ...grpc.CallOption) (*configv1.ReportDeadLettersResponse, error)
}

// Reporter tells subscription what follows from records, at least once each: what was not acknowledged is told again,
// also by the next instance.
type Reporter struct {
	Findings      Findings
	Subscription  Subscription
	Configuration Configuration
	Logger        *slog.Logger
	Now           func() time.Time
	Reports       *prometheus.CounterVec // by kind and result
	signal        chan struct{}
	warned        map[string]time.Time // of what fails: when that was logged
}

// NewReporter completes a reporter.
func NewReporter(r Reporter) *Reporter {
	r.signal, r.warned = make(chan struct{}, 1), make(map[string]time.Time)
	return &r
}

const (
	// checkEvery is how often it is looked for what follows from time alone, and for what could not be reported.
	checkEvery = time.Second
	// reportPage is how much is reported at once.
	reportPage = 500
	// countDelay is how long a minute's records may take to get here: what is later is counted in a later minute.
	countDelay = 2 * time.Second
	// warnEvery is how often a failure that lasts is logged.
	warnEvery = time.Minute
)

// wake has the reporter look at once.
func (r *Reporter) wake() {
	if r == nil {
		return
	}
	select {
	case r.signal <- struct{}{}:
	default:
	}
}

// run reports until the context ends.
func (r *Reporter) run(ctx context.Context) {
	if r == nil {
		return
	}
	ticker := time.NewTicker(checkEvery)
	defer ticker.Stop()
	for {
		r.attempt(ctx, "webhook health cannot be reported", r.reportHealth)
		select {
		case <-ctx.Done():
			return
		case <-r.signal:
			continue
		case <-ticker.C:
		}
		r.attempt(ctx, "health of webhooks cannot be checked", r.checkHealth)
		r.attempt(ctx, "dead letters cannot be reported", r.reportCounts)
	}
}

// attempt does something that is done again soon if it fails.
func (r *Reporter) attempt(ctx context.Context, failed string, do func(context.Context) error) {
	err, now := do(ctx), r.Now()
	if err == nil {
		delete(r.warned, failed)
		return
	}
	if last, warned := r.warned[failed]; ctx.Err() == nil && (!warned || now.Sub(last) >= warnEvery) {
		r.warned[failed] = now
		r.Logger.WarnContext(ctx, "report failed and will be tried again", "what", failed, "error", err)
	}
}

// checkHealth finds what is reached by the passing of time, and what is not any more because a threshold was changed.
func (r *Reporter) checkHealth(ctx context.Context) error {
	return r.Findings.CheckHealth(ctx, func(h *pgstore.WebhookHealth) {
		webhook := r.same(h)
		// While it is paused nothing is sent, and so nothing can succeed.
		if webhook == nil || webhook.Status != core.StatusActive {
			return
		}
		if h.Reached&core.LevelDisable != 0 && !passed(h.Health, webhook.Threshold, r.Now()) {
			h.Reached, h.Reported, h.Reason = h.Reached&^core.LevelDisable, h.Reported&^core.LevelDisable, core.ReasonConsecutiveFailures
		}
		h.Check(webhook.Threshold, r.Now())
	})
}

// same returns the webhook that a finding is about, or nil when it is not known or its generation is another.
func (r *Reporter) same(h *pgstore.WebhookHealth) *core.Webhook {
	webhook, ok := r.Configuration.Webhook(h.Webhook.String())
	if !ok || webhook.Generation != h.Generation {
		return nil
	}
	return webhook
}

// passed reports whether a webhook has passed a threshold: it may not be the one that it had when it was found to be.
func passed(h core.Health, t core.Threshold, now time.Time) bool {
	if t.Gone && h.Reason == core.ReasonGone {
		return true
	}
	h.Reached = 0
	h.Check(t, now)
	return h.Reached&core.LevelDisable != 0
}

// early reports whether a stage is not to be reported now: a webhook is not disabled while it is paused, since what waits
// for it is kept, nor by a threshold that it has not any more, which checkHealth will find.
func (r *Reporter) early(h *pgstore.WebhookHealth, level core.Level) bool {
	webhook := r.same(h)
	if level != core.LevelDisable || webhook == nil {
		return false
	}
	return webhook.Status == core.StatusPaused || webhook.Status == core.StatusActive && !passed(h.Health, webhook.Threshold, r.Now())
}

// reportHealth reports every stage that was reached, the lowest of a webhook first. One that cannot be reported does not
// hold up those of other webhooks, unless subscription is away.
func (r *Reporter) reportHealth(ctx context.Context) error {
	var after uuid.UUID
	var failed []error
	for {
		page, err := r.Findings.DueHealth(ctx, after, reportPage)
		if err != nil {
			return errors.Join(append(failed, err)...)
		}
		for i := range page {
			err := r.reportWebhook(ctx, &page[i])
			if err == nil {
				continue
			}
			if failed = append(failed, err); away(err) || len(failed) == maxFailed {
				return errors.Join(failed...)
			}
		}
		if len(page) < reportPage {
			return errors.Join(failed...)
		}
		after = page[len(page)-1].Webhook
	}
}

// maxFailed is after how many failures reporting is left until later.
const maxFailed = 100

// away reports whether an error says that other reports would fail as well.
func away(err error) bool {
	code := status.Code(err)
	return code == codes.Unavailable || code == codes.DeadlineExceeded || code == codes.Canceled ||
		fault.Is(err, fault.Unavailable) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)
}

// reportWebhook reports the stages of one webhook.
func (r *Reporter) reportWebhook(ctx context.Context, health *pgstore.WebhookHealth) error {
	for level := health.Due(); level != 0 && !r.early(health, level); level = health.Due() {
		taken, err := r.reportLevel(ctx, health, level)
		if err != nil {
			return err
		}
		if !taken {
			return nil // later
		}
		if err := r.Findings.MarkReported(ctx, health.Webhook, health.Generation, level); err != nil {
			return err
		}
		health.Reported |= level
	}
	return nil
}

// reportLevel reports a stage. It returns false when a webhook should have been disabled and was not, as far as is known
// here: then its threshold was changed, or it was disabled already, and the word of that is on its way here.
func (r *Reporter) reportLevel(ctx context.Context, health *pgstore.WebhookHealth, level core.Level) (taken bool, err error) {
	reason := health.Reason
	if highest := health.Reached < level<<1; level == core.LevelFirst || !highest && reason == core.ReasonGone {
		reason = core.ReasonConsecutiveFailures // the reason that is kept is that of the highest stage
	}
	ctx, cancel := context.WithTimeout(ctx, requestTime)
	defer cancel()
	response, err := r.Subscription.ReportWebhookHealth(ctx, &configv1.ReportWebhookHealthRequest{
		Organization: health.Organization, Webhook: health.Webhook.String(), Generation: health.Generation,
		Level: wireLevel(level), Reason: reason, ConsecutiveFailures: health.ConsecutiveFailures,
		FailingSince: timestampOrNil(health.FailingSince), LastStatus: int32(health.LastStatus), //nolint:gosec // G115: three digits
		LastErrorClass: health.LastErrorClass,
	})
	refused := err != nil
	if err = r.done(ctx, "webhook_health", err); err != nil {
		return false, err
	}
	if refused || response.GetEffective() || level != core.LevelDisable {
		return true, nil
	}
	webhook := r.same(health)
	return webhook == nil || webhook.Status == core.StatusDisabled, nil
}

// reportCounts reports the dead letters of the minutes that are over.
func (r *Reporter) reportCounts(ctx context.Context) error {
	for {
		now := r.Now()
		counts, err := r.Findings.CloseCounts(ctx, now.Add(-countDelay-time.Minute), reportPage)
		if err != nil || len(counts) == 0 {
			return err
		}
		request := new(configv1.ReportDeadLettersRequest)
		for _, c := range counts {
			request.Counts = append(request.Counts, &configv1.ReportDeadLettersRequest_Count{
				Organization: c.Organization, Webhook: c.Webhook.String(), Reason: c.Reason,
				Minute: timestamppb.New(c.Minute), Count: c.Count,
			})
		}
		limited, cancel := context.WithTimeout(ctx, requestTime)
		_, err = r.Subscription.ReportDeadLetters(limited, request)
		cancel()
		if err = r.done(ctx, "dead_letters", err); err != nil {
			return err
		}
		if err := r.Findings.MarkCounted(ctx, counts, now); err != nil {
			return err
		}
	}
}

// done counts a report, and returns an error when it is to be made again. What subscription will never take is logged:
// made again for ever, it would stand before all others.
func (r *Reporter) done(ctx context.Context, kind string, err error) error {
	code := status.Code(err)
	r.Reports.WithLabelValues(kind, code.String()).Inc()
	switch code {
	case codes.OK:
		return nil
	case codes.InvalidArgument, codes.NotFound, codes.FailedPrecondition:
		r.Logger.ErrorContext(ctx, "report was refused and is left out", "kind", kind, "error", err)
		return nil
	default:
		return err
	}
}

func wireLevel(level core.Level) configv1.ReportWebhookHealthRequest_Level {
	switch level {
	case core.LevelFirst:
		return configv1.ReportWebhookHealthRequest_LEVEL_FIRST_LASTING_FAILURE
	case core.LevelHalf:
		return configv1.ReportWebhookHealthRequest_LEVEL_HALF_OF_THRESHOLD
	default:
		return configv1.ReportWebhookHealthRequest_LEVEL_DISABLE
	}
}

func timestampOrNil(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}
