package mail_test

import (
	"flag"
	netmail "net/mail"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/services/subscription/internal/mail"
)

var update = flag.Bool("update", false, "write golden files")

// failing is an alert about a webhook.
func failing() mail.Alert {
	return mail.Alert{
		Kind: mail.KindFirstLastingFailure, Organization: "acme", OrganizationName: "Acme Corporation", WebhookName: "Booking sync",
		WebhookResource: "organizations/acme/webhooks/5f0c6c0e-3f0e-4f7e-9d5b-2f8f0b7f6a11",
		TargetURL:       "https://user:pass@hooks.example.com:8443/services/T000/B000/token?key=token#token",
		Reason:          "consecutive_failures", Failures: 2, Threshold: mail.DescribeThreshold(20, 72*time.Hour),
		Since:          time.Date(2026, 11, 21, 10, 29, 0, 0, time.FixedZone("CET", 3600)),
		LastErrorClass: "status", LastStatus: 500,
		At: time.Date(2026, 11, 21, 10, 30, 15, 999, time.FixedZone("CET", 3600)), ConsoleURL: "https://meetwire.example.com/console",
	}
}

func TestAlerts(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(a *mail.Alert){
		"first":               func(*mail.Alert) {},
		"first_without_limit": func(a *mail.Alert) { a.Threshold, a.ConsoleURL, a.LastErrorClass, a.LastStatus = "", "", "timeout", 0 },
		"half": func(a *mail.Alert) {
			a.Kind, a.Failures, a.LastErrorClass, a.LastStatus = mail.KindHalfOfThreshold, 10, "tls", 0
		},
		"disabled": func(a *mail.Alert) { a.Kind, a.Failures = mail.KindDisabled, 20 },
		"disabled_by_time": func(a *mail.Alert) {
			a.Kind, a.Failures, a.Reason, a.LastErrorClass, a.LastStatus = mail.KindDisabled, 7, "without_success", "dns", 0
		},
		"disabled_by_410": func(a *mail.Alert) {
			a.Kind, a.Failures, a.Reason, a.LastStatus, a.Since = mail.KindDisabled, 1, "gone", 410, time.Time{}
		},
	} {
		a := failing()
		change(&a)
		m := mail.Compose(a)
		require.Equal(t, time.Date(2026, 11, 21, 9, 30, 15, 999, time.UTC), m.Date)
		require.Empty(t, m.ID)
		require.Empty(t, m.To)
		for _, line := range strings.Split(m.Text, "\n") {
			require.LessOrEqual(t, utf8.RuneCountInString(line), 90, "%s: %s", name, line)
		}
		for _, hidden := range []string{"token", "pass", "T000"} {
			require.NotContains(t, m.Text+m.Subject, hidden)
		}
		got, path := "Subject: "+m.Subject+"\n\n"+m.Text, filepath.Join("testdata", name+".txt")
		if *update {
			require.NoError(t, os.WriteFile(path, []byte(got), 0o600))
		}
		want, err := os.ReadFile(path)
		require.NoError(t, err)
		require.Equal(t, string(want), got, name)
	}
}

func TestLastErrorInWords(t *testing.T) {
	t.Parallel()
	for class, words := range map[string]string{
		"timeout": "no complete answer in time", "dns": "the host name has no address", "connect": "no connection", "tls": "TLS handshake",
		"address": "the address is not allowed", "reset": "closed before an answer", "protocol": "the answer is not HTTP",
		"render": "the request could not be made", "new_class": "new_class",
	} {
		a := failing()
		a.LastErrorClass, a.LastStatus = class, 0
		require.Contains(t, mail.Compose(a).Text, words)
		require.Contains(t, mail.Compose(a).Text, class)
	}
}

func TestThresholdInWords(t *testing.T) {
	t.Parallel()
	for want, got := range map[string]string{
		"":                                        mail.DescribeThreshold(0, 0),
		"after 20 failed attempts in a row":       mail.DescribeThreshold(20, 0),
		"when there is no success for 1 day":      mail.DescribeThreshold(0, 24*time.Hour),
		"when there is no success for 5 days":     mail.DescribeThreshold(0, 120*time.Hour),
		"when there is no success for 30 hours":   mail.DescribeThreshold(0, 30*time.Hour),
		"when there is no success for 90 minutes": mail.DescribeThreshold(0, 90*time.Minute),
		"when there is no success for 1m1s":       mail.DescribeThreshold(0, 61*time.Second),
		"after 3 failed attempts in a row or when there is no success for 2 days": mail.DescribeThreshold(3, 48*time.Hour),
	} {
		require.Equal(t, want, got)
	}
}

