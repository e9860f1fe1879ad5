package pgstore_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
	"github.com/meetwire/meetwire/services/delivery/internal/pgstore"
)

// took returns a record of an attempt of a webhook that began at a time, took so long, and ended in a class.
func took(webhook uuid.UUID, began time.Time, duration time.Duration, class string) *deliveryv1.Record {
	record := newRecord()
	record.Webhook = webhook.String()
	record.Attempt.StartTime, record.Attempt.Duration, record.Attempt.ErrorClass = timestamppb.New(began), durationpb.New(duration), class
	return record
}

func TestStatisticsByTheHour(t *testing.T) {
	t.Parallel()
	store, _ := setup(t)
	webhook, hour := uuid.New(), time.Date(2026, 3, 14, 22, 0, 0, 0, time.UTC)
	var records []*deliveryv1.Record
	for i := range 100 {
		class, duration := "", time.Duration(i+1)*time.Millisecond
		if i >= 90 {
			class = "timeout"
		}
		records = append(records, took(webhook, hour.Add(time.Duration(i)*time.Second), duration, class))
	}
	records = append(records, took(webhook, hour.Add(time.Hour), 15*time.Second, "status"), took(uuid.New(), hour, time.Hour, ""))
	dead := took(webhook, hour.Add(time.Hour), 0, "dns")
	dead.State, dead.Time = deliveryv1.Delivery_STATE_DEAD_LETTERED, timestamppb.New(hour.Add(90*time.Minute))
	records = append(records, dead)
	for range 2 { // what comes again counts once
		require.NoError(t, write(t, store, records[:50]))
		require.NoError(t, write(t, store, records))
	}

	got, err := store.Statistics(newContext(t), "acme", webhook, hour, hour.Add(24*time.Hour))
	require.NoError(t, err)
	require.Len(t, got, 2)
	first, second := got[0], got[1]
	require.Equal(t, hour, first.GetHour().AsTime())
	require.EqualValues(t, 100, first.GetAttemptCount())
	require.EqualValues(t, 90, first.GetSuccessCount())
	require.Equal(t, map[string]int64{"timeout": 10}, first.GetFailureCounts())
	for want, have := range map[time.Duration]*durationpb.Duration{
		50 * time.Millisecond: first.GetP50Duration(), 95 * time.Millisecond: first.GetP95Duration(), 99 * time.Millisecond: first.GetP99Duration(),
	} {
		require.InEpsilon(t, want, have.AsDuration(), 0.1)
	}
	require.Equal(t, map[string]int64{"status": 1, "dns": 1}, second.GetFailureCounts())
	require.EqualValues(t, 1, second.GetDeadLetterCount())
	require.InEpsilon(t, 15*time.Second, second.GetP99Duration().AsDuration(), 0.1)

	none, err := store.Statistics(newContext(t), "globex", webhook, hour, hour.Add(24*time.Hour))
	require.NoError(t, err)
	require.Empty(t, none, "of another organization")
	none, err = store.Statistics(newContext(t), "acme", webhook, hour.Add(2*time.Hour), hour.Add(24*time.Hour))
	require.NoError(t, err)
	require.Empty(t, none)

	_, err = store.Forget(newContext(t), hour.Add(time.Hour), hour.AddDate(0, 0, -1))
	require.NoError(t, err)
	got, err = store.Statistics(newContext(t), "acme", webhook, hour, hour.Add(24*time.Hour))
	require.NoError(t, err)
	require.Len(t, got, 1, "the older hour is forgotten")
	_, err = store.Purge(newContext(t), "acme")
	require.NoError(t, err)
	got, err = store.Statistics(newContext(t), "acme", webhook, hour, hour.Add(24*time.Hour))
	require.NoError(t, err)
	require.Empty(t, got)
}

func TestPayloadsGoBeforeTheirAttempts(t *testing.T) {
	t.Parallel()
	store, _ := setup(t)
	old, recent := acceptedOn(accepted().AddDate(0, 0, -3)), acceptedOn(accepted())
	require.NoError(t, write(t, store, []*deliveryv1.Record{old, recent}))
	for _, want := range []int{1, 0} {
		days, err := store.Forget(newContext(t), accepted().AddDate(0, 0, -30), accepted().AddDate(0, 0, -2))
		require.NoError(t, err)
		require.Equal(t, want, days)
	}
	kept := read(t, store, recent).attempts[0]
	require.NotEmpty(t, kept.GetRequestBody())
	emptied := read(t, store, old).attempts[0]
	require.Empty(t, emptied.GetRequestBody())
	require.Empty(t, emptied.GetRequestHeaders())
	require.Empty(t, emptied.GetResponseHeaders())
	require.Empty(t, emptied.GetResponseBody())
	require.Equal(t, old.GetAttempt().GetStatusCode(), emptied.GetStatusCode())
	// A late attempt of such a day is stored like others.
	late := next(old, deliveryv1.Delivery_STATE_SUCCEEDED)
	require.NoError(t, write(t, store, []*deliveryv1.Record{late}))
	require.Len(t, read(t, store, old).attempts, 2)
}

