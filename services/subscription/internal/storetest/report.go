package storetest

import (
	"context"
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/services/subscription/internal/core"
)

func checkOutbox(t *testing.T, s *suite) {
	ctx := t.Context()
	s.tenants(t, "acme")
	var ids []string
	for range 5 {
		w := s.webhook(t, "acme")
		ids = append(ids, w.ID)
		require.NoError(t, s.DeleteWebhook(ctx, "acme", w.ID, func(core.Webhook) error { return nil }))
	}
	var seen []core.OutboxEvent
	relay := func(limit, stopAt int) (int, error) {
		given := 0
		return s.RelayOutbox(ctx, limit, func(ctx context.Context, e core.OutboxEvent) error {
			if given++; given == stopAt {
				return errStop
			}
			seen = append(seen, e)
			// While one works, nobody else does, nor waits for it.
			ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
			defer cancel()
			n, err := s.RelayOutbox(ctx, limit, func(context.Context, core.OutboxEvent) error { return errStop })
			require.Zero(t, n)
			return err
		})
	}
	n, err := relay(2, 0)
	require.NoError(t, err)
	require.Equal(t, 2, n)
	n, err = relay(10, 2)
	require.ErrorIs(t, err, errStop)
	require.Equal(t, 1, n, "what was taken before the failure is done")
	n, err = relay(10, 0)
	require.NoError(t, err)
	require.Equal(t, 2, n)
	n, err = relay(10, 0)
	require.NoError(t, err)
	require.Zero(t, n)
	require.Len(t, seen, len(ids), "each once")
	unique := make(map[string]bool)
	for i, event := range seen {
		require.Equal(t, "acme", event.Organization)
		require.Equal(t, core.TriggerWebhookDeleted, event.Trigger)
		require.True(t, json.Valid(event.Data))
		require.Contains(t, string(event.Data), ids[i], "in their order")
		requireStored(t, event.Time)
		unique[event.ID] = true
	}
	require.Len(t, unique, len(ids))
}

// alerting stores a webhook of acme with alert addresses.
func (s *suite) alerting(t *testing.T) core.Webhook {
	t.Helper()
	w := s.newWebhook("acme")
	w.DisplayName, w.AlertEmails = writing, []string{"one@example.com", "two@example.com"}
	return s.insert(t, w)
}

func report(w core.Webhook, level core.HealthLevel) core.HealthReport {
	return core.HealthReport{
		Organization: w.Organization, Webhook: w.ID, Generation: w.Generation, Level: level, Reason: "consecutive_failures",
		ConsecutiveFailures: 7, FailingSince: w.CreateTime, LastStatus: 503, LastErrorClass: "status",
	}
}

func checkHealth(t *testing.T, s *suite) {
	ctx := t.Context()
	s.tenants(t, "acme")
	w := s.alerting(t)
	// What only warns changes nothing but the queue of e-mails, once.
	for _, level := range []core.HealthLevel{core.HealthFirstLastingFailure, core.HealthHalfOfThreshold} {
		s.leaves(t, traces{}, func() {
			for _, want := range []bool{true, false} {
				changed, err := s.ReportHealth(ctx, report(w, level), true)
				require.NoError(t, err)
				require.Equal(t, want, changed, level)
			}
		})
	}
	results := make([]bool, 8)
	s.leaves(t, traces{
		audit: []string{"disable " + w.Name()}, feed: [][]string{{"webhook " + w.ID}}, events: []string{core.TriggerWebhookDisabled},
	}, func() {
		for _, err := range together(len(results), func(i int) (err error) {
			results[i], err = s.ReportHealth(ctx, report(w, core.HealthDisable), true)
			return err
		}) {
			require.NoError(t, err)
		}
	})
	require.Len(t, slices.DeleteFunc(results, func(changed bool) bool { return !changed }), 1, "one of them has disabled it")
	got, err := s.Webhook(ctx, "acme", w.ID)
	require.NoError(t, err)
	require.Equal(t, core.StatusDisabled, got.Status)
	require.Equal(t, "consecutive_failures", got.StatusReason)
	require.Equal(t, w.Generation, got.Generation)
	requireStored(t, got.StatusTime, got.UpdateTime)
	mails, err := s.TakeMail(ctx, time.Minute, 10)
	require.NoError(t, err)
	require.Len(t, mails, 3)
	levels := make(map[core.HealthLevel]bool)
	for _, m := range mails {
		levels[m.Alert.Level] = true
		require.Equal(t, w.AlertEmails, m.Recipients)
		require.Equal(t, writing, m.Alert.WebhookName)
		require.Equal(t, w.ID, m.Alert.Webhook)
		require.EqualValues(t, 503, m.Alert.LastStatus)
		require.Equal(t, 1, m.Attempts)
		requireStored(t, m.CreateTime, m.Alert.FailingSince)
	}
	require.Len(t, levels, 3)

	// One for a reason in an hour, whatever began meanwhile.
	other := s.alerting(t)
	for _, try := range []struct {
		wait time.Duration
		want bool
	}{{0, true}, {30 * time.Minute, false}, {31 * time.Minute, true}} {
		s.clock.advance(try.wait)
		r := report(other, core.HealthFirstLastingFailure)
		r.FailingSince = s.stored()
		changed, err := s.ReportHealth(ctx, r, true)
		require.NoError(t, err)
		require.Equal(t, try.want, changed, try.wait)
	}
}

