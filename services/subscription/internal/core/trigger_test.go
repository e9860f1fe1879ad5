package core_test

import (
	"context"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
)

func TestTriggerGroups(t *testing.T) {
	t.Parallel()
	require.Equal(t, []string{"meeting.*"}, core.TriggerGroups("meeting.booked"))
	require.Equal(t, []string{"custom.*", "custom.a.*", "custom.a.b.*"}, core.TriggerGroups("custom.a.b.c"))
}

func TestTriggersNameEveryFieldAtFault(t *testing.T) {
	t.Parallel()
	triggers := core.NewTriggers(nil, acceptingSchemas{}, time.Now)
	_, err := triggers.Create(t.Context(), "acme", "Custom", core.TriggerChange{Group: new(strings.Repeat("a", 101))}, core.Request{}, false)
	require.Len(t, fault.From(err).Fields, 4)
	requireField(t, err, "trigger_id")
	requireField(t, err, "trigger.display_name")
	requireField(t, err, "trigger.group")
	requireField(t, err, "trigger.sample")
}

// acceptingSchemas finds nothing wrong.
type acceptingSchemas struct{}

func (acceptingSchemas) CheckSchema(string) string            { return "" }
func (acceptingSchemas) CheckSample(string, string) string    { return "" }
func (acceptingSchemas) Incompatible(string, string) []string { return nil }

// keptTriggers keeps what was made.
type keptTriggers struct {
	core.TriggerStore

	made []core.Trigger
}

func (k *keptTriggers) InsertTrigger(_ context.Context, t core.Trigger, _ core.Request, _ bool) error {
	k.made = append(k.made, t)
	return nil
}

// What is accepted is a subject of the broker, and nobody gets into what is another's.
func FuzzTriggerName(f *testing.F) {
	for _, seed := range []string{
		"meeting.booked", "custom.thing", "custom", "custom.", ".custom", "custom.a.b.c", "custom.a.b.c.d", "webhook.disabled",
		"meetwire.x", "a.*", "a.>", "a b.c", "a.b\n", "custom.a\x00", "Custom.a", "çustom.a", "custom..a", "secret._",
		"custom." + strings.Repeat("a", 122),
	} {
		f.Add(seed, true)
		f.Add(seed, false)
	}
	form := regexp.MustCompile(`\A[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*){1,3}\z`)
	f.Fuzz(func(t *testing.T, id string, platform bool) {
		organization := "acme"
		if platform {
			organization = ""
		}
		store := &keptTriggers{}
		change := core.TriggerChange{DisplayName: new("x"), Sample: new("{}")}
		made, err := core.NewTriggers(store, acceptingSchemas{}, time.Now).Create(t.Context(), organization, id, change, core.Request{}, false)
		if err != nil {
			require.NotEmpty(t, requireField(t, err, "trigger_id"))
			require.Empty(t, store.made)
			return
		}
		require.Equal(t, []core.Trigger{made}, store.made)
		require.Equal(t, id, made.ID)
		require.Regexp(t, form, id)
		require.LessOrEqual(t, len(id), 128)
		require.True(t, bus.IsTrigger(id))
		require.Equal(t, !platform, bus.Lane(id) == bus.LaneCustom)
		require.Equal(t, !platform, core.IsCustomTrigger(id))
		for _, reserved := range []string{"webhook.", "secret.", "delivery.", "meetwire."} {
			require.False(t, strings.HasPrefix(id, reserved))
		}
		for _, group := range core.TriggerGroups(id) {
			require.True(t, strings.HasPrefix(id, strings.TrimSuffix(group, "*")))
		}
	})
}
