// Package operations owns what the long work of this service does: the steps of each type of operation, every one of
// which may be repeated. Who works on what, and for how long, is pkg/operation's business. It must not decide what is
// begun, and holds no state of its own.
package operations

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/meetwire/meetwire/pkg/operation"
	"github.com/meetwire/meetwire/pkg/rpc"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	ingestv1 "github.com/meetwire/meetwire/proto/gen/meetwire/ingest/v1"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
)

// callTimeout bounds one call of another service.
const callTimeout = 2 * time.Minute

// Config is what a Runner is made of. All of it but the times is required.
type Config struct {
	Store    Store
	Secrets  Secrets
	Ingest   ingestv1.InternalServiceClient
	Delivery deliveryv1.InternalServiceClient
	Logger   *slog.Logger
	Now      func() time.Time
	Lease    time.Duration // 0: 30 s
	Poll     time.Duration // how often it is looked for work; 0: 1 s
	Settle   time.Duration // after how long nothing is under way of what was deleted; 0: 40 s
}

// Runner works on operations.
type Runner struct {
	*operation.Runner

	cfg Config
}

// New returns a runner.
func New(cfg Config) (*Runner, error) {
	if cfg.Store == nil || cfg.Secrets == nil || cfg.Ingest == nil || cfg.Delivery == nil || cfg.Logger == nil || cfg.Now == nil {
		return nil, errors.New("a store, secrets, clients of ingest and delivery, a logger and a clock are required")
	}
	if cfg.Settle == 0 {
		cfg.Settle = defaultSettle
	}
	r := &Runner{cfg: cfg}
	var err error
	r.Runner, err = operation.NewRunner(operation.Config{
		Store: leases{cfg.Store}, Clean: r.clean, Logger: cfg.Logger, Now: cfg.Now, Lease: cfg.Lease, Poll: cfg.Poll,
		Handlers: map[string]operation.Handler{
			string(core.OperationResumeWebhook):      handler(r.resumeWebhook),
			string(core.OperationDeleteOrganization): handler(r.deleteOrganization),
			string(core.OperationReencryptSecrets):   handler(r.reencryptSecrets),
		},
	})
	if err != nil {
		return nil, fmt.Errorf("make the runner: %w", err)
	}
	return r, nil
}

// clean removes operations that have ended long ago.
func (r *Runner) clean(ctx context.Context) error {
	for {
		removed, err := r.cfg.Store.RemoveEndedOperations(ctx, r.cfg.Now().Add(-operation.Retention), removeBatch)
		if err != nil || removed < removeBatch {
			return err
		}
	}
}

// call calls another service.
func call[Q, A any](ctx context.Context, method func(context.Context, Q) (A, error), request Q, what string) (A, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	answer, err := method(ctx, request)
	if err != nil {
		return answer, fmt.Errorf("%s: %w", what, rpc.FaultFromStatus(err))
	}
	return answer, nil
}
