package recorder

import (
	"context"
	"log/slog"
	"time"
)

// Tables is what must be kept in order.
type Tables interface {
	// Maintain prepares the tables for the coming days and drops what is older than keepFrom.
	Maintain(ctx context.Context, now, keepFrom time.Time) (dropped int, err error)
	// Forget removes statistics of hours before a time, and payloads of events of the days before another.
	Forget(ctx context.Context, before, keepPayloads time.Time) (days int, err error)
	// Retain removes what an organization keeps for a shorter time than the installation.
	Retain(ctx context.Context, organization string, keepFrom time.Time) (removed int64, err error)
}

// Maintainer looks after the tables.
type Maintainer struct {
	Tables    Tables
	Retention time.Duration // how long deliveries are listed after their event was stored
	// PayloadRetention is how long what attempts sent and got is kept after their event was stored.
	PayloadRetention time.Duration
	// Retentions returns how long that is for organizations that have a time of their own.
	Retentions func() map[string]time.Duration
	// Loaded waits until the configuration is known.
	Loaded func(ctx context.Context) error
	Logger *slog.Logger
	Now    func() time.Time
}

// KeptSince returns since when the deliveries of an organization's events are kept: the tables are cleared by whole days.
func (m *Maintainer) KeptSince(organization string) time.Time {
	retention := m.Retention
	if own, ok := m.Retentions()[organization]; ok {
		retention = min(retention, own)
	}
	const day = 24 * time.Hour
	return m.Now().Add(-retention).UTC().Truncate(day)
}

// maintenancePeriod is how often the tables are looked after.
const maintenancePeriod = time.Hour

// Run looks after the tables until the context ends.
func (m *Maintainer) Run(ctx context.Context) error {
	ticker := time.NewTicker(maintenancePeriod)
	defer ticker.Stop()
	m.partitions(ctx) // also before the configuration is known
	if m.Loaded(ctx) != nil {
		return nil // told to stop
	}
	for {
		m.retain(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		m.partitions(ctx)
	}
}

func (m *Maintainer) partitions(ctx context.Context) {
	now := m.Now()
	dropped, err := m.Tables.Maintain(ctx, now, now.Add(-m.Retention))
	switch {
	case err != nil && ctx.Err() == nil:
		m.Logger.WarnContext(ctx, "partitions were not looked after", "error", err)
	case dropped > 0:
		m.Logger.InfoContext(ctx, "old partitions dropped", "tables", dropped)
	}
	days, err := m.Tables.Forget(ctx, now.Add(-m.Retention), now.Add(-m.PayloadRetention))
	switch {
	case err != nil && ctx.Err() == nil:
		m.Logger.WarnContext(ctx, "old payloads and statistics were not removed", "error", err)
	case days > 0:
		m.Logger.InfoContext(ctx, "old payloads removed", "days", days)
	}
}

func (m *Maintainer) retain(ctx context.Context) {
	for organization, retention := range m.Retentions() {
		if retention >= m.Retention {
			continue
		}
		removed, err := m.Tables.Retain(ctx, organization, m.Now().Add(-retention))
		switch {
		case err != nil && ctx.Err() == nil:
			m.Logger.WarnContext(ctx, "old deliveries were not removed", "organization", organization, "error", err)
		case removed > 0:
			m.Logger.InfoContext(ctx, "old deliveries removed", "organization", organization, "deliveries", removed)
		}
	}
}
