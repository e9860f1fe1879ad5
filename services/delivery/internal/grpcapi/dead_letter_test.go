package grpcapi_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/meetwire/meetwire/pkg/audit"
	"github.com/meetwire/meetwire/pkg/fault"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
	"github.com/meetwire/meetwire/services/delivery/internal/grpcapi"
	"github.com/meetwire/meetwire/services/delivery/internal/natsbus"
)

const letterName = "organizations/acme/deadLetters/" + deliveryID

func letter(sequence uint64) *natsbus.DeadLetter {
	return &natsbus.DeadLetter{
		Sequence: sequence,
		Reason:   core.ReasonAttemptsExhausted,
		DeadAt:   time.Date(2026, 3, 15, 0, 0, 0, 1, time.UTC),
		Expires:  time.Date(2026, 4, 14, 0, 0, 1, 0, time.UTC),
		Task: &core.Task{
			Delivery: deliveryID, Organization: "acme", Webhook: webhookID, Lane: "meeting-booked", Trigger: "meeting.booked",
			EventSource: "/booking", EventID: "bk_ü", EventSequence: 7, Attempts: 10,
			AcceptedAt: time.Date(2026, 3, 14, 0, 0, 0, 0, time.UTC), Event: []byte(`{"id": "bk_ü"}`),
		},
	}
}

// message is what letter looks like in a list.
func message() *deliveryv1.DeadLetter {
	return &deliveryv1.DeadLetter{
		Name: letterName, Webhook: "organizations/acme/webhooks/" + webhookID, Trigger: "meeting.booked",
		EventSource: "/booking", EventId: "bk_ü", EventSequence: 7, Reason: "attempts_exhausted", AttemptCount: 10,
		AcceptTime:     timestamppb.New(time.Date(2026, 3, 14, 0, 0, 0, 0, time.UTC)),
		DeadLetterTime: timestamppb.New(time.Date(2026, 3, 15, 0, 0, 0, 1, time.UTC)),
		ExpireTime:     timestamppb.New(time.Date(2026, 4, 14, 0, 0, 1, 0, time.UTC)),
	}
}

func TestOnlyGetReturnsTheEvent(t *testing.T) {
	t.Parallel()
	letters := &fakeLetters{letters: []*natsbus.DeadLetter{letter(3)}}
	attempts := &fakeAttempts{}
	for n := range int32(120) {
		attempts.attempts = append(attempts.attempts, &deliveryv1.Attempt{Number: n + 1, ResponseBody: []byte("no")})
	}
	api := &grpcapi.DeadLetters{Letters: letters, Attempts: attempts}
	list, err := api.ListDeadLetters(t.Context(), &deliveryv1.ListDeadLettersRequest{Parent: "organizations/acme"})
	require.NoError(t, err)
	require.Len(t, list.GetDeadLetters(), 1)
	require.True(t, proto.Equal(message(), list.GetDeadLetters()[0]), "%v", list)

	one, err := api.GetDeadLetter(t.Context(), &deliveryv1.GetDeadLetterRequest{Name: letterName})
	require.NoError(t, err)
	want := message()
	want.Event = `{"id": "bk_ü"}`
	want.Attempts = attempts.attempts
	require.True(t, proto.Equal(want, one), "%v", one)
	require.Equal(t, "acme", letters.organization)
	require.Equal(t, deliveryID, letters.delivery)

	for _, away := range []error{fault.New(fault.Unavailable, "DATABASE_UNAVAILABLE", "away"), fault.New(fault.NotFound, "NOT_FOUND", "none")} {
		attempts.err = away
		one, err = api.GetDeadLetter(t.Context(), &deliveryv1.GetDeadLetterRequest{Name: letterName})
		require.NoError(t, err, "the stream is enough")
		require.Empty(t, one.GetAttempts())
		require.NotEmpty(t, one.GetEvent())
	}
}

