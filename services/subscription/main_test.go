package subscription_test

import (
	"context"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/meetwire/meetwire/pkg/natstest"
	"github.com/meetwire/meetwire/pkg/pgtest"
	"github.com/meetwire/meetwire/pkg/rpc"
	"github.com/meetwire/meetwire/pkg/seal"
	"github.com/meetwire/meetwire/pkg/secret"
	accessv1 "github.com/meetwire/meetwire/proto/gen/meetwire/access/v1"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	operationv1 "github.com/meetwire/meetwire/proto/gen/meetwire/operation/v1"
	subscriptionv1 "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
	"github.com/meetwire/meetwire/services/subscription"
)

func TestMain(m *testing.M) { pgtest.Main(m, natstest.Leftovers()...) }

// patience is how long a test waits for something that should be there at once.
const patience = 20 * time.Second

// installation is what several instances share: a database and its secrets.
type installation struct {
	pool         *pgxpool.Pool
	keyset       secret.String
	operatorKey  secret.String
	serviceToken secret.String
	broker       *natstest.Server
	peer         *peer // ingest and delivery
	logger       *slog.Logger
}

// newInstallation returns one with an empty, migrated database.
func newInstallation(t *testing.T) *installation {
	t.Helper()
	keyset, err := seal.GenerateKeyset()
	require.NoError(t, err)
	_, operatorKey, _, err := rpc.NewKey()
	require.NoError(t, err)
	token := secret.New("service-token-of-the-tests-0123456789")
	return &installation{
		pool:         pgtest.Database(t, "subscription", subscription.Migrate),
		keyset:       keyset,
		operatorKey:  operatorKey,
		serviceToken: token,
		broker:       newBroker(t),
		peer:         newPeer(t, token),
		logger:       slog.New(slog.DiscardHandler),
	}
}

// config returns the configuration of an instance.
func (i *installation) config() subscription.Config {
	return subscription.Config{
		OperatorKey: i.operatorKey, ServiceToken: i.serviceToken, Keyset: i.keyset,
		Migrate: true, FeedRetention: 24 * time.Hour,
	}
}

// instance is a running service.
type instance struct {
	*installation
	service *subscription.Service
	address string
	stop    func() // ends it in order and waits
}

// start runs an instance until the test ends.
func (i *installation) start(t *testing.T) *instance {
	t.Helper()
	return i.startWith(t, i.config())
}

func (i *installation) startWith(t *testing.T, cfg subscription.Config) *instance {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	service, err := subscription.New(cfg, i.deps(t, listener))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- service.Run(ctx) }()
	stop := sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			require.NoError(t, err)
		case <-time.After(patience):
			require.Fail(t, "the instance does not stop")
		}
	})
	t.Cleanup(stop)
	require.Eventually(t, func() bool { return service.Ready(t.Context()) == nil }, patience, 5*time.Millisecond)
	return &instance{installation: i, service: service, address: listener.Addr().String(), stop: stop}
}

// setup runs one instance over an installation of its own.
func setup(t *testing.T) *instance {
	t.Helper()
	return newInstallation(t).start(t)
}

// caller has a client for every service, with one credential.
type caller struct {
	organizations subscriptionv1.OrganizationServiceClient
	apiKeys       subscriptionv1.ApiKeyServiceClient
	triggers      subscriptionv1.TriggerServiceClient
	webhooks      subscriptionv1.WebhookServiceClient
	plans         subscriptionv1.PlanServiceClient
	teams         subscriptionv1.TeamServiceClient
	signing       subscriptionv1.SigningSecretServiceClient
	audit         subscriptionv1.AuditServiceClient
	keyset        subscriptionv1.KeysetServiceClient
	operations    operationv1.OperationServiceClient
	config        configv1.ConfigServiceClient
}

// as returns a caller that shows this credential, none when it is empty.
func (i *instance) as(t *testing.T, credential secret.String) *caller {
	t.Helper()
	var options []rpc.Option
	if !credential.IsZero() {
		options = append(options, rpc.WithServiceToken(credential))
	}
	conn, err := rpc.Dial(i.address, options...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close()) })
	return callerOf(conn)
}

