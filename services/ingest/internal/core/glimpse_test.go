package core_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/services/ingest/internal/core"
)

func TestGlimpse(t *testing.T) {
	t.Parallel()
	for document, want := range map[string]*core.Event{
		`{"id": "1", "source": "/s", "subject": "m-1", "id": "2"}`:         {ID: "2", Source: "/s", Subject: "m-1"},
		`{"id": 7, "source": null, "data": {"id": "m-2"}}`:                 {Subject: "m-2"},
		`{"id": "1", "data": {"id": "m-3", "n": 1e999999}}`:                {ID: "1", Subject: "m-3"},
		`{"id": "` + strings.Repeat("x", 257) + `", "subject": "a\u0000"}`: {},
		`{"id": "1"`:                      {},
		`[]`:                              {},
		``:                                {},
		`{"data": "m"}`:                   {},
		strings.Repeat(`{"data":`, 20000): {},
		"{\"id\": \"\xff\", \"subject\": \"m-4\"}": {ID: "\uFFFD", Subject: "m-4"},
	} {
		require.Equal(t, want, core.Glimpse([]byte(document)), "%.80s", document)
	}
}