func TestLastAnswersOfADeadLetterStayWhole(t *testing.T) {
	t.Parallel()
	attempts := &fakeAttempts{}
	for n := range int32(42) {
		attempts.attempts = append(attempts.attempts, &deliveryv1.Attempt{
			Number: n + 1, StatusCode: 500, RequestBody: make([]byte, 300<<10), ResponseBody: []byte("no"),
			ResponseHeaders: []*deliveryv1.Header{{Name: "a", Value: "b"}},
		})
	}
	api := &grpcapi.DeadLetters{Letters: &fakeLetters{letters: []*natsbus.DeadLetter{letter(3)}}, Attempts: attempts}
	get := func() []*deliveryv1.Attempt {
		one, err := api.GetDeadLetter(t.Context(), &deliveryv1.GetDeadLetterRequest{Name: letterName})
		require.NoError(t, err)
		require.Less(t, proto.Size(one), 4<<20)
		return one.GetAttempts()
	}
	all := get()
	require.Len(t, all, 42)
	for n, attempt := range all {
		require.EqualValues(t, n+1, attempt.GetNumber())
		require.EqualValues(t, 500, attempt.GetStatusCode())
		if n < 42-6 { // six of them are less than two MiB
			require.Empty(t, attempt.GetRequestBody(), "attempt %d", n+1)
			require.Empty(t, attempt.GetResponseText(), "attempt %d", n+1)
			require.Empty(t, attempt.GetResponseHeaders(), "attempt %d", n+1)
			continue
		}
		require.Len(t, attempt.GetRequestBody(), 300<<10, "attempt %d", n+1)
		require.Equal(t, "no", attempt.GetResponseText(), "attempt %d", n+1)
	}
	attempts.attempts = []*deliveryv1.Attempt{{Number: 1, RequestBody: make([]byte, 3<<20)}}
	require.NotEmpty(t, get()[0].GetRequestBody(), "the last one always does")
}

func TestReplay(t *testing.T) {
	t.Parallel()
	letters := &fakeLetters{letters: []*natsbus.DeadLetter{letter(3)}}
	work, fake := newWork()
	api := &grpcapi.DeadLetters{Work: work, Letters: letters}
	response, err := api.ReplayDeadLetter(t.Context(), &deliveryv1.ReplayDeadLetterRequest{Name: letterName})
	require.NoError(t, err)
	require.Equal(t, "organizations/acme/deliveries/"+deliveryID, response.GetDelivery())
	require.Equal(t, "acme", letters.organization)
	require.Equal(t, deliveryID, letters.delivery)
	require.Equal(t, 1, letters.replayed)
	require.Len(t, fake.actions, 1)
	require.Equal(t, []string{"acme", audit.Replay, letterName}, []string{fake.actions[0].Organization, fake.actions[0].Action, fake.actions[0].Resource})

	fake.refused = fault.New(fault.Unavailable, "AWAY", "away")
	_, err = api.ReplayDeadLetter(t.Context(), &deliveryv1.ReplayDeadLetterRequest{Name: letterName})
	require.ErrorIs(t, err, fake.refused)
	require.Equal(t, 1, letters.replayed, "what cannot be recorded is not done")

	for status, reason := range map[core.Status]string{core.StatusPaused: "WEBHOOK_NOT_ACTIVE", core.StatusDisabled: "WEBHOOK_NOT_ACTIVE"} {
		work.Configuration = fakeConfiguration{webhookID: status}
		_, err = api.ReplayDeadLetter(t.Context(), &deliveryv1.ReplayDeadLetterRequest{Name: letterName})
		require.True(t, fault.Is(err, fault.FailedPrecondition), "%v", err)
		require.Equal(t, reason, fault.From(err).Reason)
	}
	work.Configuration = fakeConfiguration{}
	_, err = api.ReplayDeadLetter(t.Context(), &deliveryv1.ReplayDeadLetterRequest{Name: letterName})
	require.Equal(t, "WEBHOOK_DELETED", fault.From(err).Reason)
	require.Equal(t, 1, letters.replayed)
}

func TestErrorsOfTheDeadLettersPassThrough(t *testing.T) {
	t.Parallel()
	for _, want := range []error{
		fault.New(fault.NotFound, "DEAD_LETTER_NOT_FOUND", "no such dead letter"),
		fault.New(fault.FailedPrecondition, "WEBHOOK_DELETED", "the webhook was deleted"),
		fault.New(fault.ResourceExhausted, "STREAM_FULL", "the stream is full"),
		fault.New(fault.Unavailable, "STREAM_UNAVAILABLE", "the stream is not available"),
	} {
		work, _ := newWork()
		api := &grpcapi.DeadLetters{Work: work, Letters: &fakeLetters{err: want}}
		_, err := api.ReplayDeadLetter(t.Context(), &deliveryv1.ReplayDeadLetterRequest{Name: letterName})
		require.ErrorIs(t, err, want)
		_, err = api.GetDeadLetter(t.Context(), &deliveryv1.GetDeadLetterRequest{Name: letterName})
		require.ErrorIs(t, err, want)
		_, err = api.ListDeadLetters(t.Context(), &deliveryv1.ListDeadLettersRequest{Parent: "organizations/acme"})
		require.ErrorIs(t, err, want)
	}
}

