package index

import (
	"context"
	"log/slog"
	"time"
)

// Tables is what must be kept in order.
type Tables interface {
	// Maintain prepares the tables for the coming days and drops what is older than keepFrom.
	Maintain(ctx context.Context, now, keepFrom time.Time) (dropped int, err error)
	// ForgetWebhooks removes what is known of webhooks that do not exist any more.
	ForgetWebhooks(ctx context.Context, now time.Time, exists func(organization, webhook string) bool) (removed int64, err error)
}

// Maintainer looks after the tables.
type Maintainer struct {
	Tables Tables
	Age    time.Duration // for which EVENTS keeps events
	// Loaded waits until the configuration is known, and Exists reports whether a webhook is configured.
	Loaded func(ctx context.Context) error
	Exists func(organization, webhook string) bool
	Logger *slog.Logger
	Now    func() time.Time
}

// maintenancePeriod is how often the tables are looked after, and soon when that has failed.
const (
	maintenancePeriod = time.Hour
	soon              = 10 * time.Second
)

// Run looks after the tables until the context ends.
func (m *Maintainer) Run(ctx context.Context) error {
	for {
		wait := maintenancePeriod
		if err := m.look(ctx); err != nil {
			wait = soon
			if ctx.Err() == nil {
				m.Logger.WarnContext(ctx, "tables of the index were not looked after", "error", err)
			}
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}

// look looks after the tables once.
func (m *Maintainer) look(ctx context.Context) error {
	now := m.Now()
	dropped, err := m.Tables.Maintain(ctx, now, now.Add(-m.Age)) // also before the configuration is known
	if err != nil {
		return err
	}
	if err := m.Loaded(ctx); err != nil {
		return err
	}
	forgotten, err := m.Tables.ForgetWebhooks(ctx, now, m.Exists)
	if err != nil {
		return err
	}
	if dropped > 0 || forgotten > 0 {
		m.Logger.InfoContext(ctx, "index cleaned up", "tables", dropped, "webhooks", forgotten)
	}
	return nil
}
