package grpcapi

import (
	"context"

	operationv1 "github.com/meetwire/meetwire/proto/gen/meetwire/operation/v1"
	subscriptionv1 "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
)

// ReencryptionStore begins the encryption of all secrets with the primary key.
type ReencryptionStore interface {
	// BeginReencryption begins the operation, or returns the one that runs. fault.Unavailable while the store is away.
	BeginReencryption(ctx context.Context) (core.Operation, error)
}

// Keyset implements KeysetService.
type Keyset struct {
	subscriptionv1.UnimplementedKeysetServiceServer

	store ReencryptionStore
}

// NewKeyset returns the service over a store.
func NewKeyset(store ReencryptionStore) *Keyset { return &Keyset{store: store} }

// ReencryptSecrets implements KeysetService.
func (s *Keyset) ReencryptSecrets(ctx context.Context, _ *subscriptionv1.ReencryptSecretsRequest) (*operationv1.Operation, error) {
	o, err := s.store.BeginReencryption(ctx)
	if err != nil {
		return nil, err
	}
	return operationMessage(o)
}
