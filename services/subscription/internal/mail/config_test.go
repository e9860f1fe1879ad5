package mail_test

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/alecthomas/kong"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/secret"
	"github.com/meetwire/meetwire/services/subscription/internal/mail"
)

// valid is a configuration without a mistake.
func valid() mail.Config {
	return mail.Config{Host: "smtp.example.com", From: "alerts@example.com"}
}

func TestWithoutAHostNothingIsSent(t *testing.T) {
	t.Parallel()
	var config mail.Config
	parser, err := kong.New(&config)
	require.NoError(t, err)
	_, err = parser.Parse(nil)
	require.NoError(t, err)
	require.False(t, config.Enabled())
	require.NoError(t, config.Validate())
	require.Equal(t, mail.Config{TLS: mail.TLSStart, FromName: "Meetwire", Timeout: 30 * time.Second}, config, "the defaults")
	_, err = mail.New(config, slog.New(slog.DiscardHandler))
	require.ErrorContains(t, err, "MEETWIRE_SMTP_HOST")
}

func TestFlags(t *testing.T) {
	t.Parallel()
	var config mail.Config
	parser, err := kong.New(&config)
	require.NoError(t, err)
	_, err = parser.Parse([]string{
		"--smtp-host=smtp.example.com", "--smtp-port=2525", "--smtp-tls=tls", "--smtp-ca-file=ca.pem", "--smtp-user=u",
		"--smtp-password=p", "--smtp-from=a@example.com", "--smtp-from-name=A", "--smtp-hello-name=h.example.com", "--smtp-timeout=5s",
		"--smtp-console-url=https://meetwire.example.com/console",
	})
	require.NoError(t, err)
	require.Equal(t, mail.Config{
		Host: "smtp.example.com", Port: 2525, TLS: mail.TLSImplicit, CAFile: "ca.pem", User: "u", Password: secret.New("p"),
		From: "a@example.com", FromName: "A", HelloName: "h.example.com", Timeout: 5 * time.Second,
		ConsoleURL: "https://meetwire.example.com/console",
	}, config)
	require.NoError(t, config.Validate())
	require.True(t, config.Enabled())
}

func TestValidate(t *testing.T) {
	t.Parallel()
	good := map[string]func(c *mail.Config){
		"as short as possible": func(*mail.Config) {},
		"local without TLS":    func(c *mail.Config) { c.Host, c.TLS = "localhost", mail.TLSNone },
		"::1 without TLS":      func(c *mail.Config) { c.Host, c.TLS = "::1", mail.TLSNone },
		"address literal":      func(c *mail.Config) { c.HelloName = "[IPv6:2001:db8::1]" },
		"international":        func(c *mail.Config) { c.From, c.FromName = "alerts@bücher.example", "Bücher" },
	}
	for name, change := range good {
		c := valid()
		change(&c)
		require.NoError(t, c.Validate(), name)
		_, err := mail.New(c, slog.New(slog.DiscardHandler))
		require.NoError(t, err, name)
	}
	bad := map[string][]func(c *mail.Config){
		"MEETWIRE_SMTP_HOST": {
			func(c *mail.Config) { c.Host = "smtp.example.com:587" }, func(c *mail.Config) { c.Host = "smtp://x" },
			func(c *mail.Config) { c.Host = "a b" }, func(c *mail.Config) { c.Host = "fe80::1%eth0" }, func(c *mail.Config) { c.Host = "bücher.example" },
		},
		"MEETWIRE_SMTP_PORT": {func(c *mail.Config) { c.Port = -1 }, func(c *mail.Config) { c.Port = 65536 }},
		"MEETWIRE_SMTP_TLS": {
			func(c *mail.Config) { c.TLS = "maybe" }, func(c *mail.Config) { c.TLS = mail.TLSNone },
			func(c *mail.Config) { c.Host, c.TLS = "10.0.0.1", mail.TLSNone },
		},
		"MEETWIRE_SMTP_USER": {
			func(c *mail.Config) { c.Password = secret.New("p") },
			func(c *mail.Config) { c.User, c.Password = "a\x00b", secret.New("p") },
		},
		"MEETWIRE_SMTP_PASSWORD": {
			func(c *mail.Config) { c.User = "u" },
			func(c *mail.Config) { c.User, c.Password = "u", secret.New("hidden\x00hidden") },
		},
		"MEETWIRE_SMTP_FROM": {
			func(c *mail.Config) { c.From = "" }, func(c *mail.Config) { c.From = "alerts" },
			func(c *mail.Config) { c.From = "Alerts <alerts@example.com>" },
		},
		"MEETWIRE_SMTP_FROM_NAME": {func(c *mail.Config) { c.FromName = "a\r\nBcc: eve@example.com" }},
		"MEETWIRE_SMTP_HELLO_NAME": {
			func(c *mail.Config) { c.HelloName = "a b" }, func(c *mail.Config) { c.HelloName = "[x]" }, func(c *mail.Config) { c.HelloName = "10.0.0.1" },
		},
		"MEETWIRE_SMTP_TIMEOUT": {func(c *mail.Config) { c.Timeout = time.Millisecond }, func(c *mail.Config) { c.Timeout = time.Hour }},
		"MEETWIRE_SMTP_CONSOLE_URL": {
			func(c *mail.Config) { c.ConsoleURL = "console" }, func(c *mail.Config) { c.ConsoleURL = "javascript:alert(1)" },
			func(c *mail.Config) { c.ConsoleURL = "https://u:p@example.com" }, func(c *mail.Config) { c.ConsoleURL = "https://example.com/a b" },
		},
	}
	for name, changes := range bad {
		for i, change := range changes {
			c := valid()
			change(&c)
			err := c.Validate()
			require.ErrorContains(t, err, "("+name+"): ", "%s %d", name, i)
			require.NotContains(t, err.Error(), "hidden")
			_, err = mail.New(c, slog.New(slog.DiscardHandler))
			require.Error(t, err, name)
		}
	}
}

func TestValidateReportsEverything(t *testing.T) {
	t.Parallel()
	c := mail.Config{Host: "a b", Port: -1, User: "u", Timeout: -1}
	err := c.Validate()
	for _, name := range []string{"HOST", "PORT", "PASSWORD", "FROM", "TIMEOUT"} {
		require.ErrorContains(t, err, "(MEETWIRE_SMTP_"+name+")")
	}
}

func TestCAFileThatIsNone(t *testing.T) {
	t.Parallel()
	c := valid()
	c.CAFile = filepath.Join(t.TempDir(), "ca.pem")
	_, err := mail.New(c, slog.New(slog.DiscardHandler))
	require.ErrorIs(t, err, os.ErrNotExist)
	require.NoError(t, os.WriteFile(c.CAFile, bytes.Repeat([]byte("x"), 100), 0o600))
	_, err = mail.New(c, slog.New(slog.DiscardHandler))
	require.ErrorContains(t, err, "smtp-ca-file (MEETWIRE_SMTP_CA_FILE): has no PEM certificate")
}
