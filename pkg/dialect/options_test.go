package dialect_test

import (
	"maps"
	"math"
	"net/textproto"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/dialect"
	"github.com/meetwire/meetwire/pkg/webhook"
)

func TestDialects(t *testing.T) {
	t.Parallel()
	require.Equal(t, []string{
		"standard", "cloudevents", "ace", "avoma", "orufy", "harmonizely", "axcelerate",
	}, dialect.Names())
	for _, name := range dialect.Names() {
		d, ok := dialect.Lookup(name)
		require.True(t, ok)
		require.Equal(t, name, d.Name())
		traits := d.Traits()
		require.NotEmpty(t, traits.Title)
		require.NotEmpty(t, traits.SignatureHeaders)
		require.NotEmpty(t, traits.Secret.Format)
		require.Equal(t, name == dialect.Avoma, traits.Secret.Organization)
	}
	_, ok := dialect.Lookup("Standard")
	require.False(t, ok)
}

func TestDefaultPolicies(t *testing.T) {
	t.Parallel()
	standard := dialect.Retry{
		Preset: dialect.PresetStandard, Jitter: 0.2, Delays: []time.Duration{
			5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour, 10 * time.Hour, 14 * time.Hour,
			20 * time.Hour, 24 * time.Hour,
		},
	}
	doubling := dialect.Retry{Preset: dialect.PresetAxcelerate}
	for i := range 20 {
		doubling.Delays = append(doubling.Delays, time.Duration(math.Pow(2, float64(i)))*time.Second)
	}
	days := dialect.Failures{WithoutSuccess: 120 * time.Hour}
	const byOrganization, httpAllowed, httpsOnly = "as the organization says", "http allowed", "https only"
	policies := map[dialect.Name]struct {
		retry    dialect.Retry
		failures dialect.Failures
		gone     bool
		target   string
	}{
		dialect.Standard:    {standard, days, true, byOrganization},
		dialect.CloudEvents: {standard, days, true, byOrganization},
		dialect.ACE:         {standard, dialect.Failures{Consecutive: 2}, false, httpAllowed},
		dialect.Avoma:       {standard, days, true, httpsOnly},
		dialect.Orufy:       {standard, days, true, byOrganization},
		dialect.Harmonizely: {standard, days, true, byOrganization},
		dialect.Axcelerate:  {doubling, dialect.Failures{}, false, byOrganization},
	}
	requireEvery(t, slices.Collect(maps.Keys(policies))...)
	for name, want := range policies {
		d, _ := dialect.Lookup(name)
		traits := d.Traits()
		require.Equal(t, want.retry, traits.Retry, name)
		require.Equal(t, want.failures, traits.Failures, name)
		require.Equal(t, want.gone, traits.GoneDisables, name)
		require.Equal(t, want.target == httpAllowed, traits.HTTPAllowed, name)
		require.Equal(t, want.target == httpsOnly, traits.HTTPSOnly, name)
	}
}

func TestOptions(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    dialect.Name
		options dialect.Options
		want    string // path, rule and message of each fault
	}{
		{dialect.Standard, dialect.Options{}, ""},
		{dialect.Avoma, dialect.Options{SignatureEncoding: "base64"}, ""},
		{dialect.Orufy, dialect.Options{SignatureEncoding: "hex"}, ""},
		{dialect.Axcelerate, dialect.Options{SignatureEncoding: "base64", ClientID: 1<<53 - 1}, ""},
		{dialect.Axcelerate, dialect.Options{ClientID: -1}, "client_id range must be from 0 to 9007199254740991"},
		{dialect.Axcelerate, dialect.Options{ClientID: 1 << 53}, "client_id range must be from 0 to 9007199254740991"},
		{dialect.Orufy, dialect.Options{SignatureEncoding: "Hex"}, "signature_encoding in must be empty or one of hex, base64"},
		{
			dialect.Harmonizely, dialect.Options{SignatureEncoding: "base64", ClientID: 1},
			"signature_encoding dialect.fixed must be empty: the dialect harmonizely lays down its encoding; " +
				"client_id dialect.unused must be 0: the dialect harmonizely sends none",
		},
		{"x", dialect.Options{}, "dialect in must be one of standard, cloudevents, ace, avoma, orufy, harmonizely, axcelerate"},
	} {
		var got []string
		for _, fault := range dialect.CheckOptions(c.name, c.options) {
			got = append(got, fault.Path+" "+fault.Rule+" "+fault.Message)
		}
		require.Equal(t, c.want, strings.Join(got, "; "), "%s %+v", c.name, c.options)
	}
}

