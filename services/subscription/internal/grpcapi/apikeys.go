package grpcapi

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/meetwire/meetwire/pkg/rpc"
	accessv1 "github.com/meetwire/meetwire/proto/gen/meetwire/access/v1"
	subscriptionv1 "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
)

// APIKeyStore keeps API keys. All methods return fault.Unavailable while it is away.
type APIKeyStore interface {
	// Organization returns an organization, or fault.NotFound.
	Organization(ctx context.Context, id string) (core.Organization, error)
	// InsertAPIKey stores a new key. fault.NotFound when its organization does not exist.
	InsertAPIKey(ctx context.Context, k core.APIKey) error
	// APIKeys returns at most limit keys of an organization that come after a time and id, oldest first.
	APIKeys(ctx context.Context, organization string, after time.Time, afterID string, limit int) ([]core.APIKey, error)
	// DeleteAPIKey revokes a key of an organization. fault.NotFound when it has no such key.
	DeleteAPIKey(ctx context.Context, organization, id string) error
}

// APIKeys implements ApiKeyService.
type APIKeys struct {
	subscriptionv1.UnimplementedApiKeyServiceServer

	store APIKeyStore
	now   func() time.Time
}

// NewAPIKeys returns the service over a store.
func NewAPIKeys(store APIKeyStore, now func() time.Time) *APIKeys {
	return &APIKeys{store: store, now: now}
}

// CreateApiKey implements ApiKeyService.
func (s *APIKeys) CreateApiKey(ctx context.Context, req *subscriptionv1.CreateApiKeyRequest) (*subscriptionv1.ApiKey, error) { //nolint:revive // var-naming: the name is generated
	organization, err := parseOrganization("parent", req.GetParent())
	if err != nil {
		return nil, err
	}
	id, key, sum, err := rpc.NewKey()
	if err != nil {
		return nil, fmt.Errorf("make an API key: %w", err)
	}
	wanted := req.GetApiKey()
	k, err := core.NewAPIKey(id, sum, organization, wanted.GetDisplayName(), core.Role(wanted.GetRole()), s.now())
	if err != nil {
		return nil, err
	}
	if err := s.store.InsertAPIKey(ctx, k); err != nil {
		return nil, err
	}
	message := apiKeyMessage(k)
	message.Key = key.Reveal()
	return message, nil
}

// ListApiKeys implements ApiKeyService.
func (s *APIKeys) ListApiKeys(ctx context.Context, req *subscriptionv1.ListApiKeysRequest) (*subscriptionv1.ListApiKeysResponse, error) { //nolint:revive // var-naming: the name is generated
	organization, err := parseOrganization("parent", req.GetParent())
	if err != nil {
		return nil, err
	}
	if _, err := s.store.Organization(ctx, organization); err != nil {
		return nil, err
	}
	keys, next, err := list(req,
		func(after apiKeyCursor, limit int) ([]core.APIKey, error) {
			return s.store.APIKeys(ctx, organization, after.Time, after.ID, limit)
		},
		func(k core.APIKey) apiKeyCursor { return apiKeyCursor{Time: k.CreateTime, ID: k.ID} })
	if err != nil {
		return nil, err
	}
	return &subscriptionv1.ListApiKeysResponse{ApiKeys: messages(keys, apiKeyMessage), NextPageToken: next}, nil
}

// DeleteApiKey implements ApiKeyService.
func (s *APIKeys) DeleteApiKey(ctx context.Context, req *subscriptionv1.DeleteApiKeyRequest) (*emptypb.Empty, error) { //nolint:revive // var-naming: the name is generated
	organization, id, err := parseChild("name", "apiKeys", req.GetName())
	if err != nil {
		return nil, err
	}
	if err := s.store.DeleteAPIKey(ctx, organization, id); err != nil {
		return nil, err
	}
	return &emptypb.Empty{}, nil
}

func apiKeyMessage(k core.APIKey) *subscriptionv1.ApiKey {
	return &subscriptionv1.ApiKey{
		Name:        "organizations/" + k.Organization + "/apiKeys/" + k.ID,
		DisplayName: k.DisplayName,
		Role:        accessv1.Role(k.Role),
		CreateTime:  timestamppb.New(k.CreateTime),
	}
}

// KeyReader looks an API key up.
type KeyReader interface {
	// APIKey returns a key of anyone: fault.NotFound when there is none, fault.Unavailable while the store is
	// away.
	APIKey(ctx context.Context, id string) (core.APIKey, error)
}

// Keys implements rpc.Keys with what is stored at the moment, so a revoked key is refused at once.
type Keys struct {
	reader KeyReader
}

// NewKeys returns the keys of a reader.
func NewKeys(reader KeyReader) *Keys { return &Keys{reader: reader} }

// Key implements rpc.Keys.
func (s *Keys) Key(ctx context.Context, id string) (rpc.Key, error) {
	k, err := s.reader.APIKey(ctx, id)
	if err != nil {
		return rpc.Key{}, err
	}
	return rpc.Key{ID: k.ID, Organization: k.Organization, Role: accessv1.Role(k.Role), SecretSHA256: k.SecretSHA256}, nil
}
