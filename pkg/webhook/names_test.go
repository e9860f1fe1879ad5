package webhook_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/dialect"
	"github.com/meetwire/meetwire/pkg/webhook"
)

// Whatever can be sent can be verified: the tests of this package go through the dialects that they name.
func TestTheDialectsAreThoseThatAreSent(t *testing.T) {
	t.Parallel()
	require.ElementsMatch(t, dialect.Names(), webhook.Dialects(), "a dialect is missing in the tests of this package")
}
