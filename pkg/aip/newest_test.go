package aip_test

import (
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/aip"
)

func TestPlaceInAListOfTheNewest(t *testing.T) {
	t.Parallel()
	first := aip.NewestFirst()
	require.True(t, first.Valid())
	require.True(t, first.Time.After(time.Now()))
	require.Equal(t, uuid.Max, first.ID)
	require.False(t, aip.Newest{}.Valid())
	require.False(t, aip.Newest{Time: time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)}.Valid())
	require.False(t, aip.Newest{Time: time.Date(-1, 1, 1, 0, 0, 0, 0, time.UTC)}.Valid())
}
