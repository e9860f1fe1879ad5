package aip_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/aip"
)

const webhookPattern = "organizations/{organization}/webhooks/{webhook}"

func TestParseName(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, pattern string
		want          []string
	}{
		{"organizations/acme", "organizations/{organization}", []string{"acme"}},
		{"organizations/-", "organizations/{organization}", []string{"-"}},
		{"organizations/acme/webhooks/0b3c-1", webhookPattern, []string{"acme", "0b3c-1"}},
		{"organizations/acme/triggers/meeting.notes_ready", "organizations/{o}/triggers/{t}", []string{"acme", "meeting.notes_ready"}},
		{"status", "status", []string{}},
	} {
		got, err := aip.ParseName(test.name, test.pattern)
		require.NoError(t, err, test.name)
		require.Equal(t, test.want, got, test.name)
	}
}

func TestParseNameOfAnotherForm(t *testing.T) {
	t.Parallel()
	for _, name := range []string{
		"", "/", "organizations", "organizations/", "organizations/acme", "organizations/acme/webhooks",
		"organizations/acme/webhooks/", "organizations//webhooks/1", "organizations/acme/webhooks/1/",
		"organizations/acme/webhooks/1/more", "/organizations/acme/webhooks/1", "organizations/acme/deliveries/1",
		"Organizations/acme/webhooks/1", "organizations/ac me/webhooks/1", "organizations/acme/webhooks/1\n",
		"organizations/acme/webhooks/%2e", "organizations/acme/webhooks/ü", "organizations/acme/webhooks/..",
		"organizations/./webhooks/1", "organizations/acme/webhooks/*", "organizations/acme/webhooks/\xff",
		"organizations/acme/webhooks/" + strings.Repeat("a", 512), webhookPattern,
	} {
		got, err := aip.ParseName(name, webhookPattern)
		require.Nil(t, got, name)
		field := requireInvalid(t, err, "name")
		require.Contains(t, field.Message, webhookPattern, name)
	}
	_, err := aip.ParseNameField("webhook.name", "x", webhookPattern)
	requireInvalid(t, err, "webhook.name")
}

func FuzzParseName(f *testing.F) {
	for _, seed := range []string{"organizations/acme/webhooks/1", "organizations//webhooks/", "//", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, name string) {
		ids, err := aip.ParseName(name, webhookPattern)
		if err != nil {
			requireInvalid(t, err, "name")
			return
		}
		require.Len(t, ids, 2)
		require.Equal(t, name, "organizations/"+ids[0]+"/webhooks/"+ids[1])
	})
}
