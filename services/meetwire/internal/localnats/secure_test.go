package localnats_test

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/services/meetwire/internal/localnats"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestUsersKeepTheirPasswords(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "passwords")
	first, err := localnats.LoadUsers(path, []string{"acme"})
	require.NoError(t, err)
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())

	// Somebody edits it: the last line has no end, one password is another, one is gone.
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	lines := strings.Split(strings.TrimSpace(string(content)), "\n")
	require.True(t, strings.HasPrefix(lines[0], "NATS_INGEST_PASSWORD="))
	lines[0] = `NATS_INGEST_PASSWORD=with "quotes" and \`
	require.NoError(t, os.WriteFile(path, []byte(strings.Join(lines[:len(lines)-1], "\n")), 0o600))

	second, err := localnats.LoadUsers(path, []string{"acme", "globex"})
	require.NoError(t, err)
	require.Equal(t, `with "quotes" and \`, second.Password(bus.UserIngest).Reveal())
	require.Equal(t, first.Password(bus.UserDelivery), second.Password(bus.UserDelivery))
	require.Equal(t, first.Password(bus.PublisherUser("acme")), second.Password(bus.PublisherUser("acme")))
	require.NotEqual(t, first.Password(bus.UserSystem), second.Password(bus.UserSystem))
	require.False(t, second.Password(bus.PublisherUser("globex")).IsZero())
	require.True(t, second.Password("nobody").IsZero())
	third, err := localnats.LoadUsers(path, []string{"acme", "globex"})
	require.NoError(t, err)
	require.Equal(t, second, third)

	s, err := localnats.Start(filepath.Join(t.TempDir(), "nats"), 0, second, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	for _, user := range []string{bus.UserIngest, bus.UserDelivery, bus.PublisherUser("globex"), bus.UserSystem} {
		conn, err := nats.Connect(s.ClientURL(), nats.UserInfo(user, second.Password(user).Reveal()))
		require.NoError(t, err, user)
		conn.Close()
	}
	_, err = nats.Connect(s.ClientURL(), nats.UserInfo(bus.UserDelivery, second.Password(bus.UserIngest).Reveal()))
	require.ErrorIs(t, err, nats.ErrAuthorization)
}

func TestUsersSayWhatIsWrong(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "passwords")
	for _, organization := range []string{"", "*", "a.b", "Ä"} {
		_, err := localnats.LoadUsers(path, []string{organization})
		require.ErrorContains(t, err, "must be an organization", organization)
	}
	_, err := os.Stat(path)
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = localnats.LoadUsers(t.TempDir(), nil)
	require.ErrorContains(t, err, "read the passwords of NATS")
	_, err = localnats.LoadUsers(filepath.Join(path, "nowhere"), nil)
	require.Error(t, err)
}
