package pgstore_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/meetwire/meetwire/pkg/fault"
	ingestv1 "github.com/meetwire/meetwire/proto/gen/meetwire/ingest/v1"
	"github.com/meetwire/meetwire/services/ingest/internal/core"
	"github.com/meetwire/meetwire/services/ingest/internal/pgstore"
)

func TestNoteBecomesARow(t *testing.T) {
	t.Parallel()
	store, _ := setup(t)
	require.Equal(t, 1, write(t, store, with(newNote(7), func(n *ingestv1.FanOut) { n.SkippedCount, n.RejectRule = 2, "schema" })))
	got, err := store.Event(newContext(t), "acme", 7)
	require.NoError(t, err)
	require.Equal(t, core.Indexed{
		Sequence: 7, Organization: "acme", Trigger: "meeting.booked", Source: "/booking", ID: "bk_1", Subject: "mtg_1",
		Time: accepted().Add(-time.Hour).Truncate(time.Microsecond), Accepted: accepted().Add(7 * time.Second).Truncate(time.Microsecond),
		Matched: 3, Skipped: 2, RejectRule: "schema",
	}, got)
	_, err = store.Event(newContext(t), "beta", 7)
	require.True(t, fault.Is(err, fault.NotFound), "it is another organization's")
	_, err = store.Event(newContext(t), "acme", 8)
	require.True(t, fault.Is(err, fault.NotFound))

	// Nothing is required but what says which event it is, and there is text of every kind.
	bare := &ingestv1.FanOut{EventSequence: 1 << 62, Organization: "acme", AcceptTime: timestamppb.New(accepted())}
	odd := with(newNote(9), func(n *ingestv1.FanOut) {
		n.Id, n.Subject, n.Trigger = strings.Repeat("😀", 256), "a\x00b", strings.Repeat("x.", 2000)
		n.Time = &timestamppb.Timestamp{Seconds: -62167219200} // the year 0, which the API cannot show
	})
	require.Equal(t, 2, write(t, store, bare, odd))
	got, err = store.Event(newContext(t), "acme", 1<<62)
	require.NoError(t, err)
	require.Zero(t, got.Time)
	got, err = store.Event(newContext(t), "acme", 9)
	require.NoError(t, err)
	require.Equal(t, strings.Repeat("😀", 256), got.ID)
	require.Equal(t, "a\uFFFDb", got.Subject)
	require.Len(t, got.Trigger, 1024)
	require.Zero(t, got.Time)
	id := strings.Repeat("😀", 256)
	require.Equal(t, []uint64{9}, list(t, store, "acme", pgstore.Filter{ID: &id}))
}

func TestNoteIsCountedOnceHoweverOftenItIsWritten(t *testing.T) {
	t.Parallel()
	store, _ := setup(t)
	skipped, failing := uuid.New(), uuid.New()
	note := func(sequence int64, part int32) *ingestv1.FanOut {
		return with(newNote(sequence), func(n *ingestv1.FanOut) {
			n.Part = part
			n.Skips = []*ingestv1.FanOut_Skip{{Webhook: skipped.String(), Generation: 3}}
			n.FilterFailures = []*ingestv1.FanOut_FilterFailure{{Webhook: failing.String(), Error: fmt.Sprint("no such key ", sequence, part)}}
		})
	}
	// The second part may come first, and everything comes twice, also in one batch.
	require.Zero(t, write(t, store, note(2, 1)))
	require.Equal(t, 2, write(t, store, note(3, 0), note(2, 0), note(3, 0), note(2, 1)))
	require.Zero(t, write(t, store, note(2, 0), note(3, 0), note(2, 1)))
	require.Equal(t, []uint64{3, 2}, list(t, store, "acme", pgstore.Filter{}))
	since := accepted().Add(2 * time.Second).Truncate(time.Microsecond)
	last := since.Add(time.Second)
	requireMatching(t, store, skipped, core.Matching{Generation: 3, SkippedSince: since, Skipped: 3})
	requireMatching(t, store, failing, core.Matching{FilterFailures: 3, LastFilterFailure: last, LastFilterError: "no such key 3 0"})

	// What happened before and is heard of now.
	require.Equal(t, 1, write(t, store, note(1, 0)))
	requireMatching(t, store, skipped, core.Matching{Generation: 3, SkippedSince: since.Add(-time.Second), Skipped: 4})
	requireMatching(t, store, failing, core.Matching{FilterFailures: 4, LastFilterFailure: last, LastFilterError: "no such key 3 0"})
	_, err := store.Matching(newContext(t), "beta", skipped)
	require.True(t, fault.Is(err, fault.NotFound), "it is another organization's")
}

