package core

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPatternsAreTriggersOrGroups(t *testing.T) {
	t.Parallel()
	for _, good := range []string{"meeting.booked", "a.b.c.d", "meeting.*", "custom.*", "custom.order.*", "a.b.c.*"} {
		require.Empty(t, checkPatterns("p", []string{good}), good)
	}
	for _, bad := range []string{
		"", "*", "meeting", "meeting.", ".*", "*.booked", "*.*", "meeting*", "meeting.*.x", "meeting.b*", "meeting.**", "Meeting.*",
		"a.b.c.d.*", "a.b.c.d.e", "meeting. *", "meeting.*\n", "meeting.>", strings.Repeat("a", MaxTriggerLength-1) + ".*",
	} {
		fields := checkPatterns("p", []string{"meeting.booked", bad})
		require.Len(t, fields, 1, "%q", bad)
		require.Equal(t, "p[1]", fields[0].Path)
		require.Equal(t, ruleFormat, fields[0].Rule)
	}
}

// FuzzCovers compares with the words of the contract: a group covers whatever begins with its tokens and a dot, at any
// depth, and a trigger covers itself.
func FuzzCovers(f *testing.F) {
	for _, seed := range [][2]string{
		{"meeting.*", "meeting.booked"}, {"meeting.*", "meeting"}, {"meeting.*", "meetings.booked"}, {"a.b.*", "a.b.c.d"},
		{"a.b", "a.b"}, {"a.b", "a.b.c"}, {"*", "a.b"}, {"custom.*", "custom.x"},
	} {
		f.Add(seed[0], seed[1])
	}
	f.Fuzz(func(t *testing.T, pattern, trigger string) {
		if !isPattern(pattern) || !IsTrigger(trigger) {
			return
		}
		tokens, of := strings.Split(pattern, "."), strings.Split(trigger, ".")
		want := len(tokens) == len(of)
		if tokens[len(tokens)-1] == "*" {
			tokens = tokens[:len(tokens)-1]
			want = len(of) > len(tokens)
		}
		for i := range min(len(tokens), len(of)) {
			want = want && tokens[i] == of[i]
		}
		require.Equal(t, want, covers(pattern, trigger), "%s, %s", pattern, trigger)
	})
}
