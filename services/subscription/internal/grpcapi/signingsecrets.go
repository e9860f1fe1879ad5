package grpcapi

import (
	"context"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/meetwire/meetwire/pkg/aip"
	subscriptionv1 "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
)

// SigningSecrets implements SigningSecretService.
type SigningSecrets struct {
	subscriptionv1.UnimplementedSigningSecretServiceServer

	steps *core.SigningSecrets
}

// NewSigningSecrets returns the service over its steps.
func NewSigningSecrets(steps *core.SigningSecrets) *SigningSecrets {
	return &SigningSecrets{steps: steps}
}

// GetSigningSecret implements SigningSecretService.
func (s *SigningSecrets) GetSigningSecret(ctx context.Context, req *subscriptionv1.GetSigningSecretRequest) (*subscriptionv1.SigningSecret, error) {
	organization, err := parseSigningSecret(req.GetName())
	if err != nil {
		return nil, err
	}
	secrets, err := s.steps.Get(ctx, organization)
	return signingSecretAnswer(organization, secrets, "", err)
}

// GenerateSigningSecret implements SigningSecretService.
func (s *SigningSecrets) GenerateSigningSecret(ctx context.Context, req *subscriptionv1.GenerateSigningSecretRequest) (*subscriptionv1.SigningSecret, error) {
	organization, err := parseSigningSecret(req.GetName())
	if err != nil {
		return nil, err
	}
	secrets, shown, err := s.steps.Generate(ctx, organization, req.GetReplace())
	return signingSecretAnswer(organization, secrets, shown, err)
}

// RevealSigningSecret implements SigningSecretService.
func (s *SigningSecrets) RevealSigningSecret(ctx context.Context, req *subscriptionv1.RevealSigningSecretRequest) (*subscriptionv1.SigningSecret, error) {
	organization, err := parseSigningSecret(req.GetName())
	if err != nil {
		return nil, err
	}
	secrets, shown, err := s.steps.Reveal(ctx, organization)
	return signingSecretAnswer(organization, secrets, shown, err)
}

// RegenerateSigningSecret implements SigningSecretService.
func (s *SigningSecrets) RegenerateSigningSecret(ctx context.Context, req *subscriptionv1.RegenerateSigningSecretRequest) (*subscriptionv1.SigningSecret, error) {
	organization, err := parseSigningSecret(req.GetName())
	if err != nil {
		return nil, err
	}
	grace := core.DefaultGracePeriod
	if req.GetGracePeriod() != nil {
		grace = req.GetGracePeriod().AsDuration()
	}
	secrets, shown, err := s.steps.Regenerate(ctx, organization, grace)
	return signingSecretAnswer(organization, secrets, shown, err)
}

// ActivateSigningSecret implements SigningSecretService.
func (s *SigningSecrets) ActivateSigningSecret(ctx context.Context, req *subscriptionv1.ActivateSigningSecretRequest) (*subscriptionv1.SigningSecret, error) {
	organization, err := parseSigningSecret(req.GetName())
	if err != nil {
		return nil, err
	}
	secrets, err := s.steps.Activate(ctx, organization)
	return signingSecretAnswer(organization, secrets, "", err)
}

// parseSigningSecret returns the slug within the name of a signing secret.
func parseSigningSecret(name string) (string, error) {
	ids, err := aip.ParseName(name, "organizations/{organization}/signingSecret")
	if err != nil {
		return "", err
	}
	return ids[0], nil
}

// signingSecretAnswer shows a secret only where shown is not empty.
func signingSecretAnswer(organization string, secrets []core.SealedSecret, shown string, err error) (*subscriptionv1.SigningSecret, error) {
	if err != nil {
		return nil, err
	}
	return &subscriptionv1.SigningSecret{
		Name: core.SigningSecretName(organization), Secret: shown, Versions: secretVersions(secrets),
	}, nil
}

// secretVersions returns the messages of secrets, without the secrets themselves.
func secretVersions(secrets []core.SealedSecret) []*subscriptionv1.SecretVersion {
	return messages(secrets, func(s core.SealedSecret) *subscriptionv1.SecretVersion {
		version := &subscriptionv1.SecretVersion{CreateTime: timestamppb.New(s.CreateTime)}
		if !s.ExpireTime.IsZero() {
			version.ExpireTime = timestamppb.New(s.ExpireTime)
		}
		return version
	})
}
