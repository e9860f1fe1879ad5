package grpcapi

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/rpc"
	accessv1 "github.com/meetwire/meetwire/proto/gen/meetwire/access/v1"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
)

// How often it is stored when keys were used, and how long that may take when the service stops.
const (
	keyUseInterval = time.Minute
	keyUseTimeout  = 5 * time.Second
)

// KeyStore looks API keys up and remembers when they were used. All methods return fault.Unavailable while it is away.
type KeyStore interface {
	// APIKey returns a key of anyone, or fault.NotFound.
	APIKey(ctx context.Context, id string) (core.APIKey, error)
	// TouchAPIKeys notes when keys were used.
	TouchAPIKeys(ctx context.Context, uses []core.KeyUse) error
}

// Keys implements rpc.Keys and rpc.KeyUses with what is stored at the moment, so a revoked key is refused at once.
type Keys struct {
	store  KeyStore
	logger *slog.Logger
	now    func() time.Time

	mu   sync.Mutex
	used map[string]time.Time // since it was stored last
}

// NewKeys returns the keys of a store.
func NewKeys(store KeyStore, logger *slog.Logger, now func() time.Time) *Keys {
	return &Keys{store: store, logger: logger, now: now, used: make(map[string]time.Time)}
}

// Key implements rpc.Keys. A key that has expired is none.
func (s *Keys) Key(ctx context.Context, id string) (rpc.Key, error) {
	k, err := s.store.APIKey(ctx, id)
	if err != nil {
		return rpc.Key{}, err
	}
	if k.Expired(s.now()) {
		return rpc.Key{}, fault.New(fault.NotFound, "API_KEY_EXPIRED", "the API key has expired")
	}
	return rpc.Key{ID: k.ID, Organization: k.Organization, Role: accessv1.Role(k.Role), SecretSHA256: k.SecretSHA256}, nil
}

// KeyUsed implements rpc.KeyUses.
func (s *Keys) KeyUsed(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used[id] = s.now()
}

// Run stores once a minute which keys were used, until the context ends, and then once more.
func (s *Keys) Run(ctx context.Context) {
	ticker := time.NewTicker(keyUseInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			s.Store(ctx)
		case <-ctx.Done():
			last, cancel := context.WithTimeout(context.WithoutCancel(ctx), keyUseTimeout)
			defer cancel()
			s.Store(last)
			return
		}
	}
}

// Store stores which keys were used. When that fails they are remembered for the next time.
func (s *Keys) Store(ctx context.Context) {
	s.mu.Lock()
	used := s.used
	s.used = make(map[string]time.Time, len(used))
	s.mu.Unlock()
	uses := make([]core.KeyUse, 0, len(used))
	for id, at := range used {
		uses = append(uses, core.KeyUse{ID: id, Time: at})
	}
	if len(uses) == 0 {
		return
	}
	err := s.store.TouchAPIKeys(ctx, uses)
	if err == nil {
		return
	}
	s.logger.WarnContext(ctx, "use of API keys not stored", "keys", len(uses), "error", err)
	s.mu.Lock()
	defer s.mu.Unlock()
	for id, at := range used {
		if at.After(s.used[id]) {
			s.used[id] = at
		}
	}
}
