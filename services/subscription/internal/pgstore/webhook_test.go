package pgstore_test

import (
	"context"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
	"github.com/meetwire/meetwire/services/subscription/internal/pgstore"
)

// insert stores a webhook of acme, which it makes first.
func insert(t *testing.T, store *pgstore.Store, change func(*core.Webhook)) core.Webhook {
	t.Helper()
	_, err := store.Organization(t.Context(), "acme")
	if err != nil {
		require.NoError(t, store.InsertOrganization(t.Context(), tenant("acme"), core.Request{}))
	}
	now := core.Stored(time.Now())
	w := core.Webhook{
		ID: uuid.NewString(), Organization: "acme", DisplayName: "hook", TargetURL: "https://example.com", Triggers: []string{"meeting.booked"},
		Dialect: "standard", SecretSource: core.SecretOwn, Secrets: []core.SealedSecret{{Sealed: []byte("s"), CreateTime: now}},
		MaxConcurrency: 8, Timeout: time.Second, Status: core.StatusActive, StatusTime: now, Generation: 1, CreateTime: now, UpdateTime: now,
	}
	if change != nil {
		change(&w)
	}
	stored, err := store.InsertWebhook(t.Context(), "acme", w.ID, core.Request{}, func(context.Context, core.WebhookView) (core.WebhookStep, error) {
		return core.WebhookStep{Webhook: w, Write: true, Action: core.ActionCreate}, nil
	})
	require.NoError(t, err)
	return stored
}

// count returns what a query counts.
func count(t *testing.T, pool *pgxpool.Pool, query string, args ...any) int {
	t.Helper()
	var n int
	require.NoError(t, pool.QueryRow(t.Context(), query, args...).Scan(&n))
	return n
}