func TestEachGenerationCountsWhatItMisses(t *testing.T) {
	t.Parallel()
	store, _ := setup(t)
	webhook := uuid.New()
	note := func(sequence, generation int64) *ingestv1.FanOut {
		return with(newNote(sequence), func(n *ingestv1.FanOut) {
			n.Skips = []*ingestv1.FanOut_Skip{{Webhook: webhook.String(), Generation: generation}}
		})
	}
	at := func(sequence int) time.Time {
		return accepted().Add(time.Duration(sequence) * time.Second).Truncate(time.Microsecond)
	}
	write(t, store, note(1, 1), note(2, 1))
	requireMatching(t, store, webhook, core.Matching{Generation: 1, SkippedSince: at(1), Skipped: 2})
	write(t, store, note(4, 2))
	requireMatching(t, store, webhook, core.Matching{Generation: 2, SkippedSince: at(4), Skipped: 1})
	write(t, store, note(3, 1))
	requireMatching(t, store, webhook, core.Matching{Generation: 2, SkippedSince: at(4), Skipped: 1})
	// Also within one batch.
	write(t, store, note(5, 2), note(6, 3), note(7, 2), note(8, 3))
	requireMatching(t, store, webhook, core.Matching{Generation: 3, SkippedSince: at(6), Skipped: 2})
	// A filter that fails changes nothing of it.
	write(t, store, with(newNote(9), func(n *ingestv1.FanOut) {
		n.FilterFailures = []*ingestv1.FanOut_FilterFailure{{Webhook: webhook.String(), Error: "e"}}
	}))
	requireMatching(t, store, webhook, core.Matching{
		Generation: 3, SkippedSince: at(6), Skipped: 2, FilterFailures: 1, LastFilterFailure: at(9), LastFilterError: "e",
	})
}

func TestWhatCanNeverBeStoredIsTold(t *testing.T) {
	t.Parallel()
	store, _ := setup(t)
	for name, change := range map[string]func(*ingestv1.FanOut){
		"no sequence":    func(n *ingestv1.FanOut) { n.EventSequence = 0 },
		"a part below 0": func(n *ingestv1.FanOut) { n.Part = -1 },
		"no time":        func(n *ingestv1.FanOut) { n.AcceptTime = nil },
		"time far away":  func(n *ingestv1.FanOut) { n.AcceptTime.Seconds = 1 << 60 },
		"skip":           func(n *ingestv1.FanOut) { n.Skips = []*ingestv1.FanOut_Skip{{Webhook: "w1"}} },
		"failure":        func(n *ingestv1.FanOut) { n.FilterFailures = []*ingestv1.FanOut_FilterFailure{{}} },
	} {
		_, err := store.Write(newContext(t), []*ingestv1.FanOut{newNote(1), with(newNote(2), change)})
		require.True(t, fault.Is(err, fault.InvalidArgument), "%s: %v", name, err)
		require.Empty(t, list(t, store, "acme", pgstore.Filter{}), "all or nothing: %s", name)
	}
	require.Zero(t, write(t, store))
}

// A stream that was made anew counts from 1 again.
func TestTheSameSequenceAtAnotherTimeIsAnotherEvent(t *testing.T) {
	t.Parallel()
	store, _ := setup(t)
	write(t, store, newNote(1))
	anew := with(newNote(1), func(n *ingestv1.FanOut) {
		n.Id, n.AcceptTime = "new", timestamppb.New(accepted().AddDate(0, 0, 3))
	})
	require.Equal(t, 1, write(t, store, anew))
	got, err := store.Event(newContext(t), "acme", 1)
	require.NoError(t, err)
	require.Equal(t, "new", got.ID)
	require.Equal(t, []uint64{1, 1}, list(t, store, "acme", pgstore.Filter{}))
}