func TestNewSecretsAreGoodAndDiffer(t *testing.T) {
	t.Parallel()
	for _, name := range dialect.Names() {
		one, err := dialect.NewSecret(name)
		require.NoError(t, err)
		other, err := dialect.NewSecret(name)
		require.NoError(t, err)
		require.NotEqual(t, one, other)
		require.NoError(t, dialect.CheckSecret(name, one))
		require.Equal(t, name == dialect.Standard || name == dialect.CloudEvents, strings.HasPrefix(one, "whsec_"))
		renderer(t, dialect.Config{Name: name, Secrets: []string{one}})
	}
	_, err := dialect.NewSecret("x")
	require.ErrorIs(t, err, dialect.ErrUnknown)
	require.ErrorIs(t, dialect.CheckSecret("x", "y"), dialect.ErrUnknown)
}

func TestSecretsAreChecked(t *testing.T) {
	t.Parallel()
	private, public, err := webhook.NewKeyPair()
	require.NoError(t, err)
	for _, secret := range []string{keyNow, private} {
		require.NoError(t, dialect.CheckSecret(dialect.Standard, secret))
	}
	for _, secret := range []string{"", "plain", public, "whsec_AAAA"} {
		require.ErrorIs(t, dialect.CheckSecret(dialect.CloudEvents, secret), webhook.ErrInvalidSecret)
	}
	for _, secret := range []string{"x", "with a space", "ünï 🙂", strings.Repeat("x", 256), keyNow} {
		require.NoError(t, dialect.CheckSecret(dialect.ACE, secret))
	}
	for _, secret := range []string{"", "a\nb", "\x00", "\xff", "a\u2028b", "\u200b", strings.Repeat("x", 257), strings.Repeat("ü", 129)} {
		require.ErrorIs(t, dialect.CheckSecret(dialect.Orufy, secret), webhook.ErrInvalidSecret, "%q", secret)
	}
}

func TestReservedHeaders(t *testing.T) {
	t.Parallel()
	reserved := dialect.ReservedHeaders()
	require.True(t, slices.IsSorted(reserved))
	for _, name := range reserved {
		require.Equal(t, strings.ToLower(name), name)
	}
	e := happened("a.b", `{}`)
	e.TraceParent, e.TraceState = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "a=b"
	for _, name := range dialect.Names() {
		for _, header := range render(t, name, e).Headers {
			require.True(t, dialect.IsReservedHeader(header.Name), "%s sends %s", name, header.Name)
			require.True(t, dialect.IsReservedHeader(textproto.CanonicalMIMEHeaderKey(header.Name)))
		}
	}
	for _, name := range []string{
		"Host", "Connection", "Content-Length", "Transfer-Encoding", "TE", "Trailer", "Upgrade", "Keep-Alive", "Expect",
		"Proxy-Authorization", "Proxy-Connection", "Accept-Encoding", "Content-Type", "Content-Encoding", "ce-id", "Ce-Type",
		"User-Agent", "webhook-signature", "Webhook-Anything", "meetwire-anything", "X-ACE-Signature", "AX-SIGNATURE-VERSION",
		"X_Ace_Signature", "x-ace_signature", "webhook_id", "Ax_Signature_Version", "CONTENT_TYPE", "meetwire_event_sequence",
	} {
		require.True(t, dialect.IsReservedHeader(name), name)
	}
	for _, name := range []string{"Authorization", "X-Api-Key", "Accept", "X-Request-Id", "Webhook", "Cecil", "X-Orufy", "X_Api_Key", "web_hook"} {
		require.False(t, dialect.IsReservedHeader(name), name)
	}
}
