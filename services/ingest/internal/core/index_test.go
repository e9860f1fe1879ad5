package core_test

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/meetwire/meetwire/services/ingest/internal/core"
)

// naive is an index that looks at every webhook.
type naive map[string]core.Webhook

func (n naive) match(organization, trigger string) []string {
	var ids []string
	for id, w := range n {
		if w.Organization == organization && !w.Paused && slices.Contains(w.Triggers, trigger) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

var (
	organizations = []string{"a", "b"}
	triggers      = []string{"t.1", "t.2", "t.3"}
)

func webhooks() *rapid.Generator[core.Webhook] {
	return rapid.Custom(func(t *rapid.T) core.Webhook {
		return core.Webhook{
			ID:           rapid.StringMatching(`w[0-9]`).Draw(t, "id"),
			Organization: rapid.SampledFrom(organizations).Draw(t, "organization"),
			Triggers:     rapid.SliceOfN(rapid.SampledFrom(triggers), 0, 4).Draw(t, "triggers"), // some twice
			Paused:       rapid.Bool().Draw(t, "paused"),
		}
	})
}

func TestIndexFindsWhatALoopOverAllWebhooksFinds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		index, model, revision := core.NewIndex(), naive{}, int64(0)
		held := make(map[string][]string) // what readers still look at, and what it was
		t.Repeat(map[string]func(*rapid.T){
			"apply": func(t *rapid.T) {
				put := rapid.SliceOfN(webhooks(), 0, 3).Draw(t, "put")
				removed := rapid.SliceOfN(rapid.StringMatching(`w[0-9]`), 0, 3).Draw(t, "removed")
				revision++
				index.Apply(put, removed, revision)
				for _, id := range removed {
					delete(model, id)
				}
				for _, w := range put {
					model[w.ID] = w
				}
			},
			"reset": func(t *rapid.T) {
				all := rapid.SliceOfNDistinct(webhooks(), 0, 8, func(w core.Webhook) string { return w.ID }).Draw(t, "all")
				revision += 10
				index.Reset(all, revision)
				clear(model)
				for _, w := range all {
					model[w.ID] = w
				}
			},
			"hold": func(t *rapid.T) {
				ids, _ := index.Match(rapid.SampledFrom(organizations).Draw(t, "organization"), rapid.SampledFrom(triggers).Draw(t, "trigger"))
				held[fmt.Sprint(ids)] = ids
			},
			"": func(t *rapid.T) {
				for _, organization := range organizations {
					for _, trigger := range triggers {
						got, at := index.Match(organization, trigger)
						require.Equal(t, model.match(organization, trigger), got)
						require.Equal(t, revision, at)
					}
				}
				none, _ := index.Match("c", "t.1")
				require.Empty(t, none)
				for was, ids := range held {
					require.Equal(t, was, fmt.Sprint(ids), "changed in the hands of a reader")
				}
			},
		})
	})
}

func TestChangeIsSeenAllAtOnceWhileOthersMatch(t *testing.T) {
	t.Parallel()
	index := core.NewIndex()
	// Every revision has this many webhooks, all of the same name.
	const n = 5
	generation := func(revision int64) (all []core.Webhook, ids []string) {
		for i := range n {
			id := fmt.Sprintf("%d-%d", revision, i)
			all = append(all, core.Webhook{ID: id, Organization: "a", Triggers: []string{"t.1"}})
			ids = append(ids, id)
		}
		return all, ids
	}
	first, _ := generation(1)
	index.Reset(first, 1)
	var done atomic.Bool
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for last := int64(0); !done.Load(); {
				got, revision := index.Match("a", "t.1")
				_, want := generation(revision)
				if !slices.Equal(want, got) || revision < last {
					t.Errorf("revision %d after %d has %v", revision, last, got)
					return
				}
				last = revision
			}
		})
	}
	for revision := int64(2); revision < 300; revision++ {
		all, _ := generation(revision)
		_, before := generation(revision - 1)
		if revision%10 == 0 {
			index.Reset(all, revision)
		} else {
			index.Apply(all, before, revision)
		}
	}
	done.Store(true)
	readers.Wait()
}
