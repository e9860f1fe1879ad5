package storetest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
)

// snapshot returns the pages of a snapshot.
func (s *suite) snapshot(t *testing.T) []*configv1.SnapshotPage {
	t.Helper()
	var pages []*configv1.SnapshotPage
	require.NoError(t, s.Snapshot(t.Context(), func(page *configv1.SnapshotPage) error {
		pages = append(pages, page)
		return nil
	}))
	return pages
}

func checkSnapshot(t *testing.T, s *suite) {
	pages := s.snapshot(t)
	require.Len(t, pages, 1, "also when there is nothing")
	require.True(t, pages[0].GetLast())
	require.Empty(t, pages[0].GetResources())
	require.EqualValues(t, 1, pages[0].GetRevision(), "0 is what a watcher says that has nothing")

	h := s.furnish(t, "acme")
	w := s.fullWebhook("acme")
	for range 30 { // as large as they can be
		w.ID = s.newWebhook("acme").ID
		s.insert(t, w)
	}
	require.ErrorIs(t, s.Snapshot(t.Context(), func(*configv1.SnapshotPage) error { return errStop }), errStop)
	newest := s.revision(t)
	keys := make(map[string]bool)
	pages = nil
	require.NoError(t, s.Snapshot(t.Context(), func(page *configv1.SnapshotPage) error {
		pages = append(pages, page)
		s.tenants(t, fmt.Sprintf("later-%d", len(pages))) // is not in it
		return nil
	}))
	require.Greater(t, len(pages), 1)
	for i, page := range pages {
		require.Equal(t, newest, page.GetRevision(), "all pages are of one revision")
		require.Equal(t, i == len(pages)-1, page.GetLast())
		require.Less(t, proto.Size(page), 4<<20)
		require.NotEmpty(t, page.GetResources())
		for _, r := range page.GetResources() {
			name, key := describe(r)
			require.Equal(t, key, name)
			require.False(t, keys[key], key)
			keys[key] = true
		}
	}
	require.Len(t, keys, 34)
	for _, key := range []string{"organization acme", "trigger acme/" + h.trigger, "key " + h.key, "webhook " + h.webhook} {
		require.True(t, keys[key], key)
	}
}

func checkTrimmedFeed(t *testing.T, s *suite) {
	ctx := t.Context()
	s.tenants(t, "a", "b")
	s.clock.advance(time.Hour)
	middle := s.clock.Now()
	s.tenants(t, "c", "d")
	newest := s.revision(t)
	changes, err := s.Changes(ctx, 1, newest, 2)
	require.NoError(t, err)
	require.Len(t, changes, 2, "at most so many")
	removed, err := s.TrimFeed(ctx, middle.Add(-2*time.Hour))
	require.NoError(t, err)
	require.Zero(t, removed)
	removed, err = s.TrimFeed(ctx, middle)
	require.NoError(t, err)
	require.EqualValues(t, 2, removed)
	for after := range newest + 1 {
		changes, err := s.Changes(ctx, after, newest, 10)
		if after < newest-2 {
			require.ErrorIs(t, err, core.ErrGap, after)
			continue
		}
		require.NoError(t, err)
		require.Len(t, changes, int(newest-after))
	}
	_, err = s.TrimFeed(ctx, farFuture())
	require.NoError(t, err)
	_, err = s.Changes(ctx, newest-1, newest, 10)
	require.ErrorIs(t, err, core.ErrGap)
	require.Equal(t, newest, s.revision(t), "revisions are never counted again")
	s.tenants(t, "e")
	changes, err = s.Changes(ctx, newest, newest+1, 10)
	require.NoError(t, err)
	require.Len(t, changes, 1)
}

// checkFeedEqualsSnapshot lets many change everything at once: the feed has no gap and no reordering, and comes to what
// the snapshot has.
func checkFeedEqualsSnapshot(t *testing.T, s *suite) {
	const writers = 8
	ctx := t.Context()
	s.tenants(t, "shared")
	s.drain(t)
	audit := len(s.audit(t))
	for _, err := range together(writers, func(i int) error {
		own := s.newOrganization(fmt.Sprintf("own-%d", i))
		if err := s.InsertOrganization(ctx, own, request("m")); err != nil {
			return err
		}
		for n := range 4 {
			w := s.newWebhook([]string{"shared", own.ID}[n%2])
			steps := []func() error{
				func() error {
					_, err := s.InsertWebhook(ctx, w.Organization, w.ID, core.Request{}, makeWebhook(w))
					return err
				},
				func() error {
					_, err := s.UpdateOrganization(ctx, "shared", func(o core.Organization) (core.Organization, bool, error) {
						o.ClientID++
						return o, true, nil
					})
					return err
				},
				func() error {
					_, _, err := s.UpdateWebhook(ctx, w.Organization, w.ID, n%2 == 0, alter(func(w *core.Webhook) { w.RateLimit = 1 }))
					return err
				},
				func() error { return s.InsertAPIKey(ctx, s.newKey(w.Organization), core.Request{}) },
			}
			if n == 0 {
				steps = append(steps, func() error {
					return s.DeleteWebhook(ctx, w.Organization, w.ID, func(core.Webhook) error { return nil })
				})
			}
			for _, step := range steps {
				if err := step(); err != nil {
					return err
				}
			}
		}
		if i%2 == 0 {
			return nil
		}
		_, err := s.DeleteOrganization(ctx, own.ID, func(core.Organization) error { return nil })
		return err
	}) {
		require.NoError(t, err)
	}
	changes := s.changes(t, 1)
	require.Len(t, s.audit(t), audit+len(changes)-1, "one entry for each revision")
	state := make(map[string]*configv1.Resource)
	for _, change := range changes {
		for _, r := range change.GetResources() {
			name, key := describe(r)
			if state[key] = r; name != key {
				delete(state, key)
			}
		}
	}
	for _, page := range s.snapshot(t) {
		for _, r := range page.GetResources() {
			_, key := describe(r)
			require.True(t, proto.Equal(r, state[key]), "%s: %v in the feed, %v in the snapshot", key, state[key], r)
			delete(state, key)
		}
	}
	require.Empty(t, state)
	shared, err := s.Organization(ctx, "shared")
	require.NoError(t, err)
	require.EqualValues(t, writers*4, shared.ClientID)
}

func checkListen(t *testing.T, s *suite) {
	ctx, cancel := context.WithCancel(t.Context())
	woken, ended := make(chan struct{}, 100), make(chan error, 1)
	go func() { ended <- s.Listen(ctx, func() { woken <- struct{}{} }) }()
	<-woken // for what came before
	for _, id := range []string{"a", "b"} {
		s.tenants(t, id)
		<-woken
	}
	cancel()
	require.ErrorIs(t, <-ended, context.Canceled)
}
