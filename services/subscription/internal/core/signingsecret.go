package core

import (
	"context"
	"fmt"
	"time"

	"github.com/meetwire/meetwire/pkg/fault"
)

// Limits and default of the secrets of a webhook, or of an organization.
const (
	MaxValidSecrets    = 10 // at once
	MaxGracePeriod     = 7 * 24 * time.Hour
	DefaultGracePeriod = 24 * time.Hour
)

// SigningSecretName returns the resource name of an organization's signing secret.
func SigningSecretName(organization string) string {
	return "organizations/" + organization + "/signingSecret"
}

// NoSigningSecret is the fault of a signing secret that was not generated.
func NoSigningSecret(organization string) error {
	return fault.New(fault.NotFound, "SIGNING_SECRET_NOT_FOUND",
		"organizations/%s has no signing secret: generate one", organization)
}

// SecretChange is what becomes of the signing secrets of an organization.
type SecretChange struct {
	Secrets     []SealedSecret // the newest first
	Action      Action         // empty: everything stays as it is
	Announced   bool           // others are told of it: a secret that was valid was replaced
	GracePeriod time.Duration  // for which the one before stays valid
}

// SigningSecretStore keeps the signing secrets of organizations. All methods return fault.Unavailable while it is away,
// and fault.NotFound when the organization does not exist.
type SigningSecretStore interface {
	// Organization returns an organization.
	Organization(ctx context.Context, id string) (Organization, error)
	// ChangeSigningSecrets gives the current state to change, which nobody else can change meanwhile, and stores what
	// comes back. An error of change comes back as it is.
	ChangeSigningSecrets(ctx context.Context, id string, change func(current Organization) (SecretChange, error)) (Organization, error)
	// NoteReveal writes to the audit log that the signing secret was shown, when check accepts the current state, and
	// returns that. An error of check comes back as it is.
	NoteReveal(ctx context.Context, id string, check func(current Organization) error) (Organization, error)
}

// SigningSecrets makes and shows the signing secrets of organizations by their rules.
type SigningSecrets struct {
	store     SigningSecretStore
	sealer    Sealer
	newSecret func() (string, error)
	now       func() time.Time
}

// NewSigningSecrets returns the steps over a store. newSecret makes a random secret, whsec_….
func NewSigningSecrets(store SigningSecretStore, sealer Sealer, newSecret func() (string, error), now func() time.Time) *SigningSecrets {
	return &SigningSecrets{store: store, sealer: sealer, newSecret: newSecret, now: now}
}

// Get returns the secrets that are valid, the newest first. fault.NotFound when none was generated.
func (s *SigningSecrets) Get(ctx context.Context, organization string) ([]SealedSecret, error) {
	o, err := s.store.Organization(ctx, organization)
	if err != nil {
		return nil, err
	}
	return s.valid(o)
}

// Generate makes the first secret, or with replace a new one that is valid alone at once. It returns it.
func (s *SigningSecrets) Generate(ctx context.Context, organization string, replace bool) ([]SealedSecret, string, error) {
	return s.add(ctx, organization, func(current Organization) (SecretChange, error) {
		exists := len(current.ValidSecrets(s.now())) > 0
		if exists && !replace {
			return SecretChange{}, fault.New(fault.FailedPrecondition, "SIGNING_SECRET_EXISTS",
				"%s has a signing secret: with replace a new one takes its place at once, and receivers that have the old one "+
					"refuse everything from then on; regenerate keeps the old one valid for a grace period", current.Name())
		}
		return SecretChange{Action: ActionGenerate, Announced: exists}, nil
	})
}

// Regenerate makes a new secret and keeps those before valid for a grace period. It returns it. fault.NotFound when
// there is none yet.
func (s *SigningSecrets) Regenerate(ctx context.Context, organization string, grace time.Duration) ([]SealedSecret, string, error) {
	if err := invalid(CheckGracePeriod("grace_period", grace)); err != nil {
		return nil, "", err
	}
	return s.add(ctx, organization, func(current Organization) (SecretChange, error) {
		_, err := s.valid(current)
		return SecretChange{Action: ActionRotate, Announced: true, GracePeriod: grace}, err
	})
}

// Activate ends the grace period: only the newest secret is valid from then on. Nothing changes for one that is valid
// alone. fault.NotFound when there is none.
func (s *SigningSecrets) Activate(ctx context.Context, organization string) ([]SealedSecret, error) {
	o, err := s.store.ChangeSigningSecrets(ctx, organization, func(current Organization) (SecretChange, error) {
		valid, err := s.valid(current)
		if err != nil || len(valid) == 1 {
			return SecretChange{}, err
		}
		return SecretChange{Secrets: ActivateSecret(valid), Action: ActionActivate}, nil
	})
	if err != nil {
		return nil, err
	}
	return s.valid(o)
}

// Reveal returns the secrets that are valid and shows the newest. The audit log says who has seen it. fault.NotFound
// when there is none.
func (s *SigningSecrets) Reveal(ctx context.Context, organization string) ([]SealedSecret, string, error) {
	var valid []SealedSecret
	// First of all: nobody is to see a secret without a trace.
	o, err := s.store.NoteReveal(ctx, organization, func(current Organization) (err error) {
		valid, err = s.valid(current)
		return err
	})
	if err != nil {
		return nil, "", err
	}
	shown, err := s.sealer.Open(valid[0].Sealed, o.Name())
	if err != nil {
		return nil, "", fmt.Errorf("decrypt the signing secret of %s: %w", o.Name(), err)
	}
	return valid, shown, nil
}

// add puts a new secret in front of those that stay valid for the grace period of the change.
func (s *SigningSecrets) add(ctx context.Context, organization string, change func(current Organization) (SecretChange, error)) ([]SealedSecret, string, error) {
	shown, err := s.newSecret()
	if err != nil {
		return nil, "", fmt.Errorf("make a signing secret: %w", err)
	}
	sealed, err := s.sealer.Seal(shown, Organization{ID: organization}.Name())
	if err != nil {
		return nil, "", fmt.Errorf("encrypt a signing secret: %w", err)
	}
	o, err := s.store.ChangeSigningSecrets(ctx, organization, func(current Organization) (SecretChange, error) {
		next, err := change(current)
		if err != nil {
			return SecretChange{}, err
		}
		next.Secrets = RotateSecrets(current.Secrets, sealed, next.GracePeriod, Stored(s.now()))
		return next, nil
	})
	if err != nil {
		return nil, "", err
	}
	return o.ValidSecrets(s.now()), shown, nil
}

// valid returns the secrets that are valid, of which there must be one.
func (s *SigningSecrets) valid(o Organization) ([]SealedSecret, error) {
	valid := o.ValidSecrets(s.now())
	if len(valid) == 0 {
		return nil, NoSigningSecret(o.ID)
	}
	return valid, nil
}
