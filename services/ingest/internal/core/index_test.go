package core_test

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/meetwire/meetwire/services/ingest/internal/core"
)

// rule is a filter that says `yes`, `no` or `fail`, or is the id of an event.
type rule string

var errFilter = errors.New("cannot tell")

func (r rule) Source() string { return string(r) }

func (r rule) Match(event *core.Event) (bool, error) {
	if r == "fail" {
		return false, errFilter
	}
	return r == "yes" || string(r) == event.ID, nil
}

// model is an index that looks at every webhook, with rules that are written another way.
type model struct {
	organizations map[string]bool
	webhooks      map[string]core.Webhook
}

func (m model) match(organization string, event *core.Event) (ids, skipped, failed []string) {
	for id, w := range m.webhooks {
		asked := slices.ContainsFunc(w.Triggers, func(trigger string) bool {
			tokens, want := strings.Split(event.Type, "."), strings.Split(trigger, ".")
			if want[len(want)-1] == "*" {
				return !slices.Contains(tokens, "") && len(tokens) >= len(want) && slices.Equal(tokens[:len(want)-1], want[:len(want)-1])
			}
			return slices.Equal(tokens, want)
		})
		team := len(w.Teams) == 0 || slices.ContainsFunc(w.Teams, func(team string) bool { return slices.Contains(event.Teams, team) })
		eventType := len(w.EventTypes) == 0 || slices.Contains(w.EventTypes, event.EventType)
		if w.Organization != organization || !m.organizations[organization] || !asked || !team || !eventType {
			continue
		}
		ok, err := w.Filter == nil, error(nil)
		if !ok {
			ok, err = w.Filter.Match(event)
		}
		switch {
		case err != nil:
			failed = append(failed, id)
		case ok && (w.Paused || w.Disabled && (full{}).Full(w.Organization, id)):
			skipped = append(skipped, id)
		case ok:
			ids = append(ids, id)
		}
	}
	for _, list := range [][]string{ids, skipped, failed} {
		slices.Sort(list)
	}
	return ids, skipped, failed
}

// full says that too much waits for every second webhook.
type full struct{}

func (full) Full(organization, webhook string) bool {
	return organization == "a" && (webhook[len(webhook)-1]-'0')%2 == 1
}

func (m model) apply(change core.Change) {
	for _, id := range change.DeletedWebhooks {
		delete(m.webhooks, id)
	}
	for _, w := range change.Webhooks {
		m.webhooks[w.ID] = w
	}
	for _, o := range change.Organizations {
		m.organizations[o.ID] = o.WebhooksAvailable
	}
	for _, organization := range change.DeletedOrganizations {
		delete(m.organizations, organization)
		for id, w := range m.webhooks {
			if w.Organization == organization {
				delete(m.webhooks, id)
			}
		}
	}
}

var (
	organizations = []string{"a", "b"}
	triggers      = []string{"t.1", "t.2", "t.2.x", "t.2.x.y", "custom.t", "custom.t.2", "tt.1"}
	groups        = []string{"t.*", "t.2.*", "t.2.x.*", "custom.*", "custom.t.*"}
	teams         = []string{"red", "blue", "green"}
	eventTypes    = []string{"intro", "demo"}
	manyTypes     = []string{"c1", "c2", "c3", "c4", "c5", "c6", "c7", "demo", "intro", "z"} // more than are looked up
)

func some(of []string, label string, t *rapid.T) []string {
	return rapid.SliceOfN(rapid.SampledFrom(of), 0, 3).Draw(t, label) // some twice
}

func webhooks() *rapid.Generator[core.Webhook] {
	return rapid.Custom(func(t *rapid.T) core.Webhook {
		return core.Webhook{
			ID:           rapid.StringMatching(`w[0-9]`).Draw(t, "id"),
			Organization: rapid.SampledFrom(organizations).Draw(t, "organization"),
			Triggers:     append(some(triggers, "triggers", t), some(groups, "groups", t)...),
			Teams:        some(teams, "teams", t),
			EventTypes:   append(some(eventTypes, "event types", t), rapid.SampledFrom([][]string{nil, nil, manyTypes}).Draw(t, "more")...),
			Filter:       rapid.SampledFrom([]core.Filter{nil, nil, rule("yes"), rule("no"), rule("fail"), rule("e1")}).Draw(t, "filter"),
			Paused:       rapid.Bool().Draw(t, "paused"),
			Disabled:     rapid.Bool().Draw(t, "disabled"),
			Generation:   rapid.Int64Range(1, 3).Draw(t, "generation"),
		}
	})
}

