package alerts_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/services/subscription/internal/alerts"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
)

func TestAlertIsSentOnce(t *testing.T) {
	t.Parallel()
	e := setup(t, "ops@example.com", "oncall@example.org")
	since := e.clock.Now().Add(-time.Minute)
	require.True(t, e.report(t, core.HealthFirstLastingFailure, since))
	require.False(t, e.report(t, core.HealthFirstLastingFailure, since), "a repeated report")
	stop := e.run(t)
	waiting, _ := e.awaitTries(t, 1)
	require.Zero(t, waiting)
	stop()
	e.run(t)
	require.Never(t, func() bool { return e.server.attempts() > 1 }, 20*tick, tick)
	messages := e.server.messages()
	require.Len(t, messages, 1)
	require.ElementsMatch(t, []string{"ops@example.com", "oncall@example.org"}, messages[0].to)
	for _, text := range []string{
		"Failing: webhook \"Booking sync\" (Acme Inc.)", "2 attempts in a row have\r\nfailed", "https://example.com\r\n",
		"organizations/acme/webhooks/" + e.webhook.ID, "https://console.example.com",
	} {
		require.Contains(t, strings.ReplaceAll(messages[0].raw, "=\r\n", ""), text)
	}
	require.NotContains(t, messages[0].raw, "token")
}

func TestOneAlertPerWebhookReasonAndHour(t *testing.T) {
	t.Parallel()
	e := setup(t, "ops@example.com")
	since := e.clock.Now()
	require.True(t, e.report(t, core.HealthFirstLastingFailure, since))
	require.True(t, e.report(t, core.HealthHalfOfThreshold, since), "another reason")
	e.clock.advance(50 * time.Minute)
	require.False(t, e.report(t, core.HealthFirstLastingFailure, e.clock.Now()), "it failed again, in another hour of the clock")
	e.clock.advance(11 * time.Minute)
	require.False(t, e.report(t, core.HealthFirstLastingFailure, since), "the same report, repeated after an hour")
	require.True(t, e.report(t, core.HealthFirstLastingFailure, e.clock.Now()))
	e.run(t)
	waiting, _ := e.awaitTries(t, 3)
	require.Zero(t, waiting)
}

func TestDisabledWebhookIsToldOfOnce(t *testing.T) {
	t.Parallel()
	e := setup(t, "ops@example.com")
	require.True(t, e.report(t, core.HealthDisable, e.clock.Now()))
	require.False(t, e.report(t, core.HealthDisable, e.clock.Now()))
	require.False(t, e.report(t, core.HealthHalfOfThreshold, e.clock.Now()), "it is disabled already")
	e.run(t)
	waiting, _ := e.awaitTries(t, 1)
	require.Zero(t, waiting)
	require.Contains(t, e.server.messages()[0].raw, "Disabled: webhook")
}

func TestNobodyIsToldWithoutAddresses(t *testing.T) {
	t.Parallel()
	e := setup(t)
	require.False(t, e.report(t, core.HealthFirstLastingFailure, e.clock.Now()))
	require.True(t, e.report(t, core.HealthDisable, e.clock.Now()))
	var mails int
	require.NoError(t, e.pool.QueryRow(t.Context(), "SELECT count(*) FROM subscription.mail").Scan(&mails))
	require.Zero(t, mails)
}

func TestAlertWaitsForTheServer(t *testing.T) {
	t.Parallel()
	e := setup(t, "ops@example.com")
	e.server.answer(&smtp.SMTPError{Code: 451, Message: "later, ops@example.com"}, nil)
	require.True(t, e.report(t, core.HealthFirstLastingFailure, e.clock.Now()))
	e.run(t)
	for n, wait := range []time.Duration{30 * time.Second, time.Minute, 2 * time.Minute, 4 * time.Minute} {
		waiting, next := e.awaitTries(t, n+1)
		require.Equal(t, 1, waiting)
		require.Equal(t, e.clock.Now().Add(wait), next)
		e.clock.advance(wait)
	}
	waiting, next := e.awaitTries(t, 5)
	require.Equal(t, 1, waiting)
	e.server.answer(nil, nil)
	e.clock.advance(next.Sub(e.clock.Now()))
	waiting, _ = e.awaitTries(t, 6)
	require.Zero(t, waiting)
	require.Len(t, e.server.messages(), 1)
	require.Contains(t, e.log.String(), "e-mail not sent and will be tried again")
	require.NotContains(t, e.log.String(), "example.com", "logs name no addresses")
}

