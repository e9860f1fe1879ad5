package operations_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"github.com/tink-crypto/tink-go/v2/insecurecleartextkeyset"
	"github.com/tink-crypto/tink-go/v2/keyset"

	"github.com/meetwire/meetwire/pkg/seal"
	"github.com/meetwire/meetwire/pkg/secret"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
)

// withoutOld returns a keyset with its primary key alone.
func withoutOld(t *testing.T, keys secret.String) secret.String {
	t.Helper()
	binary, err := base64.StdEncoding.DecodeString(keys.Reveal())
	require.NoError(t, err)
	handle, err := insecurecleartextkeyset.Read(keyset.NewBinaryReader(strings.NewReader(string(binary))))
	require.NoError(t, err)
	manager := keyset.NewManagerFromHandle(handle)
	info := handle.KeysetInfo()
	for _, key := range info.GetKeyInfo() {
		if key.GetKeyId() != info.GetPrimaryKeyId() {
			require.NoError(t, manager.Delete(key.GetKeyId()))
		}
	}
	handle, err = manager.Handle()
	require.NoError(t, err)
	var out strings.Builder
	require.NoError(t, insecurecleartextkeyset.Write(handle, keyset.NewBinaryWriter(&out)))
	return secret.New(base64.StdEncoding.EncodeToString([]byte(out.String())))
}

func boxOf(t *testing.T, keys secret.String) *seal.Box {
	t.Helper()
	box, err := seal.New(keys)
	require.NoError(t, err)
	return box
}

// sealed returns what is encrypted for a purpose.
func sealed(t *testing.T, box *seal.Box, text, purpose string) []byte {
	t.Helper()
	out, err := box.Seal([]byte(text), purpose)
	require.NoError(t, err)
	return out
}

// webhook stores a webhook with two secrets and a header.
func (e *env) webhook(t *testing.T, box *seal.Box) core.Webhook {
	t.Helper()
	id, now := uuid.NewString(), core.Stored(time.Now())
	w, err := e.store.InsertWebhook(t.Context(), "acme", id, core.Request{},
		func(context.Context, core.WebhookView) (core.WebhookStep, error) {
			return core.WebhookStep{Write: true, Action: core.ActionCreate, Webhook: core.Webhook{
				ID: id, Organization: "acme", DisplayName: "w", TargetURL: "https://example.com", Triggers: []string{"meeting.booked"},
				Dialect: "standard", SecretSource: core.SecretOwn, Status: core.StatusActive, StatusTime: now, Generation: 1,
				Secrets: []core.SealedSecret{
					{Sealed: sealed(t, box, "new "+id, id), CreateTime: now},
					{Sealed: sealed(t, box, "old "+id, id), CreateTime: now, ExpireTime: now.Add(time.Hour)},
				},
				Headers: []core.SealedHeader{
					{Name: "X-Token", Sealed: sealed(t, box, "header "+id, core.HeaderPurpose(id, "X-Token"))},
				},
				MaxConcurrency: 8, Timeout: time.Second, Metadata: map[string]string{"a": "b"}, CreateTime: now, UpdateTime: now,
			}}, nil
		})
	require.NoError(t, err)
	return w
}

// requireOpen asserts that everything that a watcher is told can be opened, and returns how many texts that were.
func requireOpen(t *testing.T, box *seal.Box, resources []*configv1.Resource) (opened int) {
	t.Helper()
	open := func(sealed []byte, purpose, want string) {
		text, err := box.Open(sealed, purpose)
		require.NoError(t, err)
		require.Equal(t, want, string(text))
		opened++
	}
	for _, resource := range resources {
		if w := resource.GetWebhook(); w != nil {
			open(w.GetSecrets()[0].GetSealed(), w.GetId(), "new "+w.GetId())
			open(w.GetSecrets()[1].GetSealed(), w.GetId(), "old "+w.GetId())
			open(w.GetHeaders()[0].GetSealedValue(), core.HeaderPurpose(w.GetId(), "x-token"), "header "+w.GetId())
		}
		for _, s := range resource.GetOrganization().GetSecrets() {
			open(s.GetSealed(), "organizations/acme", "of acme")
		}
	}
	return opened
}