func checkHealthWithoutEffect(t *testing.T, s *suite) {
	ctx := t.Context()
	s.tenants(t, "acme")
	w, off := s.alerting(t), s.newWebhook("acme")
	off.FailureThreshold = &core.FailureThreshold{Off: true}
	off = s.insert(t, off)
	paused := s.newWebhook("acme")
	paused.Status, paused.AlertEmails = core.StatusPaused, w.AlertEmails
	paused = s.insert(t, paused)
	silent := s.webhook(t, "acme")
	earlier, gone, odd, nobody := w, w, w, w
	earlier.Generation, gone.ID, odd.ID, nobody.Organization = 0, uuid.NewString(), "x", "nobody"
	s.leaves(t, traces{}, func() {
		for name, r := range map[string]core.HealthReport{
			"of an earlier generation": report(earlier, core.HealthDisable), "gone": report(gone, core.HealthDisable), "no id": report(odd, core.HealthDisable),
			"of nobody": report(nobody, core.HealthDisable), "never disabled": report(off, core.HealthDisable), "paused": report(paused, core.HealthDisable),
			"warning of an earlier generation": report(earlier, core.HealthHalfOfThreshold), "warning about what is gone": report(gone, core.HealthHalfOfThreshold),
			"warning about no id": report(odd, core.HealthHalfOfThreshold), "no addresses": report(silent, core.HealthHalfOfThreshold),
		} {
			changed, err := s.ReportHealth(ctx, r, true)
			require.NoError(t, err, name)
			require.False(t, changed, name)
		}
		changed, err := s.ReportHealth(ctx, report(w, core.HealthHalfOfThreshold), false)
		require.NoError(t, err)
		require.False(t, changed, "without e-mails nobody is warned")
	})
	mails, err := s.TakeMail(ctx, time.Minute, 10)
	require.NoError(t, err)
	require.Empty(t, mails)
}