func TestWebhookIsReadAsItWasStored(t *testing.T) {
	t.Parallel()
	store, _ := setup(t)
	plain := insert(t, store, nil)
	full := insert(t, store, func(w *core.Webhook) {
		w.Description, w.EventTypes, w.Teams, w.Filter = "d", []string{"intro"}, []string{"sales"}, "true"
		w.DialectOptions = core.DialectOptions{SignatureEncoding: "hex", ClientID: 7}
		w.Headers = []core.SealedHeader{{Name: "X-A", Sealed: []byte{0, 1, 255}}}
		w.RetryPolicy = &core.RetryPolicy{MaxRetries: 3, FirstDelay: time.Second, Factor: 1.5, MaxDelay: time.Minute, Jitter: 0.1, GiveUpAge: time.Hour}
		w.FailureThreshold = &core.FailureThreshold{ConsecutiveFailures: 4, WithoutSuccess: time.Hour}
		w.RateLimit, w.AlertEmails, w.Metadata = 0.25, []string{"ops@example.com"}, map[string]string{"a": "b"}
		w.Secrets = append(w.Secrets, core.SealedSecret{Sealed: []byte("t"), CreateTime: w.CreateTime, ExpireTime: w.CreateTime.Add(time.Hour)})
		w.Status, w.StatusReason = core.StatusPaused, "r"
	})
	for _, want := range []core.Webhook{plain, full} {
		got, err := store.Webhook(t.Context(), "acme", want.ID)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
}

func TestWebhookIsDisabledOnce(t *testing.T) {
	t.Parallel()
	store, pool := setup(t)
	w := insert(t, store, nil)
	at := core.Stored(time.Now().Add(time.Hour))
	hooks := 0
	var mu sync.Mutex
	also := func(_ context.Context, _ *pgstore.Change, before, after core.Webhook) error {
		mu.Lock()
		defer mu.Unlock()
		hooks++
		require.Equal(t, core.StatusActive, before.Status)
		require.Equal(t, core.StatusDisabled, after.Status)
		return nil
	}
	for name, try := range map[string]struct {
		organization, id string
		generation       int64
	}{
		"another generation": {"acme", w.ID, 2}, "gone": {"acme", uuid.NewString(), 1}, "others'": {"other", w.ID, 1}, "no id": {"acme", "x", 1},
	} {
		_, disabled, err := store.DisableWebhook(t.Context(), try.organization, try.id, try.generation, "gone", at, also)
		require.NoError(t, err, name)
		require.False(t, disabled, name)
	}
	// Many say so at once.
	var done sync.WaitGroup
	effective := make([]bool, 8)
	for n := range effective {
		done.Go(func() {
			var err error
			_, effective[n], err = store.DisableWebhook(t.Context(), "acme", w.ID, 1, "without_success", at, also)
			require.NoError(t, err)
		})
	}
	done.Wait()
	require.Equal(t, 1, hooks)
	require.Len(t, slices.DeleteFunc(effective, func(e bool) bool { return !e }), 1)
	got, err := store.Webhook(t.Context(), "acme", w.ID)
	require.NoError(t, err)
	require.Equal(t, core.StatusDisabled, got.Status)
	require.Equal(t, "without_success", got.StatusReason)
	require.Equal(t, at, got.StatusTime)
	require.EqualValues(t, 1, got.Generation)
	require.Equal(t, 1, count(t, pool, "SELECT count(*) FROM subscription.audit_log WHERE action = 'disable' AND actor = 'system'"))

	off := insert(t, store, func(w *core.Webhook) { w.FailureThreshold = &core.FailureThreshold{Off: true} })
	_, disabled, err := store.DisableWebhook(t.Context(), "acme", off.ID, 1, "gone", at, nil)
	require.NoError(t, err)
	require.False(t, disabled, "somebody does not want that")
	paused := insert(t, store, func(w *core.Webhook) { w.Status = core.StatusPaused })
	_, disabled, err = store.DisableWebhook(t.Context(), "acme", paused.ID, 1, "gone", at, nil)
	require.NoError(t, err)
	require.False(t, disabled, "what waits for it is kept")
}

func TestFailureOfAHookUndoesEverything(t *testing.T) {
	t.Parallel()
	store, pool := setup(t)
	w := insert(t, store, nil)
	_, _, err := store.DisableWebhook(t.Context(), "acme", w.ID, 1, "gone", time.Now(),
		func(context.Context, *pgstore.Change, core.Webhook, core.Webhook) error {
			return context.DeadlineExceeded
		})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	got, err := store.Webhook(t.Context(), "acme", w.ID)
	require.NoError(t, err)
	require.Equal(t, w, got)
	require.Zero(t, count(t, pool, "SELECT count(*) FROM subscription.audit_log WHERE action = 'disable'"))
}

// What the first release has stored of webhooks means the same.
func TestWebhooksOfTheFirstReleaseAreConverted(t *testing.T) {
	t.Parallel()
	store, pool := setup(t)
	exec := func(script string) {
		t.Helper()
		_, err := pool.Exec(t.Context(), script, pgx.QueryExecModeSimpleProtocol)
		require.NoError(t, err)
	}
	files, err := filepath.Glob("migrations/*.sql")
	require.NoError(t, err)
	slices.Sort(files)
	for _, file := range slices.Backward(files[1:]) {
		_, down := directions(t, file)
		exec(down)
	}
	exec(`INSERT INTO subscription.organization (id, display_name, allow_http, create_time) VALUES ('acme', 'Acme', true, '2026-01-02T03:04:05Z');
		INSERT INTO subscription.webhook (id, organization, display_name, target_url, triggers, sealed_secrets, paused, max_retries,
		                                  first_delay_ns, factor, max_delay_ns, jitter, timeout_ns, revision, create_time, update_time) VALUES
		('00000000-0000-4000-8000-000000000001', 'acme', 'plain', 'https://example.com', '{meeting.booked}', ARRAY[decode(repeat('ab', 100), 'hex'), '\x02'],
		 false, NULL, NULL, NULL, NULL, NULL, 15000000000, 7, '2026-01-02T03:04:05.000006Z', '2026-01-02T03:04:06Z'),
		('00000000-0000-4000-8000-000000000002', 'acme', 'policy', 'https://example.com', '{meeting.booked}', ARRAY['\x03'::bytea],
		 true, 5, 1000000000, 2.5, 60000000000, 0, 1000000000, 8, '2026-01-02T03:04:05Z', '2026-01-02T03:04:07Z');`)
	for range 2 { // there, back, and there again
		for _, file := range files[1:] {
			up, _ := directions(t, file)
			exec(up)
		}
		created := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
		plain, err := store.Webhook(t.Context(), "acme", "00000000-0000-4000-8000-000000000001")
		require.NoError(t, err)
		want := core.Webhook{
			ID: "00000000-0000-4000-8000-000000000001", Organization: "acme", DisplayName: "plain", TargetURL: "https://example.com",
			Triggers: []string{"meeting.booked"}, Dialect: "standard", SecretSource: core.SecretOwn,
			Secrets: []core.SealedSecret{
				{Sealed: []byte(strings.Repeat("\xab", 100)), CreateTime: created}, {Sealed: []byte{2}, CreateTime: created},
			},
			MaxConcurrency: 8, Timeout: 15 * time.Second, Status: core.StatusActive, StatusTime: time.Date(2026, 1, 2, 3, 4, 6, 0, time.UTC),
			Generation: 1, Revision: 7, CreateTime: created, UpdateTime: time.Date(2026, 1, 2, 3, 4, 6, 0, time.UTC),
		}
		require.Equal(t, want, plain)
		policy, err := store.Webhook(t.Context(), "acme", "00000000-0000-4000-8000-000000000002")
		require.NoError(t, err)
		require.Equal(t, core.StatusPaused, policy.Status)
		require.Equal(t, &core.RetryPolicy{MaxRetries: 5, FirstDelay: time.Second, Factor: 2.5, MaxDelay: time.Minute}, policy.RetryPolicy)
		for _, file := range slices.Backward(files[1:]) {
			_, down := directions(t, file)
			exec(down)
		}
	}
}

func TestSnapshotHasEveryWebhook(t *testing.T) {
	t.Parallel()
	store, pool := setup(t)
	require.NoError(t, store.InsertOrganization(t.Context(), tenant("acme"), core.Request{}))
	_, err := pool.Exec(t.Context(), `
		INSERT INTO subscription.webhook (id, organization, display_name, target_url, triggers, status, status_reason, status_time,
		                                  generation, dialect, settings, secrets, revision, create_time, update_time)
		SELECT gen_random_uuid(), 'acme', 'n', 'https://example.com/' || n, '{meeting.booked,meeting.canceled}', 'active', '', now(), 1, 'standard',
		       '{"secret_source": "own", "max_concurrency": 8, "timeout_ns": 15000000000}',
		       jsonb_build_array(jsonb_build_object('sealed', encode(sha256(n::text::bytea), 'base64'), 'create_time', '2026-01-01T00:00:00Z')), 1, now(), now()
		FROM generate_series(1, 20000) AS n`)
	require.NoError(t, err)
	began, webhooks := time.Now(), 0
	require.NoError(t, store.Snapshot(t.Context(), func(page *configv1.SnapshotPage) error {
		for _, r := range page.GetResources() {
			if r.GetWebhook() != nil {
				webhooks++
			}
		}
		return nil
	}))
	require.Equal(t, 20000, webhooks)
	t.Logf("%d webhooks in %s", webhooks, time.Since(began))
}
