package pgstore_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/meetwire/meetwire/pkg/fault"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	"github.com/meetwire/meetwire/services/delivery/internal/pgstore"
)

func TestOtherOrganizationsDeliveryIsNotFound(t *testing.T) {
	t.Parallel()
	store, _ := setup(t)
	record := newRecord()
	require.NoError(t, write(t, store, []*deliveryv1.Record{record}))
	for organization, id := range map[string]uuid.UUID{
		"globex": uuid.MustParse(record.GetDelivery()),
		"":       uuid.MustParse(record.GetDelivery()),
		"acme":   uuid.New(),
	} {
		_, err := store.Delivery(newContext(t), organization, id)
		require.True(t, fault.Is(err, fault.NotFound), "%q: %v", organization, err)
		_, _, err = store.Attempts(newContext(t), organization, id, pgstore.AttemptCursor{}, 10)
		require.True(t, fault.Is(err, fault.NotFound), "%q: %v", organization, err)
	}
	page, _, err := store.Deliveries(newContext(t), "globex", pgstore.Filter{}, pgstore.FirstDeliveries(), 10)
	require.NoError(t, err)
	require.Empty(t, page)
}

// names returns the names of deliveries.
func names(page []*deliveryv1.Delivery) []string {
	out := make([]string, len(page))
	for i, d := range page {
		out[i] = d.GetName()
	}
	return out
}

func TestFiltersSelect(t *testing.T) {
	t.Parallel()
	store, _ := setup(t)
	base := newRecord()
	vary := func(change func(*deliveryv1.Record)) *deliveryv1.Record {
		record := newRecord()
		record.Webhook = base.GetWebhook()
		change(record)
		return record
	}
	webhook := vary(func(r *deliveryv1.Record) { r.Webhook = uuid.NewString() })
	trigger := vary(func(r *deliveryv1.Record) { r.Trigger = "meeting.canceled" })
	source := vary(func(r *deliveryv1.Record) { r.EventSource = "/other" })
	event := vary(func(r *deliveryv1.Record) { r.EventId = "bk_2" })
	state := vary(func(r *deliveryv1.Record) { r.State = deliveryv1.Delivery_STATE_DEAD_LETTERED })
	failed := vary(func(r *deliveryv1.Record) {
		r.Attempt.StatusCode, r.Attempt.ErrorClass, r.EventSequence = 503, "status", 99
		r.AcceptTime = timestamppb.New(accepted().Add(time.Hour)) // on the next day
	})
	foreign := vary(func(r *deliveryv1.Record) { r.Organization, r.EventId = "globex", "bk_2" })
	all := []*deliveryv1.Record{base, webhook, trigger, source, event, state, failed}
	require.NoError(t, write(t, store, append([]*deliveryv1.Record{foreign}, all...)))

	id := uuid.MustParse(webhook.GetWebhook())
	dead := int16(deliveryv1.Delivery_STATE_DEAD_LETTERED)
	code, class, sequence, soon := int32(503), "status", int64(99), accepted().Add(time.Minute)
	midnight := accepted().Truncate(24 * time.Hour).Add(24 * time.Hour)
	for name, test := range map[string]struct {
		filter pgstore.Filter
		want   []*deliveryv1.Record
	}{
		"nothing":        {want: all},
		"webhook":        {filter: pgstore.Filter{Webhook: &id}, want: []*deliveryv1.Record{webhook}},
		"trigger":        {filter: pgstore.Filter{Trigger: &trigger.Trigger}, want: []*deliveryv1.Record{trigger}},
		"event_source":   {filter: pgstore.Filter{EventSource: &source.EventSource}, want: []*deliveryv1.Record{source}},
		"event_id":       {filter: pgstore.Filter{EventID: &event.EventId}, want: []*deliveryv1.Record{event}},
		"state":          {filter: pgstore.Filter{State: &dead}, want: []*deliveryv1.Record{state}},
		"two":            {filter: pgstore.Filter{State: &dead, EventID: &state.EventId}, want: []*deliveryv1.Record{state}},
		"status code":    {filter: pgstore.Filter{StatusCode: &code}, want: []*deliveryv1.Record{failed}},
		"error class":    {filter: pgstore.Filter{ErrorClass: &class}, want: []*deliveryv1.Record{failed}},
		"sequence":       {filter: pgstore.Filter{Sequence: &sequence}, want: []*deliveryv1.Record{failed}},
		"since":          {filter: pgstore.Filter{Since: &soon}, want: []*deliveryv1.Record{failed}},
		"until":          {filter: pgstore.Filter{Until: &soon}, want: all[:len(all)-1]},
		"until midnight": {filter: pgstore.Filter{Until: &midnight}, want: all[:len(all)-1]},
		"none matches":   {filter: pgstore.Filter{State: &dead, EventID: &event.EventId}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			page, _, err := store.Deliveries(newContext(t), "acme", test.filter, pgstore.FirstDeliveries(), 100)
			require.NoError(t, err)
			want := make([]string, len(test.want))
			for i, record := range test.want {
				want[i] = wanted(record).GetName()
			}
			require.ElementsMatch(t, want, names(page))
		})
	}
}