func tenants() *rapid.Generator[core.Organization] {
	return rapid.Custom(func(t *rapid.T) core.Organization {
		return core.Organization{ID: rapid.SampledFrom(organizations).Draw(t, "id"), WebhooksAvailable: rapid.IntRange(0, 3).Draw(t, "plan") > 0}
	})
}

func events() *rapid.Generator[*core.Event] {
	return rapid.Custom(func(t *rapid.T) *core.Event {
		return &core.Event{
			ID:        rapid.SampledFrom([]string{"e1", "e2"}).Draw(t, "id"),
			Type:      rapid.SampledFrom(append([]string{"t", "t.", "u.1", ""}, triggers...)).Draw(t, "type"),
			Teams:     some(append([]string{"other"}, teams...), "teams", t),
			EventType: rapid.SampledFrom(append([]string{"", "other"}, eventTypes...)).Draw(t, "event type"),
		}
	})
}

func TestIndexFindsWhatALoopOverAllWebhooksFinds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		index, all, revision := core.NewIndex(), model{map[string]bool{}, map[string]core.Webhook{}}, int64(0)
		index.SetBacklog(full{})
		t.Repeat(map[string]func(*rapid.T){
			"apply": func(t *rapid.T) {
				change := core.Change{
					Organizations:   rapid.SliceOfN(tenants(), 0, 2).Draw(t, "organizations"),
					Webhooks:        rapid.SliceOfN(webhooks(), 0, 4).Draw(t, "webhooks"),
					DeletedWebhooks: rapid.SliceOfN(rapid.StringMatching(`w[0-9]`), 0, 3).Draw(t, "deleted"),
				}
				if rapid.IntRange(0, 5).Draw(t, "whole") == 0 {
					change.DeletedOrganizations = some(organizations, "deleted organizations", t)
				}
				revision++
				index.Apply(change, revision)
				all.apply(change)
			},
			"reset": func(t *rapid.T) {
				change := core.Change{
					Organizations: rapid.SliceOfN(tenants(), 0, 2).Draw(t, "organizations"),
					Webhooks:      rapid.SliceOfNDistinct(webhooks(), 0, 8, func(w core.Webhook) string { return w.ID }).Draw(t, "all"),
				}
				revision += 10
				index.Reset(change, revision)
				clear(all.organizations)
				clear(all.webhooks)
				all.apply(change)
			},
			"": func(t *rapid.T) {
				event := events().Draw(t, "event")
				for _, organization := range []string{"a", "b", "c"} {
					requireLikeModel(t, index, all, organization, event, revision)
				}
			},
		})
	})
}

// requireLikeModel asserts that all ways to ask the index say what the model says.
func requireLikeModel(t *rapid.T, index *core.Index, all model, organization string, event *core.Event, revision int64) {
	want, wantSkipped, wantFailed := all.match(organization, event)
	got := index.Match(organization, event)
	slices.Sort(got.Webhooks)
	require.Equal(t, want, got.Webhooks)
	var skipped, failed []string
	for _, skip := range got.Skipped {
		skipped = append(skipped, skip.Webhook)
		require.Equal(t, all.webhooks[skip.Webhook].Generation, skip.Generation)
	}
	for _, failure := range got.Failed {
		failed = append(failed, failure.Webhook)
		require.ErrorIs(t, failure.Err, errFilter)
	}
	slices.Sort(skipped)
	slices.Sort(failed)
	require.Equal(t, wantSkipped, skipped)
	require.Equal(t, wantFailed, failed)
	require.Equal(t, revision, got.Revision)

	explained := index.Explain(organization, event, core.Page{Size: 1000})
	require.Equal(t, revision, explained.Revision)
	decisions := explained.Decisions
	var matched []string
	for _, d := range decisions {
		w, ok := all.webhooks[d.Webhook]
		require.True(t, ok && w.Organization == organization)
		if d.Reason == core.Matched {
			matched = append(matched, d.Webhook)
		}
		require.Equal(t, d.Err != nil, d.Reason == core.ReasonFilter && w.Filter == rule("fail"))

		one, at, found, err := index.MatchOne(organization, d.Webhook, event)
		require.True(t, found)
		require.Equal(t, revision, at)
		if d.Reason == core.ReasonStatus {
			require.NotEqual(t, core.ReasonStatus, one)
		} else {
			require.Equal(t, d.Reason, one)
			require.Equal(t, d.Err, err)
		}
	}
	require.Equal(t, want, matched)
}

