// Package storetest owns the checks that a store of the subscription service has to pass: what the interfaces that the
// service's parts consume promise in their comments, whatever keeps the data. It must not know how a store does it.
package storetest

import (
	"context"
	"testing"
	"time"

	"github.com/meetwire/meetwire/services/subscription/internal/alerts"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
	"github.com/meetwire/meetwire/services/subscription/internal/feed"
	"github.com/meetwire/meetwire/services/subscription/internal/grpcapi"
	"github.com/meetwire/meetwire/services/subscription/internal/operations"
	"github.com/meetwire/meetwire/services/subscription/internal/outbox"
)

// Store is what the whole service needs of a store.
type Store interface {
	core.OrganizationStore
	core.TeamStore
	core.TriggerStore
	core.WebhookStore
	core.SigningSecretStore
	core.Samples

	grpcapi.OrganizationReader
	grpcapi.TeamReader
	grpcapi.TriggerReader
	grpcapi.WebhookReader
	grpcapi.APIKeyStore
	grpcapi.KeyStore
	grpcapi.AuditStore
	grpcapi.OperationStore
	grpcapi.ReencryptionStore
	grpcapi.ReportStore

	operations.Store
	outbox.Store
	alerts.Store
	feed.Source
	Installer
}

// Installer is what the start of the service, and its housekeeping, need of a store. All methods return
// fault.Unavailable while it is away.
type Installer interface {
	// InstallTriggers stores the triggers that come with the program, and nothing of those that are there just so.
	InstallTriggers(ctx context.Context, triggers []core.Trigger) error
	// InstallPlans stores what the configured plans come to for each organization.
	InstallPlans(ctx context.Context, plans core.Plans) error
	// InstallBootstrapKey makes key the one operator's key of the configuration; nil: there is none.
	// fault.FailedPrecondition when its id is that of a key made otherwise.
	InstallBootstrapKey(ctx context.Context, key *core.APIKey) error
	// TrimTrail removes what is needed no more, such as request ids of yesterday, and returns how many rows.
	TrimTrail(ctx context.Context) (int64, error)
}

// New makes a store with nothing in it for one test, which sees the time of a clock.
type New func(t *testing.T, now func() time.Time) Store

// Run checks the stores that newStore makes.
func Run(t *testing.T, newStore New) {
	t.Helper()
	for name, check := range map[string]func(*testing.T, *suite){
		"ErrorsOfUnknownThings":        checkUnknown,
		"OrganizationsAreApart":        checkIsolation,
		"CanceledCallsLeaveNothing":    checkCanceled,
		"RefusedChangesLeaveNothing":   checkRefused,
		"TracesOfChanges":              checkTraces,
		"RequestIDs":                   checkRequests,
		"RequestIDsAtOnce":             checkRequestsAtOnce,
		"Organizations":                checkOrganizations,
		"OrganizationLists":            checkOrganizationLists,
		"DeletedOrganization":          checkDeletedOrganization,
		"RemainsOfAnOrganization":      checkRemains,
		"Teams":                        checkTeams,
		"Triggers":                     checkTriggers,
		"TriggerLists":                 checkTriggerLists,
		"TriedTriggers":                checkTriedTriggers,
		"ThingsInUse":                  checkInUse,
		"Webhooks":                     checkWebhooks,
		"WebhookSteps":                 checkWebhookSteps,
		"WebhookView":                  checkWebhookView,
		"WebhookLists":                 checkWebhookLists,
		"WebhookConditions":            checkWebhookConditions,
		"WebhooksAtHost":               checkWebhooksAtHost,
		"SigningSecrets":               checkSigningSecrets,
		"APIKeys":                      checkAPIKeys,
		"KeyUses":                      checkKeyUses,
		"Audit":                        checkAudit,
		"AuditLists":                   checkAuditLists,
		"RecordedActions":              checkRecordedActions,
		"Operations":                   checkOperations,
		"OperationLists":               checkOperationLists,
		"Work":                         checkWork,
		"LostWork":                     checkLostWork,
		"WorkAtOnce":                   checkWorkAtOnce,
		"Reencryption":                 checkReencryption,
		"Outbox":                       checkOutbox,
		"HealthReports":                checkHealth,
		"HealthReportsWithoutEffect":   checkHealthWithoutEffect,
		"DeadLetters":                  checkDeadLetters,
		"Mail":                         checkMail,
		"MailAtOnce":                   checkMailAtOnce,
		"Snapshot":                     checkSnapshot,
		"FeedIsTrimmed":                checkTrimmedFeed,
		"FeedEqualsSnapshot":           checkFeedEqualsSnapshot,
		"Listen":                       checkListen,
		"UpdatesAtOnce":                checkUpdatesAtOnce,
		"PlanLimitAtOnce":              checkPlanLimit,
		"DeletionWhileOthersAdd":       checkDeletionRace,
		"SameRequestForDifferentCalls": checkRequestRace,
		"InstalledTriggers":            checkInstalledTriggers,
		"InstalledPlans":               checkInstalledPlans,
		"BootstrapKey":                 checkBootstrapKey,
		"Trim":                         checkTrim,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			clock := &clock{now: time.Date(2026, 3, 1, 12, 0, 0, 123_456_789, time.FixedZone("east", 3600))}
			check(t, &suite{Store: newStore(t, clock.Now), clock: clock})
		})
	}
}