// TestNamesMakeNoHeaders sends an alert about a webhook whose names were written by somebody who tries to.
func TestNamesMakeNoHeaders(t *testing.T) {
	t.Parallel()
	s := (&server{mode: "starttls"}).start(t)
	a := failing()
	a.WebhookName = "Sync\r\nBcc: eve@example.com\r\n\r\n<b>text\u202e\u2028?=\r\n.\r\n\x00 \xff 予約"
	a.OrganizationName = "Acme\nTo: eve@example.com"
	a.LastErrorClass, a.LastStatus = "x\r\nX-Evil: 1", 0
	a.Threshold = "never\r\n.\r\nMAIL FROM:<eve@example.com>"
	a.WebhookResource = "organizations/acme\r\n.\r\nRCPT TO:<eve@example.com>"
	a.TargetURL = "https://example.com\r\n.\r\n/"
	a.ConsoleURL = "https://example.com/\r\n.\r\n"
	m := mail.Compose(a)
	m.ID, m.To = "1", []string{ann}
	require.NoError(t, s.sender(t).Send(t.Context(), m))
	got := s.only(t)
	require.Equal(t, []string{ann}, got.to)
	shown := parse(t, got.raw)
	require.Equal(t, `[Meetwire] Failing: webhook "Sync Bcc: eve@example.com <b>text ?= . � 予約" (Acme To: eve@example.com)`, shown.subject)
	require.Equal(t, m.Text, shown.text)
	requireHeaders(t, shown.Header)
	require.NotContains(t, shown.text, "Console")
}

// requireHeaders asserts that a message has our headers, once each, and no others.
func requireHeaders(t *testing.T, header netmail.Header) {
	t.Helper()
	require.Len(t, header, 10, "%v", header)
	for _, name := range []string{
		"Auto-Submitted", "Content-Transfer-Encoding", "Content-Type", "Date", "From", "Message-Id", "Mime-Version", "Subject", "To",
		"X-Auto-Response-Suppress",
	} {
		require.Len(t, header[name], 1, name)
	}
}

func TestLongNamesAreCut(t *testing.T) {
	t.Parallel()
	a := failing()
	a.WebhookName, a.OrganizationName = strings.Repeat("é", 79)+"ab", strings.Repeat("e\u0301", 100)
	m := mail.Compose(a)
	require.Contains(t, m.Subject, `"`+strings.Repeat("é", 79)+`…"`)
	require.Contains(t, m.Subject, "("+strings.Repeat("e\u0301", 39)+"…)", "a letter keeps its accent or goes")

	a.WebhookName, a.OrganizationName = " \r\n ", ""
	require.Contains(t, mail.Compose(a).Subject, `"organizations/acme/webhooks/5f0c6c0e-3f0e-4f7e-9d5b-2f8f0b7f6a11" (acme)`)
}

func FuzzCompose(f *testing.F) {
	f.Add("Sync\r\nBcc: eve@example.com", "Acme", "https://example.com/?a", "timeout")
	f.Add("\xff\u202e", "\u0301\u0301", ":", "")
	f.Fuzz(func(t *testing.T, name, organization, target, class string) {
		a := failing()
		a.WebhookName, a.OrganizationName, a.TargetURL, a.LastErrorClass, a.LastStatus = name, organization, target, class, 0
		m := mail.Compose(a)
		require.True(t, utf8.ValidString(m.Subject) && utf8.ValidString(m.Text))
		require.LessOrEqual(t, utf8.RuneCountInString(m.Subject), 250)
		require.NotContains(t, m.Subject, "\n")
		for _, r := range m.Subject + strings.ReplaceAll(m.Text, "\n", "") {
			require.False(t, unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || r == '\u2028' || r == '\u2029', "%U", r)
		}
	})
}
