package subscription_test

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"path"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/meetwire/meetwire/pkg/seal"
	accessv1 "github.com/meetwire/meetwire/proto/gen/meetwire/access/v1"
	subscriptionv1 "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
)

// sealedSecret returns the encrypted secret of a webhook as it is stored.
func (i *installation) sealedSecret(t *testing.T, name string) []byte {
	t.Helper()
	var sealed [][]byte
	err := i.pool.QueryRow(t.Context(), "SELECT sealed_secrets FROM subscription.webhook WHERE id = $1", path.Base(name)).Scan(&sealed)
	require.NoError(t, err)
	require.Len(t, sealed, 1)
	return sealed[0]
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

func TestNoSecretIsInTheDatabase(t *testing.T) {
	t.Parallel()
	i := setupTenant(t)
	given := []byte("a secret that someone has chosen")
	chosen := booking()
	chosen.Secret = "whsec_" + base64.StdEncoding.EncodeToString(given)
	made, set := i.admin.webhook(t, "acme", booking()), i.admin.webhook(t, "acme", chosen)
	replacement := []byte("and another that replaces it now")
	_, err := i.admin.webhooks.UpdateWebhook(t.Context(), &subscriptionv1.UpdateWebhookRequest{
		Webhook: &subscriptionv1.Webhook{
			Name: set.GetName(), Secret: "whsec_" + base64.StdEncoding.EncodeToString(replacement),
		},
		UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"secret"}},
	})
	require.NoError(t, err)
	key := i.operator.key(t, "acme", accessv1.Role_ROLE_ADMIN).Reveal()

	random, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(made.GetSecret(), "whsec_"))
	require.NoError(t, err)
	secrets := [][]byte{
		random, given, replacement,
		[]byte(strings.SplitN(key, "_", 3)[2]), []byte(strings.SplitN(i.operatorKey.Reveal(), "_", 3)[2]),
		[]byte(i.serviceToken.Reveal()), []byte(i.keyset.Reveal()),
	}
	for _, s := range [][]byte{random, given, replacement} {
		secrets = append(secrets, []byte(base64.StdEncoding.EncodeToString(s)))
	}

	dump := i.dump(t)
	require.Contains(t, string(dump), "Booking sync", "the dump has what is stored")
	for n, secret := range secrets {
		require.False(t, bytes.Contains(dump, secret), "secret %d is in the database", n)
		require.False(t, bytes.Contains(dump, []byte(hex.EncodeToString(secret))), "secret %d is in the database in hexadecimal", n)
	}
}

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
