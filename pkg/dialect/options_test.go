package dialect_test

import (
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
		require.Equal(t, name == dialect.ACE, traits.HTTPAllowed)
		require.Equal(t, name != dialect.ACE && name != dialect.Axcelerate, traits.GoneDisables)
		require.Equal(t, name == dialect.Avoma, traits.Secret.Organization)
	}
	_, ok := dialect.Lookup("Standard")
	require.False(t, ok)
}

func TestDefaultPolicies(t *testing.T) {
	t.Parallel()
	for _, name := range dialect.Names() {
		d, _ := dialect.Lookup(name)
		traits := d.Traits()
		switch name {
		case dialect.Axcelerate:
			require.Zero(t, traits.Failures)
			require.Equal(t, dialect.PresetAxcelerate, traits.Retry.Preset)
			require.Zero(t, traits.Retry.Jitter)
			require.Len(t, traits.Retry.Delays, 20)
			for i, delay := range traits.Retry.Delays {
				require.Equal(t, time.Duration(math.Pow(2, float64(i)))*time.Second, delay)
			}
		default:
			require.Equal(t, dialect.PresetStandard, traits.Retry.Preset)
			require.InDelta(t, 0.2, traits.Retry.Jitter, 0)
			require.Equal(t, []time.Duration{
				5 * time.Second, 5 * time.Minute, 30 * time.Minute, 2 * time.Hour, 5 * time.Hour, 10 * time.Hour, 14 * time.Hour,
				20 * time.Hour, 24 * time.Hour,
			}, traits.Retry.Delays)
			want := dialect.Failures{WithoutSuccess: 120 * time.Hour}
			if name == dialect.ACE {
				want = dialect.Failures{Consecutive: 2}
			}
			require.Equal(t, want, traits.Failures)
		}
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
	} {
		require.True(t, dialect.IsReservedHeader(name), name)
	}
	for _, name := range []string{"Authorization", "X-Api-Key", "Accept", "X-Request-Id", "Webhook", "Cecil", "X-Orufy"} {
		require.False(t, dialect.IsReservedHeader(name), name)
	}
}
