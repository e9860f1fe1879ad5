package storetest

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/meetwire/meetwire/pkg/fault"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
)

// whom says whom a call that asks for something is about.
type whom int

const (
	nobody whom = iota // it works without any organization
	tenant             // it fails without the organization
	thing              // it fails without the thing in the organization
	nowork             // it fails with core.ErrTaken: no such operation is this instance's to work on
)

// call is a call of one method of a store.
type call struct {
	name string
	whom whom
	do   func(ctx context.Context, s *suite, h household) error
}

// calls returns one or more calls of every method.
func calls() []call {
	return append(append(changes(), reads()...), background()...)
}

// changes returns calls of the methods that change what people see.
func changes() []call {
	return []call{
		{"InsertOrganization", nobody, func(ctx context.Context, s *suite, _ household) error {
			return s.InsertOrganization(ctx, s.newOrganization("new"), request("m"))
		}},
		{"UpdateOrganization", tenant, func(ctx context.Context, s *suite, h household) error {
			_, err := s.UpdateOrganization(ctx, h.organization, func(o core.Organization) (core.Organization, bool, error) {
				o.AllowHTTP = true
				return o, true, nil
			})
			return err
		}},
		{"InsertTeam", tenant, func(ctx context.Context, s *suite, h household) error {
			return s.InsertTeam(ctx, s.newTeam(h.organization, "new"), request("m"))
		}},
		{"UpdateTeam", thing, func(ctx context.Context, s *suite, h household) error {
			_, err := s.UpdateTeam(ctx, h.organization, h.team, func(v core.Team) (core.Team, bool, error) { return v, true, nil })
			return err
		}},
		{"DeleteTeam", thing, func(ctx context.Context, s *suite, h household) error {
			return s.DeleteTeam(ctx, h.organization, h.team, func(core.Team, core.InUse) error { return nil })
		}},
		{"InsertTrigger", tenant, func(ctx context.Context, s *suite, h household) error {
			return s.InsertTrigger(ctx, s.newTrigger(h.organization, "custom.new"), request("m"), false)
		}},
		{"UpdateTrigger", thing, func(ctx context.Context, s *suite, h household) error {
			_, err := s.UpdateTrigger(ctx, h.organization, h.trigger, false,
				func(v core.Trigger, _ func() (core.InUse, error)) (core.Trigger, bool, error) { return v, true, nil })
			return err
		}},
		{"DeleteTrigger", thing, func(ctx context.Context, s *suite, h household) error {
			return s.DeleteTrigger(ctx, h.organization, h.trigger, func(core.Trigger, core.InUse) error { return nil })
		}},
		{"InsertWebhook", tenant, func(ctx context.Context, s *suite, h household) error {
			w := s.newWebhook(h.organization)
			_, err := s.InsertWebhook(ctx, h.organization, w.ID, request("m"), makeWebhook(w))
			return err
		}},
		{"UpdateWebhook", thing, func(ctx context.Context, s *suite, h household) error {
			_, _, err := s.UpdateWebhook(ctx, h.organization, h.webhook, false, alter(func(w *core.Webhook) { w.Description = "x" }))
			return err
		}},
		{"UpdateWebhook alone", thing, func(ctx context.Context, s *suite, h household) error {
			_, _, err := s.UpdateWebhook(ctx, h.organization, h.webhook, true, alter(func(w *core.Webhook) { w.Description = "x" }))
			return err
		}},
		{"DeleteWebhook", thing, func(ctx context.Context, s *suite, h household) error {
			return s.DeleteWebhook(ctx, h.organization, h.webhook, func(core.Webhook) error { return nil })
		}},
		{"ChangeSigningSecrets", tenant, func(ctx context.Context, s *suite, h household) error {
			_, err := s.ChangeSigningSecrets(ctx, h.organization, func(core.Organization) (core.SecretChange, error) {
				return core.SecretChange{Secrets: s.secrets(2), Action: core.ActionGenerate}, nil
			})
			return err
		}},
		{"NoteReveal", tenant, func(ctx context.Context, s *suite, h household) error {
			_, err := s.NoteReveal(ctx, h.organization, func(core.Organization) error { return nil })
			return err
		}},
		{"InsertAPIKey", tenant, func(ctx context.Context, s *suite, h household) error {
			return s.InsertAPIKey(ctx, s.newKey(h.organization), request("m"))
		}},
		{"DeleteAPIKey", thing, func(ctx context.Context, s *suite, h household) error {
			return s.DeleteAPIKey(ctx, h.organization, h.key)
		}},
		{"RecordAction", tenant, func(ctx context.Context, s *suite, h household) error {
			return s.RecordAction(ctx, core.AuditEntry{
				ID: uuid.NewString(), Organization: h.organization, Time: s.stored(), Action: core.ActionErase,
				Resource: "organizations/" + h.organization, Actor: core.Actor{Name: core.SystemActor},
			})
		}},
		{"ResumeOperation", thing, func(ctx context.Context, s *suite, h household) error {
			_, err := s.ResumeOperation(ctx, h.organization, h.operation)
			return err
		}},
		{"CancelOperation", thing, func(ctx context.Context, s *suite, h household) error {
			_, err := s.CancelOperation(ctx, h.organization, h.operation)
			return err
		}},
		{"DeleteOrganization", tenant, func(ctx context.Context, s *suite, h household) error {
			_, err := s.DeleteOrganization(ctx, h.organization, func(core.Organization) error { return nil })
			return err
		}},
	}
}

