package core

import (
	"context"
	"time"
)

// Action is what an entry of the audit log says was done.
type Action string

// The actions.
const (
	ActionCreate    Action = "create"
	ActionUpdate    Action = "update"
	ActionDelete    Action = "delete"
	ActionPause     Action = "pause"
	ActionResume    Action = "resume"
	ActionEnable    Action = "enable"
	ActionDisable   Action = "disable"
	ActionRotate    Action = "rotate"
	ActionActivate  Action = "activate"
	ActionReveal    Action = "reveal"
	ActionGenerate  Action = "generate"
	ActionCancel    Action = "cancel"
	ActionReencrypt Action = "reencrypt"
	// These are done with the other services.
	ActionReplay   Action = "replay"
	ActionBackfill Action = "backfill"
	ActionErase    Action = "erase"
	ActionResubmit Action = "resubmit"
	ActionResend   Action = "resend"
	ActionRetry    Action = "retry"
	ActionPurge    Action = "purge"
)

// Known reports whether the action is one of those that an entry of the audit log may have.
func (a Action) Known() bool {
	switch a {
	case ActionCreate, ActionUpdate, ActionDelete, ActionPause, ActionResume, ActionEnable, ActionDisable, ActionRotate,
		ActionActivate, ActionReveal, ActionGenerate, ActionCancel, ActionReencrypt,
		ActionReplay, ActionBackfill, ActionErase, ActionResubmit, ActionResend, ActionRetry, ActionPurge:
		return true
	default:
		return false
	}
}

// SystemActor is the actor of what Meetwire does by itself.
const SystemActor = "system"

// Actor is who makes a change.
type Actor struct {
	Name         string // apiKeys/{id within the key}, or SystemActor
	Role         Role
	Address      string // from which the call came; empty for Meetwire itself
	ForwardedFor string // what a proxy said of whom it forwarded the call for
	UserAgent    string
}

type actorKey struct{}

// WithActor returns a context in which the actor makes changes.
func WithActor(ctx context.Context, actor Actor) context.Context {
	return context.WithValue(ctx, actorKey{}, actor)
}

// ActorOf returns who makes changes in a context: Meetwire itself when nobody else does.
func ActorOf(ctx context.Context) Actor {
	if actor, ok := ctx.Value(actorKey{}).(Actor); ok {
		return actor
	}
	return Actor{Name: SystemActor}
}

// Document is a resource as the audit log shows it. It has no secret in it: what is secret is masked, or left out.
type Document map[string]any

// Masked stands for a secret in a Document.
const Masked = "REDACTED"

// AuditEntry is one change, or one look at a secret.
type AuditEntry struct {
	ID           string // UUIDv7
	Organization string // slug; empty: of the installation
	Time         time.Time
	Actor        Actor
	Action       Action
	Resource     string // resource name
	Before       Document
	After        Document
}
