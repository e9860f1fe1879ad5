// Package audit owns how services other than subscription write into the audit log what somebody has done with them, and
// how a caller is described there. It keeps nothing: subscription does.
package audit

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/meetwire/meetwire/pkg/rpc"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
)

// What is done with the other services; subscription refuses others.
const (
	Replay   = "replay"
	Backfill = "backfill"
	Erase    = "erase"
	Resubmit = "resubmit"
	Resend   = "resend"
	Retry    = "retry"
	Purge    = "purge"
	Cancel   = "cancel"
	Resume   = "resume"
)

// callTimeout bounds the call of subscription.
const callTimeout = 10 * time.Second

// Action is what somebody does.
type Action struct {
	ID           string         // UUID; the same id twice is one action. Empty: a new one
	Organization string         // slug; empty: it concerns the installation
	Action       string         // Replay, …
	Resource     string         // resource name of what it is done with
	Details      map[string]any // what was asked for, without secrets: what JSON can carry
}

// Log writes into the audit log.
type Log struct {
	client configv1.ConfigServiceClient
	now    func() time.Time
}

// New returns the log behind a client of subscription, which has the service token.
func New(client configv1.ConfigServiceClient, now func() time.Time) *Log {
	return &Log{client: client, now: now}
}

// Record writes an action of the caller that the context belongs to, of Meetwire itself when there is none. It is called
// before the work begins: what cannot be recorded must not be done. fault.Unavailable while subscription is away,
// fault.NotFound when the organization is gone, fault.InvalidArgument for an action that cannot be recorded.
func (l *Log) Record(ctx context.Context, action Action) error {
	if action.ID == "" {
		id, err := uuid.NewV7()
		if err != nil {
			return fmt.Errorf("make an id for the audit log: %w", err)
		}
		action.ID = id.String()
	}
	details, err := detailsOf(action)
	if err != nil {
		return err
	}
	actor := ActorOf(ctx)
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	_, err = l.client.RecordAction(ctx, &configv1.RecordActionRequest{
		Id: action.ID, Time: timestamppb.New(l.now()), Organization: action.Organization,
		Actor: actor.Name, Role: actor.Role, Address: actor.Address, ForwardedFor: actor.ForwardedFor, UserAgent: actor.UserAgent,
		Action: action.Action, Resource: action.Resource, Details: details,
	})
	if err != nil {
		return fmt.Errorf("record %s in the audit log: %w", action.Action, rpc.FaultFromStatus(err))
	}
	return nil
}

// detailsOf returns the details of an action as JSON has them.
func detailsOf(action Action) (*structpb.Struct, error) {
	if action.Details == nil {
		return nil, nil
	}
	encoded, err := json.Marshal(action.Details)
	if err != nil {
		return nil, fmt.Errorf("write the details of %s for the audit log: %w", action.Action, err)
	}
	details := &structpb.Struct{}
	if err := details.UnmarshalJSON(encoded); err != nil {
		return nil, fmt.Errorf("write the details of %s for the audit log: %w", action.Action, err)
	}
	return details, nil
}
