package grpcapi

import (
	"context"
	"errors"
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
	// InsertAPIKey stores a new key. fault.NotFound when its organization does not exist,
	// *core.RepeatedRequestError when the request was made before.
	InsertAPIKey(ctx context.Context, k core.APIKey, request core.Request) error
	// OrganizationAPIKey returns a key of an organization, or fault.NotFound.
	OrganizationAPIKey(ctx context.Context, organization, id string) (core.APIKey, error)
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

// CreateApiKey implements ApiKeyService. A repeated request returns the key that the first one made without the key
// itself, which is kept nowhere.
func (s *APIKeys) CreateApiKey(ctx context.Context, req *subscriptionv1.CreateApiKeyRequest) (*subscriptionv1.ApiKey, error) { //nolint:revive // var-naming: the name is generated
	organization, err := parseOrganization("parent", req.GetParent())
	if err != nil {
		return nil, err
	}
	request, err := requestOf(subscriptionv1.ApiKeyService_CreateApiKey_FullMethodName, req)
	if err != nil {
		return nil, err
	}
	id, key, sum, err := rpc.NewKey()
	if err != nil {
		return nil, fmt.Errorf("make an API key: %w", err)
	}
	wish, err := apiKeyWish(req.GetApiKey())
	if err != nil {
		return nil, err
	}
	k, err := core.NewAPIKey(id, sum, organization, wish, s.now())
	if err != nil {
		return nil, err
	}
	err = s.store.InsertAPIKey(ctx, k, request)
	if repeated := (*core.RepeatedRequestError)(nil); errors.As(err, &repeated) {
		if k, err = s.store.OrganizationAPIKey(ctx, organization, repeated.Resource); err != nil {
			return nil, err
		}
		return apiKeyMessage(k), nil
	}
	if err != nil {
		return nil, err
	}
	message := apiKeyMessage(k)
	message.Key = key.Reveal()
	return message, nil
}

// apiKeyWish returns what a request wants a key to be.
func apiKeyWish(k *subscriptionv1.ApiKey) (core.APIKeyWish, error) {
	wish := core.APIKeyWish{DisplayName: k.GetDisplayName(), Role: core.Role(k.GetRole())}
	if k.GetExpireTime() == nil {
		return wish, nil
	}
	if !k.GetExpireTime().IsValid() {
		return wish, invalidTime("api_key.expire_time")
	}
	expires := k.GetExpireTime().AsTime()
	wish.ExpireTime = &expires
	return wish, nil
}

// GetApiKey implements ApiKeyService.
func (s *APIKeys) GetApiKey(ctx context.Context, req *subscriptionv1.GetApiKeyRequest) (*subscriptionv1.ApiKey, error) { //nolint:revive // var-naming: the name is generated
	organization, id, err := parseChild("name", "apiKeys", req.GetName())
	if err != nil {
		return nil, err
	}
	k, err := s.store.OrganizationAPIKey(ctx, organization, id)
	if err != nil {
		return nil, err
	}
	return apiKeyMessage(k), nil
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
		Name:        k.Name(),
		DisplayName: k.DisplayName,
		Role:        accessv1.Role(k.Role),
		CreateTime:  timestamppb.New(k.CreateTime),
		ExpireTime:  timestamp(k.ExpireTime),
		LastUseTime: timestamp(k.LastUseTime),
	}
}

// timestamp is unset for the zero time.
func timestamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}
