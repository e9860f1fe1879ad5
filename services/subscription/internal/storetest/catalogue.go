package storetest

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
)

func checkTeams(t *testing.T, s *suite) {
	ctx := t.Context()
	s.tenants(t, "acme", "beta")
	want := s.newTeam("acme", strings.Repeat("a", 63))
	want.DisplayName = strings.Repeat("𝔐", 100)
	require.NoError(t, s.InsertTeam(ctx, want, core.Request{}))
	got, err := s.Team(ctx, "acme", want.ID)
	require.NoError(t, err)
	require.Equal(t, want, got)
	requireStored(t, got.CreateTime, got.UpdateTime)
	s.leaves(t, traces{}, func() {
		requireKind(t, fault.AlreadyExists, s.InsertTeam(ctx, s.newTeam("acme", want.ID), core.Request{}))
	})
	require.NoError(t, s.InsertTeam(ctx, s.newTeam("beta", want.ID), core.Request{}), "each organization has ids of its own")

	next := want
	next.DisplayName, next.Version, next.UpdateTime = writing, 2, s.stored()
	got, err = s.UpdateTeam(ctx, "acme", want.ID, func(core.Team) (core.Team, bool, error) { return next, true, nil })
	require.NoError(t, err)
	require.Equal(t, next, got)
	s.leaves(t, traces{}, func() {
		got, err = s.UpdateTeam(ctx, "acme", want.ID, func(v core.Team) (core.Team, bool, error) { return v, false, nil })
		require.NoError(t, err)
		require.Equal(t, next, got)
	})
	require.NoError(t, s.DeleteTeam(ctx, "acme", want.ID, func(v core.Team, asked core.InUse) error {
		require.Equal(t, next, v)
		require.Zero(t, asked.Count)
		return nil
	}))
	_, err = s.Team(ctx, "beta", want.ID)
	require.NoError(t, err)
	require.NoError(t, s.InsertTeam(ctx, want, core.Request{}), "unlike a slug, the id of a team can be used again")

	ids := []string{want.ID}
	for _, id := range []string{"0", "a-b", "a_b", "ab", "z"} {
		require.NoError(t, s.InsertTeam(ctx, s.newTeam("acme", id), core.Request{}))
		ids = append(ids, id)
	}
	slices.Sort(ids)
	listed := walk(t, 2, func(after *core.Team) ([]core.Team, error) {
		id := ""
		if after != nil {
			id = after.ID
		}
		return s.Teams(ctx, "acme", id, 2)
	}, func() {
		require.NoError(t, s.InsertTeam(ctx, s.newTeam("acme", "0"+uuid.NewString()[:8]), core.Request{}))
	})
	for i, v := range listed {
		require.Equal(t, ids[i], v.ID)
	}
	require.Len(t, listed, len(ids))
}

func checkTriggers(t *testing.T, s *suite) {
	ctx := t.Context()
	s.tenants(t, "acme", "beta")
	for _, want := range []core.Trigger{s.newTrigger("acme", "custom.lead"), s.newTrigger("", "meeting.lead")} {
		want.DisplayName, want.Description, want.Group = writing, strings.Repeat("𝔐\n", 1000), strings.Repeat("é", core.MaxGroupLength)
		want.Schema = `{"b":1, "a":  1.0,"a":2}` + strings.Repeat(" ", core.MaxSchemaBytes-24) // as written, not only as meant
		want.Sample = `"` + strings.Repeat("é", core.MaxSampleBytes/2-1) + `"`
		want.Deprecated, want.WarnOnly = true, true
		require.NoError(t, s.InsertTrigger(ctx, want, core.Request{}, false))
		got, err := s.Trigger(ctx, want.Organization, want.ID)
		require.NoError(t, err)
		require.Equal(t, want, got)
		requireStored(t, got.CreateTime, got.UpdateTime)
		sample, err := s.TriggerSample(ctx, "acme", want.ID)
		require.NoError(t, err)
		require.Equal(t, want.Sample, sample)
		s.leaves(t, traces{}, func() {
			requireKind(t, fault.AlreadyExists, s.InsertTrigger(ctx, s.newTrigger(want.Organization, want.ID), core.Request{}, false))
		})
		next := want
		next.Schema, next.Deprecated, next.WarnOnly, next.Version, next.UpdateTime = "true", false, false, 2, s.stored()
		s.leaves(t, traces{audit: []string{"update " + want.Name()}, feed: [][]string{{"trigger " + want.Organization + "/" + want.ID}}}, func() {
			got, err = s.UpdateTrigger(ctx, want.Organization, want.ID, false,
				func(current core.Trigger, _ func() (core.InUse, error)) (core.Trigger, bool, error) {
					require.Equal(t, want, current)
					return next, true, nil
				})
			require.NoError(t, err)
			require.Equal(t, next, got)
		})
		got, err = s.Trigger(ctx, want.Organization, want.ID)
		require.NoError(t, err)
		require.Equal(t, next, got)
	}
	// The platform's are no organization's own, and nobody else's are anyone's.
	_, err := s.Trigger(ctx, "acme", "meeting.lead")
	requireKind(t, fault.NotFound, err)
	_, err = s.TriggerSample(ctx, "beta", "custom.lead")
	requireKind(t, fault.NotFound, err)
	require.NoError(t, s.InsertTrigger(ctx, s.newTrigger("beta", "custom.lead"), core.Request{}, false))
	require.NoError(t, s.DeleteTrigger(ctx, "acme", "custom.lead", func(core.Trigger, core.InUse) error { return nil }))
	_, err = s.Trigger(ctx, "beta", "custom.lead")
	require.NoError(t, err)
}