func TestTheFirstRuleThatSaysNoIsTold(t *testing.T) {
	t.Parallel()
	index := core.NewIndex()
	asks := core.Webhook{ID: "1 all", Organization: "a", Triggers: []string{"t.*"}, EventTypes: []string{"demo", "intro"}, Teams: []string{"red", "blue"}, Filter: rule("yes")}
	all := []core.Webhook{asks}
	add := func(id string, change func(*core.Webhook)) {
		w := asks
		w.ID = id
		change(&w)
		all = append(all, w)
	}
	add("2 trigger", func(w *core.Webhook) { w.Triggers = []string{"t.2", "u.*"} })
	add("3 status", func(w *core.Webhook) { w.Paused, w.Teams, w.Filter = true, []string{"green"}, rule("no") })
	add("4 teams", func(w *core.Webhook) {
		w.Teams, w.EventTypes, w.Filter = []string{"green"}, []string{"other"}, rule("no")
	})
	add("5 type", func(w *core.Webhook) { w.EventTypes, w.Filter = []string{"other"}, rule("no") })
	add("6 filter", func(w *core.Webhook) { w.Filter = rule("no") })
	add("7 broken filter", func(w *core.Webhook) { w.Filter = rule("fail") })
	index.Reset(core.Change{Organizations: []core.Organization{{ID: "a", WebhooksAvailable: true}}, Webhooks: all}, 3)

	event := &core.Event{Type: "t.1", Teams: []string{"blue"}, EventType: "intro"}
	explained := index.Explain("a", event, core.Page{Size: 10})
	require.EqualValues(t, 3, explained.Revision)
	require.False(t, explained.More)
	require.Equal(t, []core.Decision{
		{Webhook: "1 all", Filter: "yes"},
		{Webhook: "2 trigger", Reason: core.ReasonTrigger, Detail: "asks for t.2, u.*; the event is t.1"},
		{Webhook: "3 status", Reason: core.ReasonStatus, Detail: "is paused"},
		{Webhook: "4 teams", Reason: core.ReasonTeams, Detail: "asks for the teams green; the event is of blue"},
		{Webhook: "5 type", Reason: core.ReasonEventType, Detail: "asks for the event types other; the event has intro"},
		{Webhook: "6 filter", Reason: core.ReasonFilter, Detail: "the filter says no", Filter: "no"},
		{Webhook: "7 broken filter", Reason: core.ReasonFilter, Detail: "the filter cannot tell", Filter: "fail", Err: errFilter},
	}, explained.Decisions)
	require.Equal(t, core.Match{
		Webhooks: []string{"1 all"}, Revision: 3, Failed: []core.FilterFailure{{Webhook: "7 broken filter", Err: errFilter}},
	}, index.Match("a", event))
	for name, event := range map[string]*core.Event{
		"no team": {Type: "t.1", EventType: "intro"}, "no event type": {Type: "t.1", Teams: []string{"red"}},
		"another team": {Type: "t.1", Teams: []string{"black"}, EventType: "intro"},
	} {
		require.Empty(t, index.Match("a", event).Webhooks, name)
	}

	// One that is paused would get what it missed.
	paused := core.Webhook{ID: "3 status", Organization: "a", Triggers: []string{"t.1"}, Paused: true}
	index.Apply(core.Change{Webhooks: []core.Webhook{paused}}, 4)
	reason, _, ok, err := index.MatchOne("a", "3 status", event)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, core.Matched, reason)
	require.True(t, index.HasWebhook("a", "3 status"))
	_, _, ok, _ = index.MatchOne("b", "3 status", event)
	require.False(t, ok, "it is another organization's")
	require.False(t, index.HasWebhook("b", "3 status"))
	require.False(t, index.HasWebhook("a", "8"))
}

