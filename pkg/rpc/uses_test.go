package rpc_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/rpc"
	accessv1 "github.com/meetwire/meetwire/proto/gen/meetwire/access/v1"
)

// Who knows an id only has not used the key.
func TestUseOfAKeyIsNotedWhenItsSecretIsRight(t *testing.T) {
	t.Parallel()
	w := setup(t)
	key, other := w.keys.add(t, accessv1.Role_ROLE_ADMIN, "acme"), w.keys.add(t, accessv1.Role_ROLE_VIEWER, "acme")
	id, _, ok := rpc.ParseKey(key)
	require.True(t, ok)
	list := calls(w)["list"]
	wrong := key[:strings.LastIndex(key, "_")] + other[strings.LastIndex(other, "_"):]
	for _, credential := range []string{wrong, serviceToken, "nonsense"} {
		require.Error(t, list(as(t, credential), "acme"))
	}
	require.Empty(t, w.keys.used)
	require.NoError(t, list(as(t, key), "acme"))
	require.Error(t, calls(w)["watch"](as(t, key), ""), "a call that is refused is a use too")
	require.Equal(t, []string{id, id}, w.keys.used)
}
