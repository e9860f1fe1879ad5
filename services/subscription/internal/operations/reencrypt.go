package operations

import (
	"context"
	"fmt"

	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
)

// reencryptBatch is how many webhooks or organizations are encrypted anew in one transaction. They become one entry of
// the change feed, which must stay below the size of a gRPC message.
const reencryptBatch = 50

// Secrets opens and seals what is encrypted at rest.
type Secrets interface {
	// Open decrypts what was encrypted for the same purpose, with any key of the keyset.
	Open(sealed []byte, purpose string) ([]byte, error)
	// Seal encrypts with the primary key.
	Seal(plaintext []byte, purpose string) ([]byte, error)
}

// secretStore encrypts what it keeps anew.
type secretStore interface {
	// ReencryptOrganizations gives reseal every secret of at most limit organizations whose slug comes after the
	// given one, and stores what comes back and, as the progress of the operation, what next returns for the last of
	// them. It returns that slug, empty when there was none. core.ErrTaken when the lease is lost.
	ReencryptOrganizations(ctx context.Context, w core.Work, after string, limit int,
		reseal core.Reseal, next func(last string) ([]byte, error)) (string, error)
	// ReencryptWebhooks does the same with the secrets and the headers of webhooks, in the order of their ids.
	ReencryptWebhooks(ctx context.Context, w core.Work, after string, limit int,
		reseal core.Reseal, next func(last string) ([]byte, error)) (string, error)
	// ForgetFeed removes what the change feed has before its newest entry, so that nobody is sent what was encrypted with
	// an earlier key. Watchers that are behind begin anew.
	ForgetFeed(ctx context.Context) error
}

// The parts of the encryption of everything.
const (
	reencryptOrganizations = ""
	reencryptWebhooks      = "webhooks"
	reencryptFeed          = "feed"
)

// reencryptProgress says after what it goes on.
type reencryptProgress struct {
	Part  string `json:"part,omitempty"`
	After string `json:"after,omitempty"`
}

// reencryptSecrets encrypts one more batch with the primary key.
func (r *Runner) reencryptSecrets(ctx context.Context, w *core.Work) (bool, error) {
	var progress reencryptProgress
	if err := load(w, &progress); err != nil {
		return false, err
	}
	switch progress.Part {
	case reencryptOrganizations:
		return false, r.reencryptBatch(ctx, w, progress, reencryptWebhooks, r.cfg.Store.ReencryptOrganizations)
	case reencryptWebhooks:
		return false, r.reencryptBatch(ctx, w, progress, reencryptFeed, r.cfg.Store.ReencryptWebhooks)
	default:
		if err := r.cfg.Store.ForgetFeed(ctx); err != nil {
			return false, err
		}
		return true, nil
	}
}

// reencryptStep is ReencryptOrganizations or ReencryptWebhooks.
type reencryptStep func(ctx context.Context, w core.Work, after string, limit int,
	reseal core.Reseal, next func(last string) ([]byte, error)) (string, error)

func (r *Runner) reencryptBatch(ctx context.Context, w *core.Work, progress reencryptProgress, following string, reencrypt reencryptStep) error {
	var step core.Step
	_, err := reencrypt(ctx, *w, progress.After, reencryptBatch, r.reseal, func(last string) ([]byte, error) {
		next := reencryptProgress{Part: progress.Part, After: last}
		if last == "" { // there was none
			next = reencryptProgress{Part: following}
		}
		err := save(&step, next)
		return step.Progress, err
	})
	if err != nil {
		return err
	}
	w.Progress = step.Progress
	return nil
}

// reseal encrypts a text with the primary key.
func (r *Runner) reseal(sealed []byte, purpose string) ([]byte, error) {
	plaintext, err := r.cfg.Secrets.Open(sealed, purpose)
	if err != nil {
		return nil, fault.Wrap(fault.FailedPrecondition, "SECRET_NOT_OPENED", err,
			"what is encrypted for %q cannot be opened with any key of the keyset: configure one that has its key, and resume", purpose)
	}
	anew, err := r.cfg.Secrets.Seal(plaintext, purpose)
	if err != nil {
		return nil, fmt.Errorf("seal a secret: %w", err)
	}
	return anew, nil
}
