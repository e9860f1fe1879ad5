package pgstore

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/meetwire/meetwire/services/subscription/internal/core"
	"github.com/meetwire/meetwire/services/subscription/internal/pgstore/sqlcgen"
)

// queueMail puts an e-mail about a webhook into the queue, unless there was one for the same reason within an hour, or
// for what began to fail at the same time. It reports whether it has. The webhook must be locked.
func (c *change) queueMail(ctx context.Context, alert core.Alert, recipients []string) (bool, error) {
	if len(recipients) == 0 {
		return false, nil
	}
	webhook, err := uuid.Parse(alert.Webhook)
	if err != nil {
		return false, fmt.Errorf("parse webhook id: %w", err)
	}
	serialized, err := json.Marshal(alert)
	if err != nil {
		return false, fmt.Errorf("write an alert: %w", err)
	}
	// A report that is repeated names the same beginning, so it falls into the same hour, whenever it comes.
	began := alert.FailingSince
	if began.IsZero() {
		began = alert.Time
	}
	rows, err := c.InsertMail(ctx, sqlcgen.InsertMailParams{
		ID: uuid.New(), Organization: alert.Organization, Webhook: webhook, Reason: string(alert.Level),
		Hour: began.UTC().Truncate(time.Hour), Recipients: recipients, Alert: serialized, Now: core.Stored(c.now()),
	})
	if err != nil {
		return false, fmt.Errorf("queue an e-mail: %w", err)
	}
	return rows > 0, nil
}

// TakeMail takes over at most limit e-mails that are due. Who does not settle one within the lease has died, and
// another takes it over.
func (s *Store) TakeMail(ctx context.Context, lease time.Duration, limit int) ([]core.Mail, error) {
	now := core.Stored(s.now())
	rows, err := s.queries.TakeMail(ctx, sqlcgen.TakeMailParams{Until: optionalTime(now.Add(lease)), Now: now, MaxRows: int64(limit)})
	if err != nil {
		return nil, translate(fmt.Errorf("read the queue of e-mails: %w", err))
	}
	mails := make([]core.Mail, len(rows))
	for i, row := range rows {
		mails[i] = core.Mail{
			ID: row.ID.String(), Recipients: row.Recipients, Attempts: int(row.Attempts), CreateTime: row.CreateTime.UTC(),
		}
		if err := json.Unmarshal(row.Alert, &mails[i].Alert); err != nil {
			return nil, fmt.Errorf("read e-mail %s: %w", mails[i].ID, err)
		}
	}
	return mails, nil
}

// SettleMail says when an e-mail is to be tried again, and to whom; never, with the zero time: it is sent, or given up.
func (s *Store) SettleMail(ctx context.Context, m core.Mail, next time.Time) error {
	_, err := s.queries.SettleMail(ctx, sqlcgen.SettleMailParams{
		ID: uuid.MustParse(m.ID), Attempts: int32(m.Attempts), Recipients: m.Recipients, NextTime: optionalTime(next), //nolint:gosec // G115: it came out of an int32
	})
	if err != nil {
		return translate(fmt.Errorf("settle an e-mail: %w", err))
	}
	return nil
}

// Kept says for how long what only prevents repetitions is kept.
const (
	keptMail              = 24 * time.Hour
	keptDeadLetterReports = 7 * 24 * time.Hour
)

// TrimTrail removes what is needed no more: e-mails that were sent or given up, request ids, and the notes about which
// dead letters were announced. It returns how many rows it removed.
func (s *Store) TrimTrail(ctx context.Context) (int64, error) {
	now := core.Stored(s.now())
	var removed int64
	for _, trim := range []struct {
		what   string
		remove func(context.Context, time.Time) (int64, error)
		kept   time.Duration
	}{
		{"e-mails", s.queries.TrimMail, keptMail},
		{"request ids", s.queries.TrimRequests, core.RequestRetention * time.Hour},
		{"reports of dead letters", s.queries.TrimDeadLetterReports, keptDeadLetterReports},
	} {
		rows, err := trim.remove(ctx, now.Add(-trim.kept))
		if err != nil {
			return removed, translate(fmt.Errorf("trim %s: %w", trim.what, err))
		}
		removed += rows
	}
	return removed, nil
}