func checkTriggerLists(t *testing.T, s *suite) {
	ctx := t.Context()
	s.tenants(t, "acme", "beta")
	var want []string
	for i := range 12 {
		v := s.newTrigger("", fmt.Sprintf("meeting.t%02d", 12-i))
		if i%3 == 0 {
			v = s.newTrigger("acme", fmt.Sprintf("custom.t%02d", i))
		}
		v.Group, v.Deprecated, v.Operational = []string{"B", "a", "Å"}[i%3], i%2 == 0, v.Organization == "" && i%4 == 1
		require.NoError(t, s.InsertTrigger(ctx, v, core.Request{}, false))
		want = append(want, v.Group+"/"+v.ID)
	}
	slices.Sort(want)
	require.NoError(t, s.InsertTrigger(ctx, s.newTrigger("beta", "custom.other"), core.Request{}, false))
	list := func(organization string, filter core.TriggerFilter, between func()) (names []string) {
		for _, v := range walk(t, 2, func(after *core.Trigger) ([]core.Trigger, error) {
			group, id := "", ""
			if after != nil {
				group, id = after.Group, after.ID
			}
			return s.Triggers(ctx, organization, filter, group, id, 2)
		}, between) {
			names = append(names, v.Group+"/"+v.ID)
		}
		return names
	}
	added := 0
	require.Equal(t, want, list("acme", core.TriggerFilter{}, func() {
		added++
		v := s.newTrigger("", fmt.Sprintf("early.t%d", added))
		v.Group = "A" // before the place
		require.NoError(t, s.InsertTrigger(ctx, v, core.Request{}, false))
	}))
	require.Len(t, list("", core.TriggerFilter{}, nil), 8+added, "the platform's only")
	yes, no, group := true, false, "a"
	require.Len(t, list("acme", core.TriggerFilter{Group: &group}, nil), 4)
	require.Len(t, list("acme", core.TriggerFilter{Deprecated: &yes}, nil), 6)
	require.Len(t, list("acme", core.TriggerFilter{Deprecated: &no, Group: &group}, nil), 2)
	require.Len(t, list("acme", core.TriggerFilter{Operational: &yes}, nil), 2)
	require.Empty(t, list("acme", core.TriggerFilter{BuiltIn: &yes}, nil))
}

// checkTriedTriggers checks that what is only tried fails as it would, and leaves nothing.
func checkTriedTriggers(t *testing.T, s *suite) {
	ctx := t.Context()
	h := s.furnish(t, "acme")
	r := request("m")
	s.leaves(t, traces{}, func() {
		require.NoError(t, s.InsertTrigger(ctx, s.newTrigger("acme", "custom.tried"), r, true))
		_, err := s.Trigger(ctx, "acme", "custom.tried")
		requireKind(t, fault.NotFound, err)
		requireKind(t, fault.AlreadyExists, s.InsertTrigger(ctx, s.newTrigger("acme", h.trigger), core.Request{}, true))
		requireKind(t, fault.NotFound, s.InsertTrigger(ctx, s.newTrigger("nobody", "custom.tried"), core.Request{}, true))
		got, err := s.UpdateTrigger(ctx, "acme", h.trigger, true, func(v core.Trigger, _ func() (core.InUse, error)) (core.Trigger, bool, error) {
			v.DisplayName = "tried"
			return v, true, nil
		})
		require.NoError(t, err)
		require.Equal(t, "tried", got.DisplayName)
		got, err = s.Trigger(ctx, "acme", h.trigger)
		require.NoError(t, err)
		require.Equal(t, h.trigger, got.DisplayName)
	})
	require.NoError(t, s.InsertTrigger(ctx, s.newTrigger("acme", "custom.tried"), r, false), "the request id is not used up")
}

