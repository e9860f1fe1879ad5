package delivery

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/secret"
)

func TestConfigOfTheSender(t *testing.T) {
	t.Parallel()
	config := Config{Concurrency: 7, AllowedTargets: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
	made, err := config.sender()
	require.NoError(t, err)
	require.Equal(t, 7, made.PerHost)
	require.Equal(t, config.AllowedTargets, made.Allowed)
	require.Nil(t, made.Proxy)
	require.Nil(t, made.Roots, "the system's")
	require.False(t, made.ProxyResolves)

	config.EgressProxy, config.ProxyResolves = secret.New("http://proxy:3128"), true
	made, err = config.sender()
	require.NoError(t, err)
	require.NotNil(t, made.Proxy)
	require.True(t, made.ProxyResolves)
}
