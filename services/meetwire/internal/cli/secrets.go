package cli

import (
	"strings"

	operationv1 "github.com/meetwire/meetwire/proto/gen/meetwire/operation/v1"
	subscriptionv1 "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
)

type secrets struct {
	Get        secretsGet        `cmd:"" help:"Show since when there is a secret, not the secret."`
	Generate   secretsGenerate   `cmd:"" help:"Make a secret."`
	Reveal     secretsReveal     `cmd:"" help:"Show the secret. This is audited."`
	Regenerate secretsRegenerate `cmd:"" help:"Replace the secret; the one before stays valid for a while."`
	Activate   secretsActivate   `cmd:"" help:"Let only the newest secret be valid from now on."`
}

func secretColumns() []column {
	return []column{{"secret", "secret"}, {"valid", "versions"}}
}

// signingSecret returns the name of the organization's secret and a client.
func (s *Session) signingSecret() (string, subscriptionv1.SigningSecretServiceClient, error) {
	parent, err := s.organization()
	if err != nil {
		return "", nil, err
	}
	conn, err := s.conn()
	return parent + "/signingSecret", subscriptionv1.NewSigningSecretServiceClient(conn), err
}

type secretsGet struct{}

// Run implements the command.
func (*secretsGet) Run(s *Session) error {
	name, client, err := s.signingSecret()
	if err != nil {
		return err
	}
	answer, err := client.GetSigningSecret(s.ctx, &subscriptionv1.GetSigningSecretRequest{Name: name})
	if err != nil {
		return err
	}
	return s.show(answer, secretColumns())
}

type secretsGenerate struct {
	confirmation

	Replace bool `help:"Replace a secret that exists, at once: receivers that have it refuse everything from then on."`
}

// Run implements the command.
func (c *secretsGenerate) Run(s *Session) error {
	name, client, err := s.signingSecret()
	if err != nil {
		return err
	}
	if c.Replace {
		if err := c.confirm(s, "replace "+name+" at once", strings.TrimPrefix(s.connection.Organization, "organizations/")); err != nil {
			return err
		}
	}
	answer, err := client.GenerateSigningSecret(s.ctx, &subscriptionv1.GenerateSigningSecretRequest{Name: name, Replace: c.Replace})
	if err != nil {
		return err
	}
	return s.show(answer, secretColumns())
}

type secretsReveal struct{}

// Run implements the command.
func (*secretsReveal) Run(s *Session) error {
	name, client, err := s.signingSecret()
	if err != nil {
		return err
	}
	answer, err := client.RevealSigningSecret(s.ctx, &subscriptionv1.RevealSigningSecretRequest{Name: name})
	if err != nil {
		return err
	}
	return s.show(answer, secretColumns())
}

type secretsRegenerate struct{ graceFlag }

// Run implements the command.
func (c *secretsRegenerate) Run(s *Session) error {
	name, client, err := s.signingSecret()
	if err != nil {
		return err
	}
	answer, err := client.RegenerateSigningSecret(s.ctx, &subscriptionv1.RegenerateSigningSecretRequest{Name: name, GracePeriod: duration(c.Grace)})
	if err != nil {
		return err
	}
	return s.show(answer, secretColumns())
}

type secretsActivate struct{ confirmation }

// Run implements the command.
func (c *secretsActivate) Run(s *Session) error {
	name, client, err := s.signingSecret()
	if err != nil {
		return err
	}
	if err := c.confirm(s, "end the validity of the earlier secret", strings.TrimPrefix(s.connection.Organization, "organizations/")); err != nil {
		return err
	}
	answer, err := client.ActivateSigningSecret(s.ctx, &subscriptionv1.ActivateSigningSecretRequest{Name: name})
	if err != nil {
		return err
	}
	return s.show(answer, secretColumns())
}

type audit struct {
	List auditList `cmd:"" help:"List the audit log, the newest first. -O - lists that of the installation and of all organizations."`
}

type auditList struct {
	page

	Actor    string    `help:"By this actor, such as apiKeys/x or system."`
	Action   string    `help:"This action, such as delete."`
	Resource string    `help:"About the resource with this name."`
	Since    *timeFlag `help:"From this time on."`
	Until    *timeFlag `help:"Before this time."`
}

// Run implements the command.
func (c *auditList) Run(s *Session) error {
	parent, err := s.organization()
	if err != nil {
		return err
	}
	conn, err := s.conn()
	if err != nil {
		return err
	}
	answer, err := subscriptionv1.NewAuditServiceClient(conn).ListAuditLogEntries(s.ctx, &subscriptionv1.ListAuditLogEntriesRequest{
		Parent: parent, PageSize: int32(c.Limit), PageToken: c.PageToken, //nolint:gosec // G115: checked by the API
		Filter: newFilter().is("action", c.Action).is("actor", c.Actor).is("resource", c.Resource).between("create_time", c.Since, c.Until).String(),
	})
	if err != nil {
		return err
	}
	return tablePage(s, answer.GetAuditLogEntries(), answer, []column{
		{"time", "create_time"}, {"actor", "actor"}, {"role", "role"}, {"action", "action"}, {"resource", "=resource"}, {"from", "address"},
	})
}

type operations struct {
	List   operationsList   `cmd:"" help:"List operations, the newest first."`
	Get    operationsGet    `cmd:"" help:"Show an operation."`
	Wait   operationsWait   `cmd:"" help:"Wait until an operation has ended. Fails when the operation has failed."`
	Cancel operationsCancel `cmd:"" help:"Ask an operation to stop."`
	Resume operationsResume `cmd:"" help:"Go on with an operation that was canceled or has failed."`
}

func operationColumns() []column {
	return []column{
		{"operation", "=name"},
		{"type", "type"},
		{"target", "=target"},
		{"state", "state"},
		{"dry run", "dry_run"},
		{"total", "total_count"},
		{"processed", "processed_count"},
		{"affected", "affected_count"},
		{"skipped", "skipped_count"},
		{"may repeat", "repeat_count"},
		{"begun", "create_time"},
		{"ended", "end_time"},
		{"error", "error.message"},
	}
}

// operationOf returns an operation's name and a client.
func (s *Session) operationOf(id string) (string, operationv1.OperationServiceClient, error) {
	name, err := s.name("operations", id)
	if err != nil {
		return "", nil, err
	}
	conn, err := s.conn()
	return name, operationv1.NewOperationServiceClient(conn), err
}

type operationsList struct{ page }

// Run implements the command.
func (c *operationsList) Run(s *Session) error {
	parent, err := s.organization()
	if err != nil {
		return err
	}
	conn, err := s.conn()
	if err != nil {
		return err
	}
	answer, err := operationv1.NewOperationServiceClient(conn).ListOperations(s.ctx, &operationv1.ListOperationsRequest{
		Parent: parent, PageSize: int32(c.Limit), PageToken: c.PageToken, //nolint:gosec // G115: checked by the API
	})
	if err != nil {
		return err
	}
	return tablePage(s, answer.GetOperations(), answer, operationColumns())
}