// checkInUse checks who is said to ask for a trigger or a team.
func checkInUse(t *testing.T, s *suite) {
	ctx := t.Context()
	s.tenants(t, "acme", "beta")
	for _, organization := range []string{"acme", "beta"} {
		require.NoError(t, s.InsertTrigger(ctx, s.newTrigger(organization, "custom.lead.won"), core.Request{}, false))
		require.NoError(t, s.InsertTeam(ctx, s.newTeam(organization, "sales"), core.Request{}))
	}
	require.NoError(t, s.InsertTrigger(ctx, s.newTrigger("", "meeting.booked"), core.Request{}, false))
	ask := func(organization string, n int, team string, triggers ...string) {
		for i := range n {
			w := s.newWebhook(organization)
			w.DisplayName, w.Triggers = fmt.Sprintf("%s %d", triggers[0], i), triggers
			if team != "" {
				w.Teams = []string{"other", team}
			}
			s.insert(t, w)
		}
	}
	ask("acme", core.MaxNamed+2, "sales", "custom.lead.won", "meeting.*")
	ask("acme", 1, "sale", "custom.lead.*")
	ask("acme", 1, "", "custom.lea.*", "custom.lead.wo")
	ask("beta", 1, "sales", "meeting.booked", "custom.*")

	for _, use := range []struct {
		organization, trigger string
		byID, byAny           int64
	}{
		{"acme", "custom.lead.won", core.MaxNamed + 2, core.MaxNamed + 3},
		{"beta", "custom.lead.won", 0, 1},
		{"", "meeting.booked", 1, core.MaxNamed + 3},
	} {
		_, err := s.UpdateTrigger(ctx, use.organization, use.trigger, false,
			func(v core.Trigger, asked func() (core.InUse, error)) (core.Trigger, bool, error) {
				who, err := asked()
				require.NoError(t, err)
				require.Equal(t, use.byAny, who.Count, use)
				require.Len(t, who.First, int(min(use.byAny, core.MaxNamed)))
				return v, false, nil
			})
		require.NoError(t, err)
		require.ErrorIs(t, s.DeleteTrigger(ctx, use.organization, use.trigger, func(_ core.Trigger, who core.InUse) error {
			require.Equal(t, use.byID, who.Count, use)
			return errStop
		}), errStop)
	}
	require.ErrorIs(t, s.DeleteTeam(ctx, "acme", "sales", func(_ core.Team, who core.InUse) error {
		require.EqualValues(t, core.MaxNamed+2, who.Count)
		require.Len(t, who.First, core.MaxNamed)
		require.Contains(t, who.First[0], "custom.lead.won 0", "the oldest first")
		return errStop
	}), errStop)
}

// checkDeletionRace checks that a team or a trigger that a webhook is about to ask for is not taken away meanwhile.
func checkDeletionRace(t *testing.T, s *suite) {
	ctx := t.Context()
	s.tenants(t, "acme")
	require.NoError(t, s.InsertTeam(ctx, s.newTeam("acme", "sales"), core.Request{}))
	require.NoError(t, s.InsertTrigger(ctx, s.newTrigger("acme", "custom.lead"), core.Request{}, false))
	deletions := map[string]func() error{
		"team": func() error {
			return s.DeleteTeam(ctx, "acme", "sales", func(_ core.Team, who core.InUse) error { return refuse(who) })
		},
		"trigger": func() error {
			return s.DeleteTrigger(ctx, "acme", "custom.lead", func(_ core.Trigger, who core.InUse) error { return refuse(who) })
		},
		"organization": func() error {
			_, err := s.DeleteOrganization(ctx, "acme", func(core.Organization) error {
				found, err := s.Webhooks(ctx, core.WebhookQuery{Organization: "acme", Limit: 10})
				if err == nil {
					err = refuse(core.InUse{Count: int64(len(found))})
				}
				return err
			})
			return err
		},
	}
	ended := make(chan error, len(deletions))
	begun := false
	w := s.newWebhook("acme")
	w.Teams, w.Triggers = []string{"sales"}, []string{"custom.lead"}
	_, err := s.InsertWebhook(ctx, "acme", w.ID, core.Request{}, func(ctx context.Context, view core.WebhookView) (core.WebhookStep, error) {
		teams, err := view.Teams(ctx, w.Teams)
		if err != nil {
			return core.WebhookStep{}, err
		}
		triggers, err := view.Triggers(ctx, w.Triggers)
		if err != nil || !teams["sales"] || len(triggers) != 1 {
			return core.WebhookStep{}, fmt.Errorf("%v, %v: %w", teams, triggers, err)
		}
		if !begun { // it may be called several times
			begun = true
			for _, deletion := range deletions {
				go func() { ended <- deletion() }()
			}
			select { // nobody may come to an end before this change does
			case early := <-ended:
				ended <- early
				return core.WebhookStep{}, fmt.Errorf("a deletion did not wait: %w", early)
			case <-time.After(200 * time.Millisecond):
			}
		}
		return core.WebhookStep{Webhook: w, Write: true, Action: core.ActionCreate}, nil
	})
	require.NoError(t, err)
	for range deletions {
		require.ErrorIs(t, <-ended, errStop)
	}
}

// refuse returns errStop when somebody asks for a thing.
func refuse(who core.InUse) error {
	if who.Count > 0 {
		return errStop
	}
	return nil
}