// TestInstancesWriteTheSameAtOnce has instances write overlapping batches, in different orders, while days are dropped.
func TestInstancesWriteTheSameAtOnce(t *testing.T) {
	t.Parallel()
	store, pool := setup(t)
	hooks := []uuid.UUID{uuid.New(), uuid.New(), uuid.New()}
	const events, writers = 60, 4
	note := func(sequence int64) *ingestv1.FanOut {
		return with(newNote(sequence), func(n *ingestv1.FanOut) {
			for i := range hooks {
				hook := hooks[(int(sequence)+i)%len(hooks)].String()
				n.Skips = append(n.Skips, &ingestv1.FanOut_Skip{Webhook: hook, Generation: 1})
				n.FilterFailures = append(n.FilterFailures, &ingestv1.FanOut_FilterFailure{Webhook: hook, Error: "e"})
			}
		})
	}
	var group sync.WaitGroup
	errs := make(chan error, writers*events)
	ctx := newContext(t)
	for writer := range writers {
		s := []*pgstore.Store{store, pgstore.New(pool)}[writer%2]
		group.Go(func() {
			for first := range int64(events / 6) {
				var batch []*ingestv1.FanOut
				for i := range int64(12) { // half of them are in the next batch, too
					batch = append(batch, note((first*6+(i*int64(2*writer+1))%12)%events+1))
				}
				_, err := s.Write(ctx, batch)
				errs <- err
				_, err = s.Maintain(ctx, accepted(), accepted().AddDate(0, 0, -30))
				errs <- err
			}
		})
	}
	group.Wait()
	close(errs)
	for err := range errs {
		require.NoError(t, err)
	}
	require.Len(t, list(t, store, "acme", pgstore.Filter{}), events)
	for _, hook := range hooks {
		got, err := store.Matching(newContext(t), "acme", hook)
		require.NoError(t, err)
		require.EqualValues(t, events, got.Skipped)
		require.EqualValues(t, events, got.FilterFailures)
	}
}

func TestEventsAreErasedAndPurged(t *testing.T) {
	t.Parallel()
	store, _ := setup(t)
	webhook := uuid.New()
	beta := with(newNote(3), func(n *ingestv1.FanOut) { n.Organization = "beta" })
	skips := with(newNote(2), func(n *ingestv1.FanOut) {
		n.Skips = []*ingestv1.FanOut_Skip{{Webhook: webhook.String(), Generation: 1}}
	})
	write(t, store, newNote(1), skips, beta)
	at := accepted().Add(time.Hour).Truncate(time.Microsecond)
	erased, err := store.EraseEvents(newContext(t), "acme", []int64{1, 3, 99}, at)
	require.NoError(t, err)
	require.EqualValues(t, 1, erased, "beta's is its own")
	erased, err = store.EraseEvents(newContext(t), "acme", []int64{1}, at.Add(time.Hour))
	require.NoError(t, err)
	require.Zero(t, erased, "it is erased")
	got, err := store.Event(newContext(t), "acme", 1)
	require.NoError(t, err)
	require.Equal(t, at, got.Erased)
	require.Empty(t, got.Subject)
	require.Equal(t, "bk_1", got.ID)
	subject := "mtg_1"
	require.Equal(t, []uint64{2}, list(t, store, "acme", pgstore.Filter{Subject: &subject}))
	// A note that comes again brings nothing back.
	require.Zero(t, write(t, store, newNote(1)))
	got, err = store.Event(newContext(t), "acme", 1)
	require.NoError(t, err)
	require.Empty(t, got.Subject)

	removed, err := store.PurgeOrganization(newContext(t), "acme")
	require.NoError(t, err)
	require.EqualValues(t, 3, removed)
	require.Empty(t, list(t, store, "acme", pgstore.Filter{}))
	require.Equal(t, []uint64{3}, list(t, store, "beta", pgstore.Filter{}))
	removed, err = store.PurgeOrganization(newContext(t), "acme")
	require.NoError(t, err)
	require.Zero(t, removed)
}

func TestPostgresThatIsAwayIsUnavailable(t *testing.T) {
	t.Parallel()
	store, pool := setup(t)
	pool.Close()
	_, err := store.Write(newContext(t), []*ingestv1.FanOut{proto.CloneOf(newNote(1))})
	require.True(t, fault.Is(err, fault.Unavailable), "%v", err)
	_, err = store.Event(newContext(t), "acme", 1)
	require.True(t, fault.Is(err, fault.Unavailable), "%v", err)
}
