package pgstore

import (
	"context"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
	"github.com/meetwire/meetwire/services/subscription/internal/pgstore/sqlcgen"
)

// ReportHealth does what a report about a failing webhook asks for: it disables the webhook, which is announced, and puts
// an e-mail into the queue if mail says so. It reports whether the report had an effect now: none when it was made
// before, or is of an earlier generation, or the webhook is gone or disabled, or is to be disabled while it is paused.
func (s *Store) ReportHealth(ctx context.Context, report core.HealthReport, mail bool) (bool, error) {
	now := core.Stored(s.now())
	if report.Level == core.HealthDisable {
		_, disabled, err := s.DisableWebhook(ctx, report.Organization, report.Webhook, report.Generation, report.Reason, now,
			func(ctx context.Context, c *change, _, after core.Webhook) error {
				if err := c.announceWebhook(ctx, after, after.Revision, report.Event(now)); err != nil {
					return err
				}
				if !mail {
					return nil
				}
				_, err := c.alert(ctx, after, report, now)
				return err
			})
		return disabled, err
	}
	id, err := uuid.Parse(report.Webhook)
	if err != nil || !mail {
		return false, nil //nolint:nilerr // no webhook has such an id
	}
	var queued bool
	err = s.write(ctx, func(ctx context.Context, c *change) error {
		queued = false
		// The organization first, as everybody else locks: whoever deletes it waits for its webhooks.
		if _, err := c.viewWebhooks(ctx, report.Organization, false); err != nil {
			return err
		}
		w, err := c.lockWebhook(ctx, report.Organization, id)
		if err != nil {
			return err
		}
		if w.Generation != report.Generation || w.Status == core.StatusDisabled {
			return nil
		}
		queued, err = c.alert(ctx, w, report, now)
		return err
	})
	if fault.Is(err, fault.NotFound) {
		return false, nil
	}
	return queued, err
}

// alert queues an e-mail about a locked webhook to its alert addresses. It reports whether it has.
func (c *change) alert(ctx context.Context, w core.Webhook, report core.HealthReport, now time.Time) (bool, error) {
	row, err := c.Organization(ctx, w.Organization)
	if err != nil {
		return false, read(fmt.Errorf("read organization: %w", err), core.NoOrganization(w.Organization))
	}
	threshold := webhookResource(w).GetWebhook().GetFailureThreshold() // with the dialect's when it has none
	return c.queueMail(ctx, core.Alert{
		Level: report.Level, Organization: w.Organization, OrganizationName: row.DisplayName, Webhook: w.ID,
		WebhookName: w.DisplayName, TargetURL: w.TargetURL, Reason: report.Reason,
		ConsecutiveFailures: report.ConsecutiveFailures, FailingSince: report.FailingSince,
		MaxFailures: threshold.GetConsecutiveFailures(), MaxWithoutSuccess: threshold.GetWithoutSuccess().AsDuration(),
		LastStatus: report.LastStatus, LastErrorClass: report.LastErrorClass, Time: now,
	}, w.AlertEmails)
}

// ReportDeadLetters announces dead letters: each count once, however often it is reported, and only of webhooks that
// exist.
func (s *Store) ReportDeadLetters(ctx context.Context, counts []core.DeadLetterCount) error {
	params := sqlcgen.ClaimDeadLetterReportsParams{Now: core.Stored(s.now())}
	known := make(map[deadLetterKey]core.DeadLetterCount, len(counts))
	for _, count := range counts {
		id, err := uuid.Parse(count.Webhook)
		if err != nil {
			return fmt.Errorf("parse webhook id: %w", err)
		}
		count.Minute = count.Minute.UTC().Truncate(time.Minute)
		key := deadLetterKey{id, count.Reason, count.Minute}
		if _, twice := known[key]; twice {
			continue
		}
		known[key] = count
		params.Organizations = append(params.Organizations, count.Organization)
		params.Webhooks = append(params.Webhooks, id)
		params.Reasons = append(params.Reasons, count.Reason)
		params.Minutes = append(params.Minutes, count.Minute)
	}
	if len(known) == 0 {
		return nil
	}
	return s.write(ctx, func(ctx context.Context, c *change) error {
		claimed, err := c.ClaimDeadLetterReports(ctx, params)
		if err != nil {
			return fmt.Errorf("note reports of dead letters: %w", err)
		}
		names, err := c.webhookNames(ctx, params.Webhooks)
		if err != nil {
			return err
		}
		for _, row := range claimed {
			count := known[deadLetterKey{row.Webhook, row.Reason, row.Minute.UTC()}]
			w := core.Webhook{Organization: count.Organization, ID: row.Webhook.String(), DisplayName: names[row.Webhook]}
			trigger, key, data := count.Event()
			if err := c.announce(ctx, w.Organization, trigger, w.ID+":"+key, w.Event(data)); err != nil {
				return err
			}
		}
		return nil
	})
}

// deadLetterKey is what a count is of.
type deadLetterKey struct {
	webhook uuid.UUID
	reason  string
	minute  time.Time
}

// webhookNames returns the display names of webhooks.
func (c *change) webhookNames(ctx context.Context, ids []uuid.UUID) (map[uuid.UUID]string, error) {
	rows, err := c.WebhookNames(ctx, ids)
	if err != nil {
		return nil, fmt.Errorf("read the names of webhooks: %w", err)
	}
	names := make(map[uuid.UUID]string, len(rows))
	for _, row := range rows {
		names[row.ID] = row.DisplayName
	}
	return names, nil
}
