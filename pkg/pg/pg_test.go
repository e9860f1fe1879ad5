package pg_test

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/pg"
	"github.com/meetwire/meetwire/pkg/pgtest"
	"github.com/meetwire/meetwire/pkg/secret"
)

func TestConfigIsReadFromFlags(t *testing.T) {
	t.Parallel()
	var config struct {
		Database pg.Config `embed:""`
	}
	parser, err := kong.New(&config)
	require.NoError(t, err)
	_, err = parser.Parse([]string{"--database-url", "postgres://u:hunter2@h/d", "--database-max-conns=3"})
	require.NoError(t, err)
	require.Equal(t, "postgres://u:hunter2@h/d", config.Database.DatabaseURL.Reveal())
	require.EqualValues(t, 3, config.Database.MaxConns)
	require.NotContains(t, fmt.Sprintf("%+v", config), "hunter2")

	_, err = parser.Parse([]string{"--database-url", "postgres://u:hunter2@h/d"})
	require.NoError(t, err)
	require.EqualValues(t, pg.DefaultMaxConns, config.Database.MaxConns)
}

func TestInvalidConfigIsRefusedWithoutShowingIt(t *testing.T) {
	t.Parallel()
	for name, config := range map[string]pg.Config{
		"no URL":               {},
		"no URL, text":         {DatabaseURL: secret.New("hunter2")},
		"unencoded password":   {DatabaseURL: secret.New("postgres://u:hunter2/%zz@h:5432/d")},
		"password as port":     {DatabaseURL: secret.New("postgres://u@h:hunter2/d")},
		"unknown sslmode":      {DatabaseURL: secret.New("postgres://u:hunter2@h/d?sslmode=hunter2")},
		"negative connections": {DatabaseURL: secret.New("postgres://u:hunter2@h/d"), MaxConns: -1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := config.Validate()
			require.Error(t, err)
			require.NotContains(t, err.Error(), "hunter2")
			_, err = pg.Open(newContext(t), config)
			require.True(t, fault.Is(err, fault.InvalidArgument), "%v", err)
			require.NotContains(t, err.Error(), "hunter2")
		})
	}
}

func TestOpenErrorsOfADatabaseThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	good := pgtest.URL(setup(t))
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, closed.Close())

	for name, change := range map[string]func(u *url.URL){
		"wrong password":   func(u *url.URL) { u.User = url.UserPassword("postgres", "hunter2") },
		"unknown database": func(u *url.URL) { u.Path = "/nowhere" },
		"nobody listens":   func(u *url.URL) { u.Host = closed.Addr().String() },
		"unknown host":     func(u *url.URL) { u.Host = "nowhere.invalid" },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u, err := url.Parse(good.Reveal())
			require.NoError(t, err)
			change(u)
			_, err = pg.Open(newContext(t), pg.Config{DatabaseURL: secret.New(u.String())})
			require.True(t, fault.Is(err, fault.Unavailable), "%v", err)
			password, _ := u.User.Password()
			require.NotContains(t, err.Error(), password)
			require.NotContains(t, err.Error(), "postgres://")
			require.NotContains(t, fault.From(err).Message, "127.0.0.1")
		})
	}
}

func TestOpenGivesUpOnAServerThatNeverAnswers(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, silent.Close()) })

	ctx, cancel := context.WithTimeout(newContext(t), 50*time.Millisecond)
	defer cancel()
	address := secret.New("postgres://u:p@" + silent.Addr().String() + "/d?sslmode=disable")
	_, err = pg.Open(ctx, pg.Config{DatabaseURL: address})
	require.Error(t, err)

	ctx, cancel = context.WithCancel(newContext(t))
	cancel()
	_, err = pg.Open(ctx, pg.Config{DatabaseURL: address})
	require.ErrorIs(t, err, context.Canceled)
	require.False(t, fault.Is(err, fault.Unavailable), "whoever hung up gets the context's error")
}

func TestPoolSettings(t *testing.T) {
	t.Parallel()
	pool := open(t, pgtest.URL(setup(t)), 0)
	require.EqualValues(t, pg.DefaultMaxConns, pool.Config().MaxConns)
	var zone, name string
	require.NoError(t, pool.QueryRow(newContext(t), "SELECT current_setting('timezone'), current_setting('application_name')").Scan(&zone, &name))
	require.Equal(t, "UTC", zone)
	require.Equal(t, "meetwire", name)
}

func TestTimesAreUTC(t *testing.T) {
	t.Parallel()
	pool := setup(t)
	var at time.Time
	var list []time.Time
	var span pgtype.Range[time.Time]
	var anything any
	require.NoError(t, pool.QueryRow(newContext(t), `
		WITH t AS (SELECT '2026-03-29 02:30:00+02'::timestamptz AS at)
		SELECT at, array[at], tstzrange(at, at + '1h'), at FROM t`).Scan(&at, &list, &span, &anything))
	want := time.Date(2026, 3, 29, 0, 30, 0, 0, time.UTC)
	require.Equal(t, want, at)
	require.Equal(t, []time.Time{want}, list)
	require.Equal(t, want, span.Lower)
	require.Equal(t, want, anything)
}
