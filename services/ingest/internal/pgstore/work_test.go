package pgstore_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	ingestv1 "github.com/meetwire/meetwire/proto/gen/meetwire/ingest/v1"
	"github.com/meetwire/meetwire/services/ingest/internal/pgstore"
)

// What could not be read has neither a source nor an id, and that makes it nobody's repetition.
func TestEventsWithoutAnIdentityAreFoundByTheirNamesOnly(t *testing.T) {
	t.Parallel()
	store, _ := setup(t)
	unread := func(n *ingestv1.FanOut) { n.Source, n.Id, n.Subject, n.RejectRule = "", "", "", "json" }
	write(t, store,
		with(newNote(1), unread), with(newNote(2), unread), with(newNote(3), unread),
		newNote(4), newNote(5), // published twice
		with(newNote(6), func(n *ingestv1.FanOut) { n.Source = "/other" }),
		with(newNote(7), func(n *ingestv1.FanOut) { n.Organization = "beta" }),
	)
	for name, c := range map[string]struct{ asked, want []int64 }{
		"one that could not be read": {[]int64{2}, []int64{2}},
		"one that was repeated":      {[]int64{5}, []int64{4, 5}},
		"both":                       {[]int64{1, 4}, []int64{1, 4, 5}},
		"another organization's":     {[]int64{7}, nil},
	} {
		got, err := store.FindEvents(newContext(t), "acme", pgstore.Selection{Sequences: c.asked}, 0, 100, 10)
		require.NoError(t, err)
		require.Equal(t, c.want, got, name)
	}
}
