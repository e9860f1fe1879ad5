package cli

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestDeletionsAreAskedTwice(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		typed     string
		confirmed bool
		questions int
	}{
		"yes and the name":     {"y\nacme\n", true, 2},
		"yes, loudly":          {"YES\nacme", true, 2},
		"no":                   {"n\nacme\n", false, 1},
		"nothing":              {"\n", false, 1},
		"the end":              {"", false, 1},
		"yes, but another":     {"y\nbeta\n", false, 2},
		"yes, and then yes":    {"y\ny\n", false, 2},
		"yes, and then an end": {"y\n", false, 2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newConsole(t, "", c.typed, "table")
			err := confirmation{}.confirm(s.Session, "delete organizations/acme", "acme")
			if c.confirmed {
				require.NoError(t, err)
			} else {
				require.ErrorIs(t, err, errNotConfirmed)
			}
			questions := s.err.String()
			require.Contains(t, questions, "Really delete organizations/acme? This cannot be undone.")
			require.Equal(t, c.questions, strings.Count(questions, "[y/N]")+strings.Count(questions, "to confirm"))
			require.Empty(t, s.out.String(), "questions are not answers")
		})
	}
}

func TestNobodyIsAskedWithoutATerminal(t *testing.T) {
	t.Parallel()
	s := newConsole(t, "", "y\nacme\n", "table")
	s.terminal.Interactive = false
	err := confirmation{}.confirm(s.Session, "delete it", "acme")
	require.ErrorIs(t, err, errNotConfirmed)
	require.ErrorContains(t, err, "--yes")
	require.Empty(t, s.err.String())
	require.NoError(t, confirmation{Yes: true}.confirm(s.Session, "delete it", "acme"))
}