func TestSecretsAreEncryptedWithTheNewKeyWhileTheServiceRuns(t *testing.T) {
	t.Parallel()
	e := setup(t)
	old, err := seal.GenerateKeyset()
	require.NoError(t, err)
	oldBox := boxOf(t, old)
	_, err = e.store.UpdateOrganization(t.Context(), "acme", func(o core.Organization) (core.Organization, bool, error) {
		o.Secrets = []core.SealedSecret{{Sealed: sealed(t, oldBox, "of acme", "organizations/acme"), CreateTime: core.Stored(time.Now())}}
		return o, true, nil
	})
	require.NoError(t, err)
	before := map[string]core.Webhook{}
	for range 120 { // more than a batch
		w := e.webhook(t, oldBox)
		before[w.ID] = w
	}
	rotated, err := seal.Rotate(old)
	require.NoError(t, err)
	both, onlyNew := boxOf(t, rotated), boxOf(t, withoutOld(t, rotated))
	_, err = onlyNew.Open(before[first(before)].Secrets[0].Sealed, first(before))
	require.Error(t, err, "the old key is needed")

	o, err := e.store.BeginReencryption(t.Context())
	require.NoError(t, err)
	again, err := e.store.BeginReencryption(t.Context())
	require.NoError(t, err)
	require.Equal(t, o, again, "one at a time")
	revision, err := e.store.Revision(t.Context())
	require.NoError(t, err)

	// Meanwhile others make and change webhooks.
	ctx, stop := context.WithCancel(t.Context())
	var writing sync.WaitGroup
	writing.Go(func() {
		for n := 0; ctx.Err() == nil; n++ {
			_, _, err := e.store.UpdateWebhook(t.Context(), "acme", first(before), false,
				func(_ context.Context, _ core.WebhookView, w core.Webhook) (core.WebhookStep, error) {
					w.DisplayName = fmt.Sprint(n)
					return core.WebhookStep{Webhook: w, Write: true, Action: core.ActionUpdate}, nil
				})
			if err != nil {
				t.Error(err)
				return
			}
		}
	})
	e.run(t, both, 0)
	e.run(t, both, 0)
	o = e.await(t, o)
	stop()
	writing.Wait()
	require.Equal(t, core.OperationSucceeded, o.State, "%+v", o)
	require.EqualValues(t, 121, o.ProcessedCount)
	require.EqualValues(t, 121, o.AffectedCount)

	var snapshot []*configv1.Resource
	require.NoError(t, e.store.Snapshot(t.Context(), func(page *configv1.SnapshotPage) error {
		snapshot = append(snapshot, page.GetResources()...)
		return nil
	}))
	require.Equal(t, 3*120+1, requireOpen(t, onlyNew, snapshot))
	newest, err := e.store.Revision(t.Context())
	require.NoError(t, err)
	_, err = e.store.Changes(t.Context(), revision, newest, 1)
	require.ErrorIs(t, err, core.ErrGap, "nobody is sent what was encrypted with the old key")
	var kept int64
	require.NoError(t, e.pool.QueryRow(t.Context(), "SELECT min(revision) FROM subscription.feed").Scan(&kept))
	changes, err := e.store.Changes(t.Context(), kept-1, newest, 1000)
	require.NoError(t, err)
	for _, change := range changes {
		requireOpen(t, onlyNew, change.GetResources())
	}
	for id, w := range before {
		now, err := e.store.Webhook(t.Context(), "acme", id)
		require.NoError(t, err)
		require.NotEqual(t, w.Secrets[0].Sealed, now.Secrets[0].Sealed)
		if id == first(before) {
			continue // which somebody has changed
		}
		require.Equal(t, w.ETag(), now.ETag())
		now.Secrets, now.Headers = w.Secrets, w.Headers
		require.Equal(t, w, now, "nothing else has changed")
	}
}

// first returns the least key of a map.
func first[V any](m map[string]V) string {
	least := ""
	for key := range m {
		if least == "" || key < least {
			least = key
		}
	}
	return least
}

func TestSecretThatCannotBeOpenedFailsTheOperation(t *testing.T) {
	t.Parallel()
	e := setup(t)
	other, err := seal.GenerateKeyset()
	require.NoError(t, err)
	w := e.webhook(t, boxOf(t, other))
	o, err := e.store.BeginReencryption(t.Context())
	require.NoError(t, err)
	e.run(t, e.box, 0)
	o = e.await(t, o)
	require.Equal(t, core.OperationFailed, o.State)
	require.Equal(t, "SECRET_NOT_OPENED", o.ErrorReason)
	require.Contains(t, o.ErrorMessage, w.ID)
	now, err := e.store.Webhook(t.Context(), "acme", w.ID)
	require.NoError(t, err)
	require.Equal(t, w, now)
}
