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

// AuditEntries returns at most limit entries of the audit log that are asked for and come before a time and id, the
// newest first.
func (s *Store) AuditEntries(ctx context.Context, query core.AuditQuery, before time.Time, beforeID uuid.UUID, limit int) ([]core.AuditEntry, error) {
	rows, err := s.queries.AuditEntriesBefore(ctx, sqlcgen.AuditEntriesBeforeParams{
		Organization: optional(query.Organization), Actor: optional(query.Actor), Action: optional(query.Action),
		Resource: optional(query.Resource), FromTime: optionalTime(query.From),
		BeforeTime: before, BeforeID: beforeID, MaxRows: int64(limit),
	})
	if err != nil {
		return nil, translate(fmt.Errorf("list the audit log: %w", err))
	}
	entries := make([]core.AuditEntry, len(rows))
	for i, row := range rows {
		if entries[i], err = auditEntry(row); err != nil {
			return nil, err
		}
	}
	return entries, nil
}

func auditEntry(row sqlcgen.AuditRow) (core.AuditEntry, error) {
	e := core.AuditEntry{
		ID: row.ID.String(), Time: row.CreateTime.UTC(), Action: core.Action(row.Action), Resource: row.Resource,
		Actor: core.Actor{
			Name: row.Actor, Role: core.Role(row.Role), Address: row.Address,
			ForwardedFor: row.ForwardedFor, UserAgent: row.UserAgent,
		},
	}
	if row.Organization != nil {
		e.Organization = *row.Organization
	}
	for _, side := range []struct {
		from []byte
		to   *core.Document
	}{{row.Before, &e.Before}, {row.After, &e.After}} {
		if side.from == nil {
			continue
		}
		if err := json.Unmarshal(side.from, side.to); err != nil {
			return e, fmt.Errorf("read entry %s of the audit log: %w", e.ID, err)
		}
	}
	return e, nil
}