// reads returns calls of the methods that change nothing.
func reads() []call {
	return []call{
		{"Organization", tenant, func(ctx context.Context, s *suite, h household) error {
			_, err := s.Organization(ctx, h.organization)
			return err
		}},
		{"Organizations", nobody, func(ctx context.Context, s *suite, _ household) error {
			_, err := s.Organizations(ctx, "", "", 1)
			return err
		}},
		{"Team", thing, func(ctx context.Context, s *suite, h household) error {
			_, err := s.Team(ctx, h.organization, h.team)
			return err
		}},
		{"Teams", nobody, func(ctx context.Context, s *suite, h household) error {
			_, err := s.Teams(ctx, h.organization, "", 1)
			return err
		}},
		{"Trigger", thing, func(ctx context.Context, s *suite, h household) error {
			_, err := s.Trigger(ctx, h.organization, h.trigger)
			return err
		}},
		{"Triggers", nobody, func(ctx context.Context, s *suite, h household) error {
			_, err := s.Triggers(ctx, h.organization, core.TriggerFilter{}, "", "", 1)
			return err
		}},
		{"TriggerSample", thing, func(ctx context.Context, s *suite, h household) error {
			_, err := s.TriggerSample(ctx, h.organization, h.trigger)
			return err
		}},
		{"Webhook", thing, func(ctx context.Context, s *suite, h household) error {
			_, err := s.Webhook(ctx, h.organization, h.webhook)
			return err
		}},
		{"WebhooksByID", nobody, func(ctx context.Context, s *suite, h household) error {
			_, err := s.WebhooksByID(ctx, h.organization, []string{h.webhook})
			return err
		}},
		{"Webhooks", nobody, func(ctx context.Context, s *suite, h household) error {
			_, err := s.Webhooks(ctx, core.WebhookQuery{Organization: h.organization, Limit: 1})
			return err
		}},
		{"WebhooksAtHost", nobody, func(ctx context.Context, s *suite, h household) error {
			_, err := s.WebhooksAtHost(ctx, h.organization, "example.com", core.Webhook{}, 1)
			return err
		}},
		{"APIKey", nobody, func(ctx context.Context, s *suite, h household) error {
			_, err := s.APIKey(ctx, h.key)
			return err
		}},
		{"OrganizationAPIKey", thing, func(ctx context.Context, s *suite, h household) error {
			_, err := s.OrganizationAPIKey(ctx, h.organization, h.key)
			return err
		}},
		{"APIKeys", nobody, func(ctx context.Context, s *suite, h household) error {
			_, err := s.APIKeys(ctx, h.organization, time.Time{}, "", 1)
			return err
		}},
		{"AuditEntries", nobody, func(ctx context.Context, s *suite, _ household) error {
			_, err := s.AuditEntries(ctx, core.AuditQuery{}, farFuture(), uuid.Max, 1)
			return err
		}},
		{"Operation", thing, func(ctx context.Context, s *suite, h household) error {
			_, err := s.Operation(ctx, h.organization, h.operation)
			return err
		}},
		{"Operations", nobody, func(ctx context.Context, s *suite, h household) error {
			_, err := s.Operations(ctx, h.organization, farFuture(), uuid.Max, 1)
			return err
		}},
		{"Revision", nobody, func(ctx context.Context, s *suite, _ household) error {
			_, err := s.Revision(ctx)
			return err
		}},
		{"Changes", nobody, func(ctx context.Context, s *suite, _ household) error {
			_, err := s.Changes(ctx, 1, 1, 1)
			return err
		}},
		{"Snapshot", nobody, func(ctx context.Context, s *suite, _ household) error {
			return s.Snapshot(ctx, func(*configv1.SnapshotPage) error { return nil })
		}},
	}
}

