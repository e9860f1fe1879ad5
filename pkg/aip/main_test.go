package aip_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/meetwire/meetwire/pkg/fault"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// requireInvalid asserts that an error names one field at fault.
func requireInvalid(t *testing.T, err error, path string) fault.Field {
	t.Helper()
	var f *fault.Error
	require.ErrorAs(t, err, &f)
	require.Equal(t, fault.InvalidArgument, f.Kind)
	require.Len(t, f.Fields, 1)
	require.Equal(t, path, f.Fields[0].Path)
	require.NotEmpty(t, f.Fields[0].Rule)
	require.NotEmpty(t, f.Fields[0].Message)
	return f.Fields[0]
}
