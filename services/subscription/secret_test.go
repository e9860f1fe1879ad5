package subscription_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"log/slog"
	"path"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"

	"github.com/meetwire/meetwire/pkg/seal"
	accessv1 "github.com/meetwire/meetwire/proto/gen/meetwire/access/v1"
	subscriptionv1 "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
)

// sealedSecrets returns the encrypted secrets of a webhook as they are stored, the newest first.
func (i *installation) sealedSecrets(t *testing.T, name string) [][]byte {
	t.Helper()
	var sealed []string
	err := i.pool.QueryRow(t.Context(), `
		SELECT array(SELECT s ->> 'sealed' FROM jsonb_array_elements(secrets) WITH ORDINALITY AS e (s, place) ORDER BY place)
		FROM subscription.webhook WHERE id = $1`, path.Base(name)).Scan(&sealed)
	require.NoError(t, err)
	raw := make([][]byte, len(sealed))
	for n, text := range sealed {
		raw[n], err = base64.StdEncoding.DecodeString(text)
		require.NoError(t, err)
	}
	return raw
}

// sealedSecret returns the only encrypted secret of a webhook as it is stored.
func (i *installation) sealedSecret(t *testing.T, name string) []byte {
	t.Helper()
	sealed := i.sealedSecrets(t, name)
	require.Len(t, sealed, 1)
	return sealed[0]
}

// organizationSecret makes a secret the newest signing secret of acme.
func (i *installation) organizationSecret(t *testing.T, secret string) {
	t.Helper()
	box, err := seal.New(i.keyset)
	require.NoError(t, err)
	sealed, err := box.Seal([]byte(secret), "organizations/acme")
	require.NoError(t, err)
	_, err = i.pool.Exec(t.Context(), `
		UPDATE subscription.organization
		SET secrets = jsonb_build_array(jsonb_build_object('sealed', $1::text, 'create_time', '2026-01-01T00:00:00Z')) || secrets
		WHERE id = 'acme'`, base64.StdEncoding.EncodeToString(sealed))
	require.NoError(t, err)
}

func TestSecretCanBeOpenedOnlyAsItsWebhooks(t *testing.T) {
	t.Parallel()
	i := setupTenant(t)
	one, two := i.admin.webhook(t, "acme", booking()), i.admin.webhook(t, "acme", booking())
	require.NotEqual(t, one.GetSecret(), two.GetSecret())
	box, err := seal.New(i.keyset)
	require.NoError(t, err)
	opened, err := box.Open(i.sealedSecret(t, one.GetName()), path.Base(one.GetName()))
	require.NoError(t, err)
	require.Equal(t, one.GetSecret(), string(opened))
	_, err = box.Open(i.sealedSecret(t, one.GetName()), path.Base(two.GetName()))
	require.Error(t, err)
}

// log is what an instance has written.
type log struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *log) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(line)
}