// TestPagesGoToTheEndWhileOthersAreWritten lists page by page: what was there at the beginning comes exactly once,
// whatever is stored meanwhile.
func TestPagesGoToTheEndWhileOthersAreWritten(t *testing.T) {
	t.Parallel()
	store, _ := setup(t)
	const count, size = 23, 4
	var records []*deliveryv1.Record
	for i := range count {
		record := acceptedOn(accepted().AddDate(0, 0, -i%3))
		record.EventSequence = int64(1000 + i/5) // several deliveries of one event
		records = append(records, record)
	}
	require.NoError(t, write(t, store, records))
	slices.SortFunc(records, func(a, b *deliveryv1.Record) int {
		if a.GetEventSequence() != b.GetEventSequence() {
			return int(b.GetEventSequence() - a.GetEventSequence())
		}
		x, y := uuid.MustParse(a.GetDelivery()), uuid.MustParse(b.GetDelivery())
		return slices.Compare(y[:], x[:])
	})
	want := make([]string, len(records))
	for i, record := range records {
		want[i] = wanted(record).GetName()
	}

	var got []string
	after := pgstore.FirstDeliveries()
	for {
		page, end, err := store.Deliveries(newContext(t), "acme", pgstore.Filter{}, after, size)
		require.NoError(t, err)
		got = append(got, names(page)...)
		if len(page) < size {
			break
		}
		after = end
		newer := newRecord()
		newer.EventSequence = int64(2000 + len(got))
		changed := next(records[0], deliveryv1.Delivery_STATE_DROPPED)
		require.NoError(t, write(t, store, []*deliveryv1.Record{newer, changed}))
	}
	require.Equal(t, want, got)
}

func TestPageAfterTheLastIsEmpty(t *testing.T) {
	t.Parallel()
	store, _ := setup(t)
	require.NoError(t, write(t, store, []*deliveryv1.Record{newRecord()}))
	_, end, err := store.Deliveries(newContext(t), "acme", pgstore.Filter{}, pgstore.FirstDeliveries(), 1)
	require.NoError(t, err)
	page, again, err := store.Deliveries(newContext(t), "acme", pgstore.Filter{}, end, 1)
	require.NoError(t, err)
	require.Empty(t, page)
	require.Equal(t, end, again)
}

func TestAttemptsComeInPagesOldestFirst(t *testing.T) {
	t.Parallel()
	store, _ := setup(t)
	const count, size = 11, 3
	records := []*deliveryv1.Record{newRecord()}
	for range count - 1 {
		records = append(records, next(records[len(records)-1], deliveryv1.Delivery_STATE_PENDING))
	}
	// Two that began in the same microsecond, as after a clock was set back.
	records[5].Attempt.StartTime = timestamppb.New(records[4].GetAttempt().GetStartTime().AsTime().Add(time.Nanosecond))
	backwards := slices.Clone(records)
	slices.Reverse(backwards)
	require.NoError(t, write(t, store, backwards))

	var got []string
	var after pgstore.AttemptCursor
	for {
		page, end, err := store.Attempts(newContext(t), "acme", uuid.MustParse(records[0].GetDelivery()), after, size)
		require.NoError(t, err)
		for _, attempt := range page {
			got = append(got, fmt.Sprint(attempt.GetNumber(), attempt.GetName()))
		}
		if len(page) < size {
			break
		}
		after = end
	}
	want := make([]string, count)
	for i, record := range records {
		want[i] = fmt.Sprint(record.GetAttempt().GetNumber(), wantedAttempt(record).GetName())
	}
	require.Equal(t, want, got)
}
