package cli

import (
	"testing"

	"github.com/stretchr/testify/require"

	subscriptionv1 "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
)

func TestCellsAreFitForATerminal(t *testing.T) {
	t.Parallel()
	w := &subscriptionv1.Webhook{Name: "webhooks/\x1b[2J", Metadata: map[string]string{"b\x1b": "2", "a": "1\x07"}, DisplayName: "0"}
	for path, want := range map[string]string{
		"name": "\uFFFD[2J", "metadata": "a=1\uFFFD, b\uFFFD=2", "max_concurrency": "",
		"display_name": "0", // a text, not a number that is unset
	} {
		require.Equal(t, want, cell(w.ProtoReflect(), path), path)
	}
}