func callerOf(conn *grpc.ClientConn) *caller {
	return &caller{
		organizations: subscriptionv1.NewOrganizationServiceClient(conn),
		apiKeys:       subscriptionv1.NewApiKeyServiceClient(conn),
		triggers:      subscriptionv1.NewTriggerServiceClient(conn),
		webhooks:      subscriptionv1.NewWebhookServiceClient(conn),
		plans:         subscriptionv1.NewPlanServiceClient(conn),
		teams:         subscriptionv1.NewTeamServiceClient(conn),
		signing:       subscriptionv1.NewSigningSecretServiceClient(conn),
		audit:         subscriptionv1.NewAuditServiceClient(conn),
		keyset:        subscriptionv1.NewKeysetServiceClient(conn),
		operations:    operationv1.NewOperationServiceClient(conn),
		config:        configv1.NewConfigServiceClient(conn),
	}
}

func (i *instance) operator(t *testing.T) *caller { t.Helper(); return i.as(t, i.operatorKey) }

// organization makes an organization.
func (c *caller) organization(t *testing.T, slug string, allowHTTP bool) {
	t.Helper()
	_, err := c.organizations.CreateOrganization(t.Context(), &subscriptionv1.CreateOrganizationRequest{
		OrganizationId: slug, Organization: &subscriptionv1.Organization{DisplayName: slug, AllowHttp: allowHTTP},
	})
	require.NoError(t, err)
}

// key makes an API key.
func (c *caller) key(t *testing.T, organization string, role accessv1.Role) secret.String {
	t.Helper()
	k, err := c.apiKeys.CreateApiKey(t.Context(), &subscriptionv1.CreateApiKeyRequest{
		Parent: "organizations/" + organization, ApiKey: &subscriptionv1.ApiKey{DisplayName: "test", Role: role},
	})
	require.NoError(t, err)
	return secret.New(k.GetKey())
}

// booking is a valid webhook.
func booking() *subscriptionv1.Webhook {
	return &subscriptionv1.Webhook{
		DisplayName: "Booking sync", TargetUrl: "https://example.com/hook", Triggers: []string{"meeting.booked"},
	}
}

// webhook makes a webhook.
func (c *caller) webhook(t *testing.T, organization string, w *subscriptionv1.Webhook) *subscriptionv1.Webhook {
	t.Helper()
	created, err := c.webhooks.CreateWebhook(t.Context(), &subscriptionv1.CreateWebhookRequest{
		Parent: "organizations/" + organization, Webhook: w,
	})
	require.NoError(t, err)
	return created
}

// requireCode asserts the code of a failed call.
func requireCode(t *testing.T, err error, code codes.Code) *status.Status {
	t.Helper()
	s := status.Convert(err)
	require.Equal(t, code, s.Code(), "%v", err)
	for _, hidden := range []string{"SQLSTATE", "subscription.", "goroutine", "127.0.0.1"} {
		require.NotContains(t, s.Message(), hidden)
	}
	return s
}

// requireField asserts that a call failed for a field, and that what is said of it contains a text.
func requireField(t *testing.T, err error, path, says string) {
	t.Helper()
	s := requireCode(t, err, codes.InvalidArgument)
	var named []string
	for _, detail := range s.Details() {
		bad, ok := detail.(*errdetails.BadRequest)
		if !ok {
			continue
		}
		for _, violation := range bad.GetFieldViolations() {
			named = append(named, violation.GetField()+": "+violation.GetDescription())
			if violation.GetField() == path && strings.Contains(violation.GetDescription(), says) {
				return
			}
		}
	}
	require.Failf(t, "field not named", "%s (%s) in %q", path, says, named)
}

// revision returns the newest revision.
func (i *installation) revision(t *testing.T) int64 {
	t.Helper()
	var revision int64
	require.NoError(t, i.pool.QueryRow(t.Context(), "SELECT value FROM subscription.revision").Scan(&revision))
	return revision
}