func TestAlertIsGivenUpAfterADay(t *testing.T) {
	t.Parallel()
	e := setup(t, "ops@example.com")
	e.server.answer(&smtp.SMTPError{Code: 451, Message: "later"}, nil)
	require.True(t, e.report(t, core.HealthFirstLastingFailure, e.clock.Now()))
	e.run(t)
	waiting, _ := e.awaitTries(t, 1)
	require.Equal(t, 1, waiting)
	e.clock.advance(24 * time.Hour)
	waiting, _ = e.awaitTries(t, 2)
	require.Zero(t, waiting)
	require.Contains(t, e.log.String(), "e-mail given up")
}

func TestAlertGoesToThoseWhoCanGetIt(t *testing.T) {
	t.Parallel()
	e := setup(t, "good@example.com", "gone@example.com", "busy@example.com")
	e.server.answer(nil, map[string]error{
		"gone@example.com": &smtp.SMTPError{Code: 550, Message: "no gone@example.com here"},
		"busy@example.com": &smtp.SMTPError{Code: 450, Message: "busy@example.com is full"},
	})
	require.True(t, e.report(t, core.HealthFirstLastingFailure, e.clock.Now()))
	e.run(t)
	waiting, next := e.awaitTries(t, 1)
	require.Equal(t, 1, waiting)
	e.server.answer(nil, nil)
	e.clock.advance(next.Sub(e.clock.Now()))
	waiting, _ = e.awaitTries(t, 2)
	require.Zero(t, waiting)
	var to []string
	for _, message := range e.server.messages() {
		to = append(to, fmt.Sprint(message.to))
	}
	require.Equal(t, []string{"[good@example.com]", "[busy@example.com]"}, to, "nobody gets it twice")
	require.NotContains(t, e.log.String(), "@example.com", "logs name no addresses")
}

func TestAlertThatIsRefusedIsGivenUp(t *testing.T) {
	t.Parallel()
	e := setup(t, "gone@example.com")
	e.server.answer(nil, map[string]error{"gone@example.com": &smtp.SMTPError{Code: 550, Message: "no gone@example.com here"}})
	require.True(t, e.report(t, core.HealthFirstLastingFailure, e.clock.Now()))
	e.run(t)
	waiting, _ := e.awaitTries(t, 1)
	require.Zero(t, waiting)
	require.Contains(t, e.log.String(), "e-mail given up")
	require.NotContains(t, e.log.String(), "@example.com")
}

func TestAlertOfADeadInstanceIsSentByAnother(t *testing.T) {
	t.Parallel()
	e := setup(t, "ops@example.com")
	require.True(t, e.report(t, core.HealthFirstLastingFailure, e.clock.Now()))
	taken, err := e.store.TakeMail(t.Context(), 10*time.Minute, 10)
	require.NoError(t, err)
	require.Len(t, taken, 1)
	e.run(t)
	require.Never(t, func() bool { return e.server.attempts() > 0 }, 20*tick, tick)
	e.clock.advance(10 * time.Minute)
	require.Eventually(t, func() bool { return len(e.server.messages()) == 1 }, patience, tick)
}

func TestOldRowsAreTrimmed(t *testing.T) {
	t.Parallel()
	e := setup(t, "ops@example.com")
	require.True(t, e.report(t, core.HealthFirstLastingFailure, e.clock.Now()))
	_, err := e.pool.Exec(t.Context(), `
		INSERT INTO subscription.request (organization, request_id, method, fingerprint, resource, create_time)
		VALUES ('acme', gen_random_uuid(), '', '', '', $1)`, e.clock.Now())
	require.NoError(t, err)
	require.NoError(t, e.store.ReportDeadLetters(t.Context(), []core.DeadLetterCount{
		{Organization: "acme", Webhook: e.webhook.ID, Reason: "gone", Minute: e.clock.Now(), Count: 1},
	}))
	trim := func(want int64) {
		t.Helper()
		removed, err := e.store.TrimTrail(t.Context())
		require.NoError(t, err)
		require.Equal(t, want, removed)
	}
	e.clock.advance(23 * time.Hour)
	trim(0)
	e.clock.advance(2 * time.Hour)
	trim(1) // the request: the e-mail still waits
	e.run(t)
	e.awaitTries(t, 1)
	trim(1)
	e.clock.advance(7 * 24 * time.Hour)
	trim(1)
}

func TestNewNeedsEverything(t *testing.T) {
	t.Parallel()
	_, err := alerts.New(alerts.Config{})
	require.ErrorContains(t, err, "are required")
}