func TestLastAttemptOfADeliveryIsKnown(t *testing.T) {
	t.Parallel()
	store, _ := setup(t)
	failed := newRecord()
	failed.State = deliveryv1.Delivery_STATE_PENDING
	failed.Attempt.StatusCode, failed.Attempt.ErrorClass = 500, "status"
	dead := next(failed, deliveryv1.Delivery_STATE_DEAD_LETTERED)
	dead.Attempt, dead.AttemptCount = nil, 1
	requireLast := func(code int32, class string) {
		t.Helper()
		delivery := read(t, store, failed).delivery
		require.Equal(t, code, delivery.GetLastStatusCode())
		require.Equal(t, class, delivery.GetLastErrorClass())
	}
	require.NoError(t, write(t, store, []*deliveryv1.Record{failed, dead}))
	requireLast(500, "status")
	replayed := next(dead, deliveryv1.Delivery_STATE_PENDING)
	require.NoError(t, write(t, store, []*deliveryv1.Record{replayed}))
	requireLast(500, "status")
	again := next(failed, deliveryv1.Delivery_STATE_SUCCEEDED)
	again.Time = timestamppb.New(replayed.GetTime().AsTime().Add(time.Minute))
	again.Attempt.StatusCode, again.Attempt.ErrorClass = 204, ""
	require.NoError(t, write(t, store, []*deliveryv1.Record{again}))
	requireLast(204, "")
}

func TestAllAttemptsOfAnOrganization(t *testing.T) {
	t.Parallel()
	store, _ := setup(t)
	webhook, began := uuid.New(), accepted()
	ok, slow, refused := took(webhook, began, time.Second, ""), took(webhook, began.Add(time.Second), time.Second, "timeout"), took(uuid.New(), began.Add(2*time.Second), 0, "status")
	slow.Attempt.StatusCode, refused.Attempt.StatusCode = 0, 400
	foreign := took(uuid.New(), began, 0, "status")
	foreign.Organization = "globex"
	require.NoError(t, write(t, store, []*deliveryv1.Record{ok, slow, refused, foreign}))

	code, accepted, class, later, end := int32(400), int32(200), "timeout", began.Add(time.Second), began.Add(2*time.Second)
	for name, test := range map[string]struct {
		filter pgstore.AttemptFilter
		want   []*deliveryv1.Record // the newest first
	}{
		"all":         {want: []*deliveryv1.Record{refused, slow, ok}},
		"webhook":     {filter: pgstore.AttemptFilter{Webhook: &webhook}, want: []*deliveryv1.Record{slow, ok}},
		"status code": {filter: pgstore.AttemptFilter{StatusCode: &code}, want: []*deliveryv1.Record{refused}},
		"error class": {filter: pgstore.AttemptFilter{ErrorClass: &class}, want: []*deliveryv1.Record{slow}},
		"failed":      {filter: pgstore.AttemptFilter{Failed: true}, want: []*deliveryv1.Record{refused, slow}},
		"succeeded":   {filter: pgstore.AttemptFilter{Succeeded: true}, want: []*deliveryv1.Record{ok}},
		"since":       {filter: pgstore.AttemptFilter{Since: &later}, want: []*deliveryv1.Record{refused, slow}},
		"until":       {filter: pgstore.AttemptFilter{Until: &later}, want: []*deliveryv1.Record{ok}},
		"between":     {filter: pgstore.AttemptFilter{Since: &later, Until: &end}, want: []*deliveryv1.Record{slow}},
		"all that succeeded with a status of 2xx":   {filter: pgstore.AttemptFilter{StatusCode: &accepted, Succeeded: true}, want: []*deliveryv1.Record{ok}},
		"failed with a status":                      {filter: pgstore.AttemptFilter{StatusCode: &code, Failed: true}, want: []*deliveryv1.Record{refused}},
		"failed with a status of 2xx":               {filter: pgstore.AttemptFilter{StatusCode: &accepted, Failed: true}},
		"a class of errors with a status of 2xx":    {filter: pgstore.AttemptFilter{StatusCode: &accepted, ErrorClass: &class}},
		"succeeded with a status that is a failure": {filter: pgstore.AttemptFilter{StatusCode: &code, Succeeded: true}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got []*deliveryv1.Attempt
			for after := pgstore.LastAttempts(); ; {
				page, end, err := store.AllAttempts(newContext(t), "acme", test.filter, after, 1)
				require.NoError(t, err)
				if len(page) == 0 {
					break
				}
				got, after = append(got, page...), end
			}
			want := make([]*deliveryv1.Attempt, len(test.want))
			for i, record := range test.want {
				want[i] = wantedAttempt(record)
				want[i].RequestHeaders, want[i].RequestBody, want[i].ResponseHeaders, want[i].ResponseBody = nil, nil, nil, nil
			}
			requireEqual(t, want, got)
		})
	}
}

func TestStatisticsFollowTheRetentionOfAnOrganization(t *testing.T) {
	t.Parallel()
	store, _ := setup(t)
	midnight := accepted().Truncate(24 * time.Hour)
	short, other := uuid.New(), uuid.New()
	var records []*deliveryv1.Record
	for _, at := range []time.Time{midnight.Add(-49 * time.Hour), midnight.Add(-time.Nanosecond), midnight, midnight.Add(time.Hour)} {
		for _, webhook := range []uuid.UUID{short, other} {
			record := took(webhook, at, time.Second, core.ErrorStatus)
			record.State, record.Time = deliveryv1.Delivery_STATE_DEAD_LETTERED, timestamppb.New(at)
			if webhook == other {
				record.Organization = "other"
			}
			records = append(records, record)
		}
	}
	require.NoError(t, write(t, store, records))
	// Their deliveries were accepted later: there is none to remove.
	_, err := store.Retain(newContext(t), "acme", midnight.Add(5*time.Hour))
	require.NoError(t, err)
	for organization, want := range map[string]int{"acme": 2, "other": 4} {
		webhook := short
		if organization == "other" {
			webhook = other
		}
		got, err := store.Statistics(newContext(t), organization, webhook, midnight.AddDate(0, 0, -3), midnight.AddDate(0, 0, 3))
		require.NoError(t, err)
		require.Len(t, got, want, organization)
		for _, hour := range got {
			require.EqualValues(t, 1, hour.GetAttemptCount())
			require.EqualValues(t, 1, hour.GetDeadLetterCount())
		}
	}
}