func TestBadNamesOfDeadLettersAreRefused(t *testing.T) {
	t.Parallel()
	api := &grpcapi.DeadLetters{} // must not be asked
	for _, name := range badNames("deadLetters") {
		_, err := api.GetDeadLetter(t.Context(), &deliveryv1.GetDeadLetterRequest{Name: name})
		requireInvalid(t, err, "name", name)
		_, err = api.ReplayDeadLetter(t.Context(), &deliveryv1.ReplayDeadLetterRequest{Name: name})
		requireInvalid(t, err, "name", name)
	}
	for _, parent := range badParents() {
		_, err := api.ListDeadLetters(t.Context(), &deliveryv1.ListDeadLettersRequest{Parent: parent})
		requireInvalid(t, err, "parent", parent)
	}
}

func TestFilterOfDeadLetters(t *testing.T) {
	t.Parallel()
	letters := &fakeLetters{}
	api := &grpcapi.DeadLetters{Letters: letters}
	_, err := api.ListDeadLetters(t.Context(), &deliveryv1.ListDeadLettersRequest{
		Parent: "organizations/acme",
		Filter: `webhook = "organizations/acme/webhooks/` + webhookID + `" AND trigger = "custom.thing"`,
	})
	require.NoError(t, err)
	require.Equal(t, natsbus.Selection{Organization: "acme", Webhook: webhookID, Trigger: "custom.thing"}, letters.selected)

	_, err = api.ListDeadLetters(t.Context(), &deliveryv1.ListDeadLettersRequest{
		Parent: "organizations/acme",
		Filter: `reason = "poison" AND event_id = "a.b *" AND delivery = "` + deliveryID + `" AND dead_letter_time >= "2026-03-01T00:00:00Z" AND dead_letter_time < "2026-04-01T02:00:00+02:00"`,
	})
	require.NoError(t, err)
	require.Equal(t, natsbus.Selection{
		Organization: "acme", Reason: "poison", EventID: "a.b *", Delivery: deliveryID,
		Since: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC), Before: time.Date(2026, 4, 1, 0, 0, 0, 0, time.UTC),
	}, letters.selected)

	for filter, want := range map[string]natsbus.Selection{
		"": {},
		`webhook = "organizations/globex/webhooks/` + webhookID + `"`: {Organization: "globex", Webhook: webhookID},
	} {
		_, err = api.ListDeadLetters(t.Context(), &deliveryv1.ListDeadLettersRequest{Parent: "organizations/-", Filter: filter})
		require.NoError(t, err)
		require.Equal(t, want, letters.selected)
	}
}

