package grpcapi

import (
	"context"
	"fmt"
	"path"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/meetwire/meetwire/pkg/aip"
	accessv1 "github.com/meetwire/meetwire/proto/gen/meetwire/access/v1"
	subscriptionv1 "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
)

// AuditStore keeps the audit log. All methods return fault.Unavailable while it is away.
type AuditStore interface {
	// Organization returns an organization, or fault.NotFound.
	Organization(ctx context.Context, id string) (core.Organization, error)
	// AuditEntries returns at most limit entries that are asked for and come before a time and id, the newest first.
	AuditEntries(ctx context.Context, query core.AuditQuery, before time.Time, beforeID uuid.UUID, limit int) ([]core.AuditEntry, error)
}

// Audit implements AuditService.
type Audit struct {
	subscriptionv1.UnimplementedAuditServiceServer

	store AuditStore
}

// NewAudit returns the service over a store.
func NewAudit(store AuditStore) *Audit { return &Audit{store: store} }

// The fields of the filter of the audit log.
const (
	auditActor    = "actor"
	auditAction   = "action"
	auditResource = "resource"
	auditTime     = "create_time"
)

// ListAuditLogEntries implements AuditService.
func (s *Audit) ListAuditLogEntries(ctx context.Context, req *subscriptionv1.ListAuditLogEntriesRequest) (*subscriptionv1.ListAuditLogEntriesResponse, error) {
	parent, err := parseOrganization("parent", req.GetParent())
	if err != nil {
		return nil, err
	}
	values, times, err := aip.ParseTimeFilter(req.GetFilter(), auditTime, auditActor, auditAction, auditResource)
	if err != nil {
		return nil, err
	}
	query := core.AuditQuery{
		Organization: ofOrganization(parent), Actor: values[auditActor], Action: values[auditAction],
		Resource: values[auditResource], From: times.From,
	}
	if query.Organization != "" {
		if _, err := s.store.Organization(ctx, query.Organization); err != nil {
			return nil, err
		}
	}
	entries, next, err := listWithin(req,
		func(after newestCursor, limit int) ([]*subscriptionv1.AuditLogEntry, error) {
			before, beforeID := after.time(), after.id()
			if !times.Before.IsZero() && times.Before.Before(before) {
				before, beforeID = times.Before, uuid.Nil // nothing has this id, so the time itself is left out
			}
			rows, err := s.store.AuditEntries(ctx, query, before, beforeID, limit)
			if err != nil {
				return nil, err
			}
			return auditMessages(rows)
		},
		func(e *subscriptionv1.AuditLogEntry) newestCursor {
			return newestCursor{Time: e.GetCreateTime().AsTime(), ID: uuid.MustParse(path.Base(e.GetName()))}
		},
		func(e *subscriptionv1.AuditLogEntry) int { return proto.Size(e) })
	if err != nil {
		return nil, err
	}
	return &subscriptionv1.ListAuditLogEntriesResponse{AuditLogEntries: entries, NextPageToken: next}, nil
}

func auditMessages(entries []core.AuditEntry) ([]*subscriptionv1.AuditLogEntry, error) {
	all := make([]*subscriptionv1.AuditLogEntry, len(entries))
	for i, e := range entries {
		var err error
		if all[i], err = auditMessage(e); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func auditMessage(e core.AuditEntry) (*subscriptionv1.AuditLogEntry, error) {
	organization := e.Organization
	if organization == "" {
		organization = core.AnyOrganization
	}
	message := &subscriptionv1.AuditLogEntry{
		Name:       "organizations/" + organization + "/auditLogEntries/" + e.ID,
		CreateTime: timestamppb.New(e.Time), Actor: e.Actor.Name, Role: accessv1.Role(e.Actor.Role),
		Action: string(e.Action), Resource: e.Resource, Address: e.Actor.Address,
		ForwardedFor: e.Actor.ForwardedFor, UserAgent: e.Actor.UserAgent,
	}
	for _, side := range []struct {
		from core.Document
		to   **structpb.Struct
	}{{e.Before, &message.Before}, {e.After, &message.After}} {
		if side.from == nil {
			continue
		}
		var err error
		if *side.to, err = structpb.NewStruct(side.from); err != nil {
			return nil, fmt.Errorf("show entry %s of the audit log: %w", e.ID, err)
		}
	}
	return message, nil
}

// ofOrganization is empty, which is the installation and all organizations, for organizations/-.
func ofOrganization(slug string) string {
	if slug == core.AnyOrganization {
		return ""
	}
	return slug
}