func checkDeadLetters(t *testing.T, s *suite) {
	ctx := t.Context()
	s.tenants(t, "acme")
	w, other := s.webhook(t, "acme"), s.webhook(t, "acme")
	minute := s.stored().Truncate(time.Minute)
	count := func(webhook, reason string, at time.Time) core.DeadLetterCount {
		return core.DeadLetterCount{Organization: "acme", Webhook: webhook, Reason: reason, Minute: at, Count: 3}
	}
	counts := []core.DeadLetterCount{
		count(w.ID, "exhausted", minute.Add(time.Second)), count(w.ID, "exhausted", minute.Add(2*time.Second)), count(w.ID, "gone", minute),
		count(w.ID, "exhausted", minute.Add(time.Minute)), count(other.ID, "exhausted", minute), count(uuid.NewString(), "exhausted", minute),
	}
	for _, err := range together(6, func(i int) error {
		if i%2 == 0 {
			return s.ReportDeadLetters(ctx, counts)
		}
		backwards := slices.Clone(counts)
		slices.Reverse(backwards)
		return s.ReportDeadLetters(ctx, backwards)
	}) {
		require.NoError(t, err)
	}
	require.NoError(t, s.ReportDeadLetters(ctx, nil))
	events := s.drain(t)
	require.Len(t, events, 4, "one for each webhook, reason and minute")
	require.NoError(t, s.ReportDeadLetters(ctx, counts))
	require.Empty(t, s.drain(t), "also after it was published")
	for _, event := range events {
		require.Equal(t, core.TriggerDeadLettered, event.Trigger)
		var data struct{ Count int64 }
		require.NoError(t, json.Unmarshal(event.Data, &data))
		require.Positive(t, data.Count)
	}
	expiring := []core.DeadLetterCount{
		{Organization: "acme", Webhook: w.ID, Reason: "expiring", Minute: minute, Count: 7, Expiring: true},
		{Organization: "acme", Webhook: uuid.NewString(), Reason: "expiring", Minute: minute, Count: 7, Expiring: true},
	}
	require.NoError(t, s.ReportDeadLetters(ctx, expiring))
	expiring[0].Count = 5 // some were replayed, and another instance counts
	require.NoError(t, s.ReportDeadLetters(ctx, expiring))
	events = s.drain(t)
	require.Len(t, events, 1, "one for each webhook and day")
	require.Equal(t, core.TriggerExpiring, events[0].Trigger)
	require.Equal(t, w.ID+":expiring:"+minute.UTC().Format(time.RFC3339), events[0].ID)
	var data struct {
		Day     time.Time
		Count   int64
		Webhook struct{ ID string }
	}
	require.NoError(t, json.Unmarshal(events[0].Data, &data))
	require.EqualValues(t, 7, data.Count)
	require.Equal(t, w.ID, data.Webhook.ID)
	require.True(t, minute.Equal(data.Day))
}

func checkMail(t *testing.T, s *suite) {
	ctx := t.Context()
	s.tenants(t, "acme")
	for range 2 {
		_, err := s.ReportHealth(ctx, report(s.alerting(t), core.HealthFirstLastingFailure), true)
		require.NoError(t, err)
	}
	take := func(want, attempts int) []core.Mail {
		t.Helper()
		mails, err := s.TakeMail(ctx, time.Minute, 10)
		require.NoError(t, err)
		require.Len(t, mails, want)
		for _, m := range mails {
			require.Equal(t, attempts, m.Attempts)
		}
		return mails
	}
	first := take(2, 1)
	take(0, 0)
	s.clock.advance(2 * time.Minute)
	second := take(2, 2) // who had them has died
	for _, late := range first {
		require.NoError(t, s.SettleMail(ctx, late, time.Time{}), "it is not this one's to settle any more")
	}
	s.clock.advance(2 * time.Minute)
	third := take(2, 3)
	require.ElementsMatch(t, ids(second), ids(third))
	left := third[0]
	left.Recipients = left.Recipients[1:]
	require.NoError(t, s.SettleMail(ctx, left, s.clock.Now().Add(time.Hour)))
	require.NoError(t, s.SettleMail(ctx, third[1], time.Time{}))
	s.clock.advance(59 * time.Minute)
	take(0, 0)
	s.clock.advance(2 * time.Minute)
	fourth := take(1, 4)
	require.Equal(t, left.ID, fourth[0].ID)
	require.Equal(t, left.Recipients, fourth[0].Recipients, "only who did not get it")
	require.NoError(t, s.SettleMail(ctx, fourth[0], time.Time{}))
	s.clock.advance(100 * time.Hour)
	take(0, 0)
}

func ids(mails []core.Mail) (ids []string) {
	for _, m := range mails {
		ids = append(ids, m.ID)
	}
	return ids
}

func checkMailAtOnce(t *testing.T, s *suite) {
	const many = 8
	s.tenants(t, "acme")
	for range many {
		_, err := s.ReportHealth(t.Context(), report(s.alerting(t), core.HealthFirstLastingFailure), true)
		require.NoError(t, err)
	}
	taken := make([][]core.Mail, many)
	for _, err := range together(many, func(i int) (err error) {
		taken[i], err = s.TakeMail(t.Context(), time.Minute, 3)
		return err
	}) {
		require.NoError(t, err)
	}
	rest, err := s.TakeMail(t.Context(), time.Minute, many)
	require.NoError(t, err)
	seen := make(map[string]bool)
	for _, mails := range append(taken, rest) {
		for _, m := range mails {
			require.False(t, seen[m.ID], "an e-mail was given to two")
			seen[m.ID] = true
		}
	}
	require.Len(t, seen, many)
}