func TestPlanWithoutWebhooksMatchesNothing(t *testing.T) {
	t.Parallel()
	index, event := core.NewIndex(), &core.Event{Type: "t.1"}
	w := core.Webhook{ID: "w", Organization: "a", Triggers: []string{"t.1"}}
	index.Reset(core.Change{Organizations: []core.Organization{{ID: "a"}}, Webhooks: []core.Webhook{w}}, 1)
	require.Empty(t, index.Match("a", event).Webhooks)
	require.Equal(t, []core.Decision{
		{Webhook: "w", Reason: core.ReasonPlan, Detail: "the plan of the organization has no webhooks"},
	}, index.Explain("a", event, core.Page{Size: 10}).Decisions)
	reason, _, ok, _ := index.MatchOne("a", "w", event)
	require.True(t, ok)
	require.Equal(t, core.ReasonPlan, reason)

	// Nor is anything missed, or can a filter fail.
	w.Paused, w.Filter = true, rule("yes")
	index.Apply(core.Change{Webhooks: []core.Webhook{w, {ID: "x", Organization: "a", Triggers: w.Triggers, Filter: rule("fail")}}}, 2)
	require.Equal(t, core.Match{Revision: 2}, index.Match("a", event))
	w.Paused = false
	index.Apply(core.Change{Webhooks: []core.Webhook{w}, DeletedWebhooks: []string{"x"}}, 2)

	// A better plan, and nothing else, puts them in force.
	index.Apply(core.Change{Organizations: []core.Organization{{ID: "a", WebhooksAvailable: true}}}, 2)
	require.Equal(t, []string{"w"}, index.Match("a", event).Webhooks)
}

func TestChangeIsSeenAllAtOnceWhileOthersMatch(t *testing.T) {
	t.Parallel()
	index := core.NewIndex()
	// Every revision has this many webhooks, all of the same name.
	const n = 5
	tenant := []core.Organization{{ID: "a", WebhooksAvailable: true}}
	generation := func(revision int64) (all []core.Webhook, ids []string) {
		for i := range n {
			id := fmt.Sprintf("%d-%d", revision, i)
			all = append(all, core.Webhook{ID: id, Organization: "a", Triggers: []string{"t.1"}})
			ids = append(ids, id)
		}
		return all, ids
	}
	first, _ := generation(1)
	index.Reset(core.Change{Organizations: tenant, Webhooks: first}, 1)
	var done atomic.Bool
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			event := &core.Event{Type: "t.1"}
			for last := int64(0); !done.Load(); {
				got := index.Match("a", event)
				_, want := generation(got.Revision)
				if !slices.Equal(want, got.Webhooks) || got.Revision < last {
					t.Errorf("revision %d after %d has %v", got.Revision, last, got.Webhooks)
					return
				}
				last = got.Revision
			}
		})
	}
	for revision := int64(2); revision < 300; revision++ {
		all, _ := generation(revision)
		_, before := generation(revision - 1)
		if revision%10 == 0 {
			index.Reset(core.Change{Organizations: tenant, Webhooks: all}, revision)
		} else {
			index.Apply(core.Change{Webhooks: all, DeletedWebhooks: before}, revision)
		}
	}
	done.Store(true)
	readers.Wait()
}

// hundred returns an index of an organization with 100 webhooks, and an event that one of them asks for.
func hundred() (*core.Index, *core.Event) {
	all := core.Change{Organizations: []core.Organization{{ID: "acme", WebhooksAvailable: true}}}
	for i := range 100 {
		w := core.Webhook{ID: fmt.Sprintf("w%02d", i), Organization: "acme", Triggers: []string{"meeting.*", "custom.*"}}
		switch i % 4 {
		case 0:
			w.Triggers = []string{"meeting.booked", "meeting.canceled"}
			w.Teams = []string{"blue", fmt.Sprint("team", i)}
		case 1:
			w.EventTypes = []string{"demo", "intro", fmt.Sprint("type", i)}
		case 2:
			w.Teams, w.EventTypes = []string{"red"}, []string{"demo"}
		case 3:
			w.Paused, w.EventTypes = true, []string{"demo"}
		}
		all.Webhooks = append(all.Webhooks, w)
	}
	index := core.NewIndex()
	index.Reset(all, 1)
	return index, &core.Event{Type: "meeting.booked", Teams: []string{"red", "green", "team4"}, EventType: "other"}
}

// Not in parallel: what other tests allocate would be counted.
func TestWebhooksThatDoNotMatchAllocateNothing(t *testing.T) {
	index, event := hundred()
	require.Equal(t, []string{"w04"}, index.Match("acme", event).Webhooks)
	event.Teams = nil
	require.Empty(t, index.Match("acme", event).Webhooks)
	require.Zero(t, testing.AllocsPerRun(100, func() { index.Match("acme", event) }))
}

// At most 5 µs for an organization with 100 webhooks.
func BenchmarkMatchAmongHundredWebhooks(b *testing.B) {
	index, event := hundred()
	b.ReportAllocs()
	for b.Loop() {
		if len(index.Match("acme", event).Webhooks) != 1 {
			b.Fatal("one webhook asks for the event")
		}
	}
}