func TestOperationsOnDeadLettersBegin(t *testing.T) {
	t.Parallel()
	work, fake := newWork()
	api := &grpcapi.DeadLetters{Work: work, Letters: &fakeLetters{}}
	replay := &deliveryv1.ReplayDeadLettersRequest{Parent: "organizations/acme", Filter: `reason = "poison"`, RequestId: deliveryID}
	begun, err := api.ReplayDeadLetters(t.Context(), replay)
	require.NoError(t, err)
	require.Equal(t, "replay_dead_letters", begun.GetType())
	require.False(t, begun.GetDryRun())
	require.InDelta(t, 100, begun.GetRate(), 0)
	require.JSONEq(t, `{"organization":"acme","reason":"poison","until":77,"revision":9}`, string(fake.begun[0].Parameters))
	_, err = api.ReplayDeadLetters(t.Context(), replay)
	require.NoError(t, err)
	require.Equal(t, fake.actions[0], fake.actions[1], "repeated, it is one action")
	require.Equal(t, map[string]any{"filter": `reason = "poison"`}, fake.actions[0].Details)

	begun, err = api.PurgeDeadLetters(t.Context(), &deliveryv1.PurgeDeadLettersRequest{Parent: "organizations/-", Filter: "*"})
	require.NoError(t, err)
	require.Equal(t, []any{"purge_dead_letters", true, "organizations/-"}, []any{begun.GetType(), begun.GetDryRun(), begun.GetTarget()})
	require.Empty(t, fake.begun[2].Organization)
	require.Equal(t, []string{audit.Purge, "organizations/-", ""}, []string{fake.actions[2].Action, fake.actions[2].Resource, fake.actions[2].Organization})
	begun, err = api.PurgeDeadLetters(t.Context(), &deliveryv1.PurgeDeadLettersRequest{Parent: "organizations/acme", Filter: "*", Force: true})
	require.NoError(t, err)
	require.False(t, begun.GetDryRun())

	_, err = api.PurgeDeadLetters(t.Context(), &deliveryv1.PurgeDeadLettersRequest{Parent: "organizations/acme", Force: true})
	requireInvalid(t, err, "filter", "")
	_, err = api.ReplayDeadLetters(t.Context(), &deliveryv1.ReplayDeadLettersRequest{Parent: "organizations/nobody"})
	require.True(t, fault.Is(err, fault.NotFound), "%v", err)
	_, err = api.ReplayDeadLetters(t.Context(), &deliveryv1.ReplayDeadLettersRequest{Parent: "organizations/acme", Filter: "state = x"})
	requireInvalid(t, err, "filter", "state = x")
	for _, parent := range badParents() {
		_, err = api.PurgeDeadLetters(t.Context(), &deliveryv1.PurgeDeadLettersRequest{Parent: parent, Filter: "*"})
		requireInvalid(t, err, "parent", parent)
	}
	require.Len(t, fake.begun, 4)
}

func TestBadFiltersOfDeadLettersAreRefused(t *testing.T) {
	t.Parallel()
	api := &grpcapi.DeadLetters{} // must not be asked
	for _, filter := range []string{
		"trigger", `trigger != a.b`, `trigger = "*"`, `trigger = ">"`, `trigger = "a b"`, `trigger = booked`, `trigger = "meeting..booked"`,
		`state = STATE_PENDING`, "((", "*", `reason = ""`, `event_id = ""`, `delivery = "*"`, `delivery = "0198A1B2-C3D4-5E5F-8A6B-0C1D2E3F4A5B"`,
		`dead_letter_time > "2026-03-01T00:00:00Z"`, `dead_letter_time >= "yesterday"`,
		`webhook = "*"`, `webhook = "organizations/globex/webhooks/` + webhookID + `"`, `webhook = "organizations/acme/webhooks/*"`,
	} {
		_, err := api.ListDeadLetters(t.Context(), &deliveryv1.ListDeadLettersRequest{Parent: "organizations/acme", Filter: filter})
		requireInvalid(t, err, "filter", filter)
	}
}

func TestDeadLettersInPages(t *testing.T) {
	t.Parallel()
	letters := &fakeLetters{}
	for _, sequence := range []uint64{2, 3, 50, 51, 1000} { // others' are in between
		letters.letters = append(letters.letters, letter(sequence))
	}
	api := &grpcapi.DeadLetters{Letters: letters}
	request := &deliveryv1.ListDeadLettersRequest{Parent: "organizations/acme", PageSize: 2}
	got := 0
	for {
		page, err := api.ListDeadLetters(t.Context(), request)
		require.NoError(t, err)
		got += len(page.GetDeadLetters())
		if page.GetNextPageToken() == "" {
			break
		}
		request.PageToken = page.GetNextPageToken()
		for _, other := range []*deliveryv1.ListDeadLettersRequest{
			{Parent: "organizations/globex", PageToken: request.GetPageToken()},
			{Parent: "organizations/acme", Filter: "trigger = meeting.booked", PageToken: request.GetPageToken()},
			{Parent: "organizations/acme", PageToken: request.GetPageToken() + "="},
		} {
			_, err := (&grpcapi.DeadLetters{}).ListDeadLetters(t.Context(), other)
			requireInvalid(t, err, "page_token", other)
		}
	}
	require.Equal(t, 5, got)
	require.Equal(t, []int{2, 2, 2}, letters.sizes)

	request = &deliveryv1.ListDeadLettersRequest{Parent: "organizations/acme"}
	_, err := api.ListDeadLetters(t.Context(), request)
	require.NoError(t, err)
	require.Equal(t, 50, letters.sizes[len(letters.sizes)-1])
}
