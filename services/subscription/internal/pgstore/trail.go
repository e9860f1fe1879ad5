package pgstore

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"

	"github.com/google/uuid"

	"github.com/meetwire/meetwire/services/subscription/internal/core"
	"github.com/meetwire/meetwire/services/subscription/internal/pgstore/sqlcgen"
)

// audit writes an entry of the audit log: the actor is the one of the context. organization is empty for what
// belongs to the installation; before and after have no secrets in them, nil is "not there".
func (c *change) audit(ctx context.Context, action core.Action, organization, resource string, before, after core.Document) error {
	id, err := uuid.NewV7()
	if err != nil {
		return fmt.Errorf("make an id for the audit log: %w", err)
	}
	row, err := auditRow(core.AuditEntry{
		Organization: organization, Time: core.Stored(c.now()), Actor: core.ActorOf(ctx), Action: action,
		Resource: resource, Before: before, After: after,
	})
	if err != nil {
		return err
	}
	row.ID = id
	if err := c.InsertAuditEntry(ctx, row); err != nil {
		return fmt.Errorf("append to the audit log: %w", err)
	}
	return nil
}

// auditRow is the row of an entry, without its id.
func auditRow(e core.AuditEntry) (sqlcgen.InsertAuditEntryParams, error) {
	row := sqlcgen.InsertAuditEntryParams{
		Organization: optional(e.Organization), CreateTime: e.Time, Actor: e.Actor.Name, Role: int32(e.Actor.Role),
		Action: string(e.Action), Resource: e.Resource,
		Address: e.Actor.Address, ForwardedFor: e.Actor.ForwardedFor, UserAgent: e.Actor.UserAgent,
	}
	for _, side := range []struct {
		from core.Document
		to   *[]byte
	}{{e.Before, &row.Before}, {e.After, &row.After}} {
		if side.from == nil {
			continue
		}
		var err error
		if *side.to, err = json.Marshal(side.from); err != nil {
			return row, fmt.Errorf("write %s for the audit log: %w", e.Resource, err)
		}
	}
	return row, nil
}

// RecordAction writes an entry of the audit log about what was done with another service; nothing when there is one with
// its id. fault.NotFound when its organization is gone.
func (s *Store) RecordAction(ctx context.Context, e core.AuditEntry) error {
	row, err := auditRow(e)
	if err != nil {
		return err
	}
	if row.ID, err = uuid.Parse(e.ID); err != nil {
		return fmt.Errorf("parse the id of an entry of the audit log: %w", err)
	}
	return s.write(ctx, func(ctx context.Context, c *change) error {
		if e.Organization != "" {
			if _, err := c.ShareOrganization(ctx, e.Organization); err != nil {
				return read(fmt.Errorf("read organization: %w", err), core.NoOrganization(e.Organization))
			}
		}
		if err := c.InsertAuditEntryOnce(ctx, sqlcgen.InsertAuditEntryOnceParams(row)); err != nil {
			return fmt.Errorf("append to the audit log: %w", err)
		}
		return nil
	})
}

// claim notes that a request makes the resource with this id, in this transaction. *core.RepeatedRequestError when it
// was made before; fault.InvalidArgument when another request has used its id. It must come before the revision is
// counted, since it waits for the same request in another transaction.
func (c *change) claim(ctx context.Context, organization string, request core.Request, resource string) error {
	if request.ID == "" {
		return nil
	}
	id, err := uuid.Parse(request.ID)
	if err != nil {
		return fmt.Errorf("parse a request id: %w", err)
	}
	claimed, err := c.ClaimRequest(ctx, sqlcgen.ClaimRequestParams{
		Organization: organization, RequestID: id, Method: request.Method, Fingerprint: request.Fingerprint[:],
		Resource: resource, CreateTime: core.Stored(c.now()),
	})
	if err != nil {
		return fmt.Errorf("claim a request id: %w", err)
	}
	if claimed > 0 {
		return nil
	}
	made, err := c.Request(ctx, sqlcgen.RequestParams{Organization: organization, RequestID: id})
	if err != nil {
		return fmt.Errorf("read a request id: %w", err)
	}
	if made.Method != request.Method || !bytes.Equal(made.Fingerprint, request.Fingerprint[:]) {
		return core.OtherRequest()
	}
	return &core.RepeatedRequestError{Resource: made.Resource}
}

// announce puts an event about Meetwire itself into the outbox, from where it is published. The same id twice is one
// event.
func (c *change) announce(ctx context.Context, organization, trigger, eventID string, data core.Document) error {
	serialized, err := json.Marshal(data)
	if err != nil {
		return fmt.Errorf("write the data of %s: %w", trigger, err)
	}
	_, err = c.InsertOutbox(ctx, sqlcgen.InsertOutboxParams{
		Organization: organization, Trigger: trigger, EventID: eventID, Data: serialized, CreateTime: core.Stored(c.now()),
	})
	if err != nil {
		return fmt.Errorf("put %s into the outbox: %w", trigger, err)
	}
	return nil
}