// background returns calls of the methods that the service calls by itself.
func background() []call {
	work := func(h household) core.Work {
		o := core.NewDeleteOperation(h.organization)
		o.ID = uuid.NewString()
		return core.Work{Operation: o, Take: 1}
	}
	reseal := func(b []byte, _ string) ([]byte, error) { return b, nil }
	next := func(string) ([]byte, error) { return []byte("{}"), nil }
	return []call{
		{"BeginReencryption", nobody, func(ctx context.Context, s *suite, _ household) error {
			_, err := s.BeginReencryption(ctx)
			return err
		}},
		{"ReportHealth", nobody, func(ctx context.Context, s *suite, h household) error {
			_, err := s.ReportHealth(ctx, core.HealthReport{
				Organization: h.organization, Webhook: h.webhook, Generation: 1, Level: core.HealthDisable, Reason: "gone",
			}, true)
			return err
		}},
		{"ReportDeadLetters", nobody, func(ctx context.Context, s *suite, h household) error {
			return s.ReportDeadLetters(ctx, []core.DeadLetterCount{{
				Organization: h.organization, Webhook: h.webhook, Reason: "r", Minute: s.clock.Now(), Count: 1,
			}})
		}},
		{"TouchAPIKeys", nobody, func(ctx context.Context, s *suite, h household) error {
			return s.TouchAPIKeys(ctx, []core.KeyUse{{ID: h.key, Time: s.clock.Now()}})
		}},
		{"RelayOutbox", nobody, func(ctx context.Context, s *suite, _ household) error {
			_, err := s.RelayOutbox(ctx, 1, func(context.Context, core.OutboxEvent) error { return nil })
			return err
		}},
		{"TakeMail", nobody, func(ctx context.Context, s *suite, _ household) error {
			_, err := s.TakeMail(ctx, time.Minute, 1)
			return err
		}},
		{"SettleMail", nobody, func(ctx context.Context, s *suite, _ household) error {
			return s.SettleMail(ctx, core.Mail{ID: uuid.NewString(), Recipients: []string{"a@example.com"}}, time.Time{})
		}},
		{"TrimFeed", nobody, func(ctx context.Context, s *suite, _ household) error {
			_, err := s.TrimFeed(ctx, s.clock.Now().Add(-time.Hour))
			return err
		}},
		{"TrimTrail", nobody, func(ctx context.Context, s *suite, _ household) error {
			_, err := s.TrimTrail(ctx)
			return err
		}},
		{"TakeOperation", nobody, func(ctx context.Context, s *suite, _ household) error {
			_, _, err := s.TakeOperation(ctx, time.Minute)
			return err
		}},
		{"RenewOperation", nowork, func(ctx context.Context, s *suite, h household) error {
			return s.RenewOperation(ctx, work(h), time.Minute)
		}},
		{"ReleaseOperation", nowork, func(ctx context.Context, s *suite, h household) error {
			return s.ReleaseOperation(ctx, work(h))
		}},
		{"AdvanceOperation", nowork, func(ctx context.Context, s *suite, h household) error {
			return s.AdvanceOperation(ctx, work(h), core.Step{Progress: []byte("{}"), Processed: 1})
		}},
		{"PostponeOperation", nowork, func(ctx context.Context, s *suite, h household) error {
			return s.PostponeOperation(ctx, work(h), time.Minute, fault.New(fault.Unavailable, "AWAY", "away"))
		}},
		{"EndOperation", nowork, func(ctx context.Context, s *suite, h household) error {
			return s.EndOperation(ctx, work(h), nil)
		}},
		{"RemoveAnnouncements", nowork, func(ctx context.Context, s *suite, h household) error {
			return s.RemoveAnnouncements(ctx, work(h), []byte("{}"))
		}},
		{"RemoveOrganizationRows", nowork, func(ctx context.Context, s *suite, h household) error {
			_, err := s.RemoveOrganizationRows(ctx, work(h), 10)
			return err
		}},
		{"ReencryptOrganizations", nowork, func(ctx context.Context, s *suite, h household) error {
			_, err := s.ReencryptOrganizations(ctx, work(h), "", 10, reseal, next)
			return err
		}},
		{"ReencryptWebhooks", nowork, func(ctx context.Context, s *suite, h household) error {
			_, err := s.ReencryptWebhooks(ctx, work(h), "", 10, reseal, next)
			return err
		}},
		{"InstallTriggers", nobody, func(ctx context.Context, s *suite, _ household) error {
			return s.InstallTriggers(ctx, []core.Trigger{s.newTrigger("", "meeting.installed")})
		}},
		{"InstallPlans", nobody, func(ctx context.Context, s *suite, _ household) error {
			return s.InstallPlans(ctx, core.NewPlans([]core.Plan{{Name: "plan", MaxWebhooks: 1}}, "plan"))
		}},
		{"InstallBootstrapKey", nobody, func(ctx context.Context, s *suite, _ household) error {
			key := core.NewBootstrapKey("bootstrap", [32]byte{1}, s.clock.Now())
			return s.InstallBootstrapKey(ctx, &key)
		}},
		{"ForgetFeed", nobody, func(ctx context.Context, s *suite, _ household) error { return s.ForgetFeed(ctx) }},
	}
}
