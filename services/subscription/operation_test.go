package subscription_test

import (
	"encoding/json"
	"path"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"

	"github.com/meetwire/meetwire/pkg/seal"
	accessv1 "github.com/meetwire/meetwire/proto/gen/meetwire/access/v1"
	operationv1 "github.com/meetwire/meetwire/proto/gen/meetwire/operation/v1"
	subscriptionv1 "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
)

// idIn returns the last part of a resource name.
func idIn(name string) string { return path.Base(name) }

// storedSecret returns the newest secret of a webhook as the database has it.
func (i *installation) storedSecret(t *testing.T, webhook string) []byte {
	t.Helper()
	var column []byte
	require.NoError(t, i.pool.QueryRow(t.Context(), "SELECT secrets FROM subscription.webhook WHERE id = $1", idIn(webhook)).Scan(&column))
	var secrets []struct {
		Sealed []byte `json:"sealed"`
	}
	require.NoError(t, json.Unmarshal(column, &secrets))
	require.NotEmpty(t, secrets)
	return secrets[0].Sealed
}

// ended waits until an operation has ended and returns it.
func (c *caller) ended(t *testing.T, name string) *operationv1.Operation {
	t.Helper()
	var o *operationv1.Operation
	require.Eventually(t, func() bool {
		var err error
		o, err = c.operations.GetOperation(t.Context(), &operationv1.GetOperationRequest{Name: name})
		require.NoError(t, err)
		return o.GetDone()
	}, patience, poll)
	return o
}

func TestSecretsAreReencryptedThroughTheAPI(t *testing.T) {
	t.Parallel()
	i := newInstallation(t)
	first := i.start(t)
	operator := first.operator(t)
	operator.organization(t, "acme", false)
	admin := first.as(t, operator.key(t, "acme", accessv1.Role_ROLE_ADMIN))
	w := admin.webhook(t, "acme", booking())
	before := i.storedSecret(t, w.GetName())
	first.stop()

	old := i.keyset
	var err error
	i.keyset, err = seal.Rotate(old)
	require.NoError(t, err)
	second := i.start(t)
	operator = second.operator(t)
	admin = second.as(t, operator.key(t, "acme", accessv1.Role_ROLE_ADMIN))
	_, err = admin.keyset.ReencryptSecrets(t.Context(), &subscriptionv1.ReencryptSecretsRequest{})
	requireCode(t, err, codes.PermissionDenied)
	begun, err := operator.keyset.ReencryptSecrets(t.Context(), &subscriptionv1.ReencryptSecretsRequest{})
	require.NoError(t, err)
	require.Regexp(t, `^organizations/-/operations/[0-9a-f-]{36}$`, begun.GetName())
	require.Equal(t, "reencrypt_secrets", begun.GetType())
	require.Empty(t, begun.GetTarget())
	ended := operator.ended(t, begun.GetName())
	require.Equal(t, operationv1.Operation_STATE_SUCCEEDED, ended.GetState(), "%v", ended)
	require.EqualValues(t, 2, ended.GetProcessedCount())
	require.EqualValues(t, 1, ended.GetAffectedCount())
	require.NotNil(t, ended.GetEndTime())
	require.Nil(t, ended.GetError())

	now, err := admin.webhooks.GetWebhook(t.Context(), &subscriptionv1.GetWebhookRequest{Name: w.GetName()})
	require.NoError(t, err)
	require.Equal(t, w.GetEtag(), now.GetEtag())
	require.Equal(t, w.GetUpdateTime().AsTime(), now.GetUpdateTime().AsTime())
	after := i.storedSecret(t, w.GetName())
	require.NotEqual(t, before, after)
	oldBox, err := seal.New(old)
	require.NoError(t, err)
	_, err = oldBox.Open(after, idIn(w.GetName()))
	require.Error(t, err, "it is encrypted with the new key")
	newBox, err := seal.New(i.keyset)
	require.NoError(t, err)
	secret, err := newBox.Open(after, idIn(w.GetName()))
	require.NoError(t, err)
	require.Equal(t, w.GetSecret(), string(secret))

	audit := operator.entries(t, "-", "action = reencrypt")
	require.Len(t, audit, 1)
	require.Equal(t, begun.GetName(), audit[0].GetResource())
	require.Equal(t, "apiKeys/"+idOf(i.operatorKey), audit[0].GetActor())
}

