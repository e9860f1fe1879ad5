package schema_test

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	"github.com/meetwire/meetwire/services/ingest/internal/core"
	"github.com/meetwire/meetwire/services/ingest/internal/schema"
)

func FuzzCheckData(f *testing.F) {
	f.Add([]byte(`{"title":"x","attendees":[{"email":"a@example.com","age":1e1000001}],"minutes":1e309}`))
	f.Add([]byte(`{"title":"x","attendees":[1,1.0]}`))
	f.Add([]byte(`nul`))
	catalogue := schema.New(core.NewIndex(), slog.New(slog.DiscardHandler))
	catalogue.Reset([]*configv1.Resource{trigger("meeting.booked", booked)}, 1)
	f.Fuzz(func(t *testing.T, data []byte) {
		pointer, problem, ok := check(catalogue, "acme", "meeting.booked", string(data))
		require.Equal(t, ok, problem == "")
		if !ok && pointer != "" {
			require.True(t, strings.HasPrefix(pointer, "/"))
		}
	})
}
