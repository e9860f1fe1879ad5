package aip_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/aip"
)

func TestParseOrder(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		orderBy, field string
		descending     bool
	}{
		{"", "create_time", false},
		{"  ", "create_time", false},
		{"create_time", "create_time", false},
		{" name ", "name", false},
		{"name desc", "name", true},
		{"name   desc", "name", true},
	} {
		field, descending, err := aip.ParseOrder(test.orderBy, "create_time", "name")
		require.NoError(t, err, test.orderBy)
		require.Equal(t, test.field, field, test.orderBy)
		require.Equal(t, test.descending, descending, test.orderBy)
	}
	for _, orderBy := range []string{"other", "name asc", "name DESC", "name,create_time", "name desc desc", "desc", "name, name", "\x00"} {
		_, _, err := aip.ParseOrder(orderBy, "create_time", "name")
		field := requireInvalid(t, err, "order_by")
		require.Contains(t, field.Message, "create_time, name")
	}
	_, _, err := aip.ParseOrder("")
	requireInvalid(t, err, "order_by")
}