func (l *log) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func TestNoSecretIsInTheDatabaseTheFeedOrTheLog(t *testing.T) {
	t.Parallel()
	var written log
	installation := newInstallation(t)
	installation.logger = slog.New(slog.NewJSONHandler(&written, &slog.HandlerOptions{Level: slog.LevelDebug}))
	i := tenantOf(t, installation.start(t))
	given := []byte("a secret that someone has chosen")
	chosen := booking()
	chosen.Secret = "whsec_" + base64.StdEncoding.EncodeToString(given)
	const value, later, text = "Bearer the-value-of-a-header", "the-later-value-of-a-header", "a text as the secret of another dialect"
	chosen.Headers = []*subscriptionv1.Header{{Name: "Authorization", Value: value}}
	made, set := i.admin.webhook(t, "acme", booking()), i.admin.webhook(t, "acme", chosen)
	replacement := []byte("and another that replaces it now")
	i.update(t, &subscriptionv1.Webhook{
		Name: set.GetName(), Secret: "whsec_" + base64.StdEncoding.EncodeToString(replacement),
		Headers: []*subscriptionv1.Header{{Name: "Authorization"}, {Name: "X-Later", Value: later}},
	}, "secret", "headers")
	other := booking()
	other.Dialect, other.Secret = "orufy", text
	i.admin.webhook(t, "acme", other)
	rotated, err := i.admin.webhooks.RotateWebhookSecret(t.Context(), &subscriptionv1.RotateWebhookSecretRequest{Name: made.GetName()})
	require.NoError(t, err)
	_, err = i.admin.webhooks.RevealWebhookSecret(t.Context(), &subscriptionv1.RevealWebhookSecretRequest{Name: made.GetName()})
	require.NoError(t, err)
	_, err = i.admin.webhooks.RotateWebhookSecret(t.Context(), &subscriptionv1.RotateWebhookSecretRequest{Name: made.GetName(), Secret: text})
	requireField(t, err, "secret", "")
	_, err = i.admin.webhooks.DeleteWebhook(t.Context(), &subscriptionv1.DeleteWebhookRequest{Name: set.GetName()})
	require.NoError(t, err)
	key := i.operator.key(t, "acme", accessv1.Role_ROLE_ADMIN).Reveal()
	// What is moved to another webhook cannot be opened there, which is logged.
	broken := i.admin.webhook(t, "acme", booking())
	i.sql(t, "UPDATE subscription.webhook SET secrets = (SELECT secrets FROM subscription.webhook WHERE id = $1) WHERE id = $2",
		path.Base(made.GetName()), path.Base(broken.GetName()))
	_, err = i.admin.webhooks.RevealWebhookSecret(t.Context(), &subscriptionv1.RevealWebhookSecretRequest{Name: broken.GetName()})
	requireCode(t, err, codes.Internal)

	secrets := [][]byte{
		given, replacement, []byte(value), []byte(later), []byte(text),
		[]byte(strings.SplitN(key, "_", 3)[2]), []byte(strings.SplitN(i.operatorKey.Reveal(), "_", 3)[2]),
		[]byte(i.serviceToken.Reveal()), []byte(i.keyset.Reveal()),
	}
	for _, secret := range []string{made.GetSecret(), rotated.GetSecret()} {
		random, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(secret, "whsec_"))
		require.NoError(t, err)
		secrets = append(secrets, random)
	}
	for _, s := range slices.Clone(secrets) {
		secrets = append(secrets, []byte(base64.StdEncoding.EncodeToString(s)), []byte(hex.EncodeToString(s)))
	}

	var feed bytes.Buffer
	for _, page := range i.watch(t, 0).snapshot(t) {
		feed.WriteString(protoText(page))
	}
	changes := i.watch(t, 1)
	for revision := int64(1); revision < i.revision(t); {
		change := changes.change(t)
		revision = change.GetRevision()
		feed.WriteString(protoText(change))
	}
	for name, where := range map[string]struct{ text, has string }{
		"database": {string(i.dump(t)), "Booking sync"}, "feed": {feed.String(), "X-Later"}, "log": {written.String(), "cannot open"},
	} {
		require.Contains(t, where.text, where.has, "the %s has what it should have", name)
		for n, secret := range secrets {
			found := strings.Contains(where.text, string(secret)) // a failure must not print it
			require.False(t, found, "secret %d is in the %s", n, name)
		}
	}
}

// protoText returns a message as bytes, and as the text that a person would be shown.
func protoText(m proto.Message) string { return text(m) + prototext.Format(m) }

// dump returns every value of every table of the schema, as the bytes that Postgres keeps.
func (i *installation) dump(t *testing.T) []byte {
	t.Helper()
	rows, err := i.pool.Query(t.Context(), "SELECT table_name FROM information_schema.tables WHERE table_schema = 'subscription'")
	require.NoError(t, err)
	tables, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(tables), 6)
	var dump bytes.Buffer
	for _, table := range tables {
		rows, err := i.pool.Query(t.Context(), "SELECT * FROM "+pgx.Identifier{"subscription", table}.Sanitize())
		require.NoError(t, err)
		for rows.Next() {
			for _, value := range rows.RawValues() { // binary, so bytea as it is
				dump.Write(value)
			}
			values, err := rows.Values()
			require.NoError(t, err)
			fmt.Fprintln(&dump, values...)
		}
		require.NoError(t, rows.Err())
	}
	return dump.Bytes()
}
