package bus_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/natstest"
	"github.com/meetwire/meetwire/pkg/secret"
)

func TestUsersHaveInboxesOfTheirOwn(t *testing.T) {
	t.Parallel()
	users, err := bus.NATSUsers("acme", "globex-2", "-")
	require.NoError(t, err)
	names := make(map[string]bool)
	for _, user := range users {
		require.NotContains(t, names, user.Name)
		names[user.Name] = true
		require.NotEmpty(t, user.Purpose)
		if user.Name == bus.UserSystem {
			continue
		}
		require.Equal(t, bus.InboxPrefix(user.Name)+".>", user.Subscribe[0])
		seen := make(map[string]bool)
		for _, subject := range user.Publish {
			require.NotContains(t, seen, subject)
			seen[subject] = true
			require.NotContains(t, subject, "STREAM.DELETE", "nobody but an operator deletes a stream")
			if strings.HasPrefix(user.Name, bus.UserPublisher) {
				require.True(t, strings.HasPrefix(subject, "events."), subject)
			}
		}
	}
	require.Contains(t, names, bus.PublisherUser("globex-2"))
	for _, wrong := range [][]string{{"a", "a"}, {""}, {"A"}, {"a.b"}, {"*"}, {">"}, {"a b"}, {strings.Repeat("a", 64)}} {
		_, err := bus.NATSUsers(wrong...)
		require.Error(t, err, wrong)
	}
}

func TestConnectUsesTheInboxPrefixOfTheService(t *testing.T) {
	t.Parallel()
	server := natstest.Start(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	logger := slog.New(slog.DiscardHandler)
	for name, prefix := range map[string]string{
		"meetwire-ingest": "_INBOX_ingest.", "meetwire delivery": "_INBOX_delivery.", "x": "_INBOX_x.", ". ": "_INBOX_meetwire.",
	} {
		conn, err := bus.Connect(ctx, name, bus.NATSConfig{NATSURL: secret.New(server.URL())}, logger)
		require.NoError(t, err, name)
		require.True(t, strings.HasPrefix(conn.NewInbox(), prefix), conn.NewInbox())
		conn.Close()
	}
	conn, err := bus.Connect(ctx, "x", bus.NATSConfig{NATSURL: secret.New(server.URL()), NATSInboxPrefix: "mine.too"}, logger)
	require.NoError(t, err)
	require.True(t, strings.HasPrefix(conn.NewInbox(), "mine.too."))
	conn.Close()
	for _, wrong := range []string{"a.*", ">", "a.", ".a", "a b", "a\n"} {
		_, err := bus.Connect(ctx, "x", bus.NATSConfig{NATSURL: secret.New(server.URL()), NATSInboxPrefix: wrong}, logger)
		require.ErrorContains(t, err, "MEETWIRE_NATS_INBOX_PREFIX", wrong)
	}
}