func TestOperationsAreListedAndControlled(t *testing.T) {
	t.Parallel()
	i := setup(t)
	operator := i.operator(t)
	operator.organization(t, "acme", false)
	operator.organization(t, "other", false)
	admin := i.as(t, operator.key(t, "acme", accessv1.Role_ROLE_ADMIN))
	var names []string
	for range 3 {
		begun, err := operator.keyset.ReencryptSecrets(t.Context(), &subscriptionv1.ReencryptSecretsRequest{})
		require.NoError(t, err)
		operator.ended(t, begun.GetName())
		names = append([]string{begun.GetName()}, names...)
	}
	var listed []string
	req := &operationv1.ListOperationsRequest{Parent: "organizations/-", PageSize: 2}
	for {
		answer, err := operator.operations.ListOperations(t.Context(), req)
		require.NoError(t, err)
		for _, o := range answer.GetOperations() {
			listed = append(listed, o.GetName())
		}
		if req.PageToken = answer.GetNextPageToken(); req.GetPageToken() == "" {
			break
		}
	}
	require.Equal(t, names, listed, "the newest first")
	answer, err := admin.operations.ListOperations(t.Context(), &operationv1.ListOperationsRequest{Parent: "organizations/acme"})
	require.NoError(t, err)
	require.Empty(t, answer.GetOperations())
	_, err = operator.operations.ListOperations(t.Context(), &operationv1.ListOperationsRequest{Parent: "organizations/nobody"})
	requireCode(t, err, codes.NotFound)

	for _, parent := range []string{"organizations/-", "organizations/other"} {
		_, err = admin.operations.ListOperations(t.Context(), &operationv1.ListOperationsRequest{Parent: parent})
		requireCode(t, err, codes.PermissionDenied)
	}
	_, err = admin.operations.GetOperation(t.Context(), &operationv1.GetOperationRequest{Name: names[0]})
	requireCode(t, err, codes.PermissionDenied)
	stolen := "organizations/acme/operations/" + idIn(names[0])
	_, err = admin.operations.GetOperation(t.Context(), &operationv1.GetOperationRequest{Name: stolen})
	requireCode(t, err, codes.NotFound)
	_, err = admin.operations.CancelOperation(t.Context(), &operationv1.CancelOperationRequest{Name: stolen})
	requireCode(t, err, codes.NotFound)
	_, err = operator.operations.CancelOperation(t.Context(), &operationv1.CancelOperationRequest{Name: names[0]})
	requireCode(t, err, codes.FailedPrecondition)
	_, err = operator.operations.ResumeOperation(t.Context(), &operationv1.ResumeOperationRequest{Name: names[0]})
	requireCode(t, err, codes.FailedPrecondition)
}

func TestDeletedOrganizationIsRemovedByItsOperation(t *testing.T) {
	t.Parallel()
	i := setup(t)
	operator := i.operator(t)
	operator.organization(t, "acme", false)
	key := operator.key(t, "acme", accessv1.Role_ROLE_ADMIN)
	admin := i.as(t, key)
	admin.webhook(t, "acme", booking())
	begun, err := operator.organizations.DeleteOrganization(t.Context(), &subscriptionv1.DeleteOrganizationRequest{Name: "organizations/acme"})
	require.NoError(t, err)
	require.Equal(t, "delete_organization", begun.GetType())
	require.Equal(t, "organizations/acme", begun.GetTarget())
	_, err = admin.webhooks.ListWebhooks(t.Context(), &subscriptionv1.ListWebhooksRequest{Parent: "organizations/acme"})
	requireCode(t, err, codes.Unauthenticated)
	require.Eventually(t, func() bool {
		var left int
		require.NoError(t, i.pool.QueryRow(t.Context(), "SELECT count(*) FROM subscription.audit_log WHERE organization = 'acme'").Scan(&left))
		return left == 0
	}, patience, poll)
	require.Equal(t, []string{"acme", "acme"}, i.peer.purges(), "ingest's and delivery's")
	listed, err := operator.operations.ListOperations(t.Context(), &operationv1.ListOperationsRequest{Parent: "organizations/acme"})
	require.NoError(t, err)
	require.Len(t, listed.GetOperations(), 1, "who has deleted it sees what became of it")
	told := operator.entries(t, "-", `resource = "organizations/acme" AND action = delete`)
	require.Len(t, told, 1)
}

func TestWhatAWebhookHasMissedIsSentByAnOperation(t *testing.T) {
	t.Parallel()
	i := setup(t)
	operator := i.operator(t)
	operator.organization(t, "acme", false)
	admin := i.as(t, operator.key(t, "acme", accessv1.Role_ROLE_ADMIN))
	w := admin.webhook(t, "acme", booking())
	paused, err := admin.webhooks.PauseWebhook(t.Context(), &subscriptionv1.PauseWebhookRequest{Name: w.GetName()})
	require.NoError(t, err)
	resumed, err := admin.webhooks.ResumeWebhook(t.Context(), &subscriptionv1.ResumeWebhookRequest{Name: w.GetName(), SendMissed: true})
	require.NoError(t, err)
	begun := resumed.GetOperation()
	require.Equal(t, "resume_webhook", begun.GetType())
	require.Equal(t, w.GetName(), begun.GetTarget())
	require.Equal(t, operationv1.Operation_STATE_RUNNING, begun.GetState())
	ended := admin.ended(t, begun.GetName())
	require.Equal(t, operationv1.Operation_STATE_SUCCEEDED, ended.GetState(), "%v", ended)
	require.EqualValues(t, 1, ended.GetAffectedCount())
	i.peer.mu.Lock()
	defer i.peer.mu.Unlock()
	require.Len(t, i.peer.history, 1)
	asked := i.peer.history[0]
	require.Equal(t, "acme", asked.GetOrganization())
	require.Equal(t, idIn(w.GetName()), asked.GetWebhook())
	require.Equal(t, i.revision(t), asked.GetRevision(), "ingest must know that it is active again")
	const margin = 5 * time.Second // clocks differ, and what is under way takes its time
	require.Equal(t, paused.GetStatusTime().AsTime().Add(-margin), asked.GetStartTime().AsTime())
	require.Equal(t, resumed.GetWebhook().GetStatusTime().AsTime().Add(margin), asked.GetEndTime().AsTime())
}
