package core_test

import (
	"encoding/base64"
	"math"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// requireField asserts that an error is InvalidArgument and names the field, and returns its message.
func requireField(t *testing.T, err error, path string) string {
	t.Helper()
	require.True(t, fault.Is(err, fault.InvalidArgument), "%v", err)
	for _, field := range fault.From(err).Fields {
		if field.Path == path {
			return field.Message
		}
	}
	require.Failf(t, "field not named", "%s in %v", path, fault.From(err).Fields)
	return ""
}

func TestParseTargetURL(t *testing.T) {
	t.Parallel()
	long := "https://example.com/" + strings.Repeat("a", core.MaxTargetURLLength-len("https://example.com/"))
	for _, test := range []struct {
		name, raw string
		http      bool
		want      string // empty: the same as raw
	}{
		{name: "plain", raw: "https://example.com"},
		{name: "path, query and port", raw: "https://Example.com:8443/hooks/1?x=1&y=%20"},
		{name: "upper-case scheme", raw: "HTTPS://example.com/"},
		{name: "http where allowed", raw: "http://example.com/", http: true},
		{name: "IPv4", raw: "https://192.0.2.1/hook"},
		{name: "IPv6", raw: "https://[2001:db8::1]:443/hook"},
		{name: "trailing dot", raw: "https://example.com./"},
		{name: "single label with underscore", raw: "http://my_service:8080/", http: true},
		{name: "unicode host", raw: "https://bücher.example/straße", want: "https://xn--bcher-kva.example/straße"},
		{name: "unicode host with port", raw: "https://例え.テスト:8443", want: "https://xn--r8jz45g.xn--zckzah:8443"},
		{name: "the longest", raw: long},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, fields := core.ParseTargetURL(test.raw, test.http)
			require.Empty(t, fields)
			want := test.want
			if want == "" {
				want = test.raw
			}
			require.Equal(t, want, got)
		})
	}
}

func TestParseTargetURLRefuses(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, raw, says string }{
		{"empty", "", "required"},
		{"too long", "https://example.com/" + strings.Repeat("a", core.MaxTargetURLLength), "2048"},
		{"too long in ASCII", "https://" + strings.Repeat("ü", 20) + ".example/" + strings.Repeat("a", 2010), "2048"},
		{"http", "http://example.com/", "does not allow http"},
		{"other scheme", "ftp://example.com/", "https://"},
		{"no scheme", "example.com/hook", "https://"},
		{"scheme only", "https:", "host"},
		{"opaque", "https:example.com", "host"},
		{"relative", "//example.com/", "https://"},
		{"no host", "https:///hook", "host"},
		{"only a port", "https://:443/hook", "host"},
		{"credentials", "https://user:pass@example.com/", "credentials"},
		{"empty credentials", "https://@example.com/", "credentials"},
		{"fragment", "https://example.com/#x", "fragment"},
		{"empty fragment", "https://example.com/#", "fragment"},
		{"space", "https://example.com/a b", "spaces"},
		{"leading space", " https://example.com/", "spaces"},
		{"line break", "https://example.com/\r\nHost: x", "control"},
		{"NUL", "https://example.com/\x00", "control"},
		{"NEL", "https://example.com/\u0085", "spaces"},
		{"not UTF-8", "https://example.com/\xff", "UTF-8"},
		{"bad escape", "https://example.com/%zz", "valid"},
		{"escaped host", "https://b%C3%BCcher.example/", "percent"},
		{"port 0", "https://example.com:0/", "65535"},
		{"port too great", "https://example.com:65536/", "65535"},
		{"empty port", "https://example.com:/", "65535"},
		{"port no number", "https://example.com:x/", "valid"},
		{"IPv6 zone", "https://[fe80::1%25eth0]/", "percent"},
		{"bad IPv6", "https://[1:2]/", "valid"},
		{"short IPv4", "https://127.1/", "usual notation"},
		{"one number", "https://2130706433/", "usual notation"},
		{"hexadecimal", "https://0x7f.0.0.0x1/", "usual notation"},
		{"octal", "https://0177.0.0.01/", "usual notation"},
		{"great number", "https://99999999999999999999999/", "usual notation"},
		{"empty label", "https://example..com/", "labels"},
		{"long label", "https://" + strings.Repeat("a", 64) + ".com/", "63"},
		{"long host", "https://" + strings.Repeat("abcdefgh.", 30) + "com/", "253"},
		{"host character", "https://exa$mple.com/", "letters"},
		{"bad unicode host", "https://\u00ad.example/", "labels"},
		{"backslash", `https://example.com\@evil.example/`, "valid"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, fields := core.ParseTargetURL(test.raw, false)
			require.Len(t, fields, 1)
			require.Equal(t, "webhook.target_url", fields[0].Path)
			require.NotEmpty(t, fields[0].Rule)
			require.Contains(t, fields[0].Message, test.says)
			require.NotContains(t, fields[0].Message, "pass", "credentials must not come back")
		})
	}
}

func FuzzParseTargetURL(f *testing.F) {
	for _, seed := range []string{
		"https://example.com", "http://user@h/", "https://bücher.example/?q#f", "https://[::1]:1/", "https://1.2.3.4:0",
		"https://%41.com", "https:opaque", "https://a:b", "//x", "https://１２７.0.0.1/", "https://ß.example:443/ü?ü",
	} {
		f.Add(seed, true)
		f.Add(seed, false)
	}
	f.Fuzz(func(t *testing.T, raw string, allowHTTP bool) {
		got, fields := core.ParseTargetURL(raw, allowHTTP)
		if len(fields) > 0 {
			require.Empty(t, got)
			require.Equal(t, "webhook.target_url", fields[0].Path)
			require.NotEmpty(t, fields[0].Message)
			return
		}
		require.LessOrEqual(t, utf8.RuneCountInString(got), core.MaxTargetURLLength)
		again, fields := core.ParseTargetURL(got, allowHTTP)
		require.Empty(t, fields, "what was accepted is accepted again")
		require.Equal(t, got, again)

		parsed, err := url.Parse(got)
		require.NoError(t, err)
		require.True(t, parsed.Scheme == "https" || (allowHTTP && parsed.Scheme == "http"), got)
		require.Nil(t, parsed.User)
		require.Empty(t, parsed.Fragment)
		require.NotEmpty(t, parsed.Hostname())
		if _, err := netip.ParseAddr(parsed.Hostname()); err != nil {
			require.NotContains(t, parsed.Hostname(), ":")
		}
		require.Len(t, []rune(parsed.Host), len(parsed.Host), "a host is ASCII")
		_, err = http.NewRequestWithContext(t.Context(), http.MethodPost, got, http.NoBody)
		require.NoError(t, err)
	})
}

func TestNewAPIKey(t *testing.T) {
	t.Parallel()
	for role := core.Role(-1); role < 7; role++ {
		_, err := core.NewAPIKey("id", [32]byte{1}, "acme", core.APIKeyWish{DisplayName: "CI", Role: role}, time.Now())
		if role == core.RoleAdmin || role == core.RoleViewer || role == core.RolePublisher {
			require.NoError(t, err)
			continue
		}
		requireField(t, err, "api_key.role")
	}
	_, err := core.NewAPIKey("id", [32]byte{1}, "acme", core.APIKeyWish{DisplayName: "a\x00", Role: core.RoleAdmin}, time.Now())
	requireField(t, err, "api_key.display_name")
}

// secretOf returns a signing secret of n bytes.
func secretOf(n int) string {
	return "whsec_" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat("k", n)))
}

func TestRetryPolicyLimitsAreInclusive(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		policy core.RetryPolicy
		path   string // empty: it is valid
	}{
		{"all defaults", core.RetryPolicy{}, ""},
		{"least", core.RetryPolicy{FirstDelay: core.MinDelay, Factor: 1, MaxDelay: core.MinDelay}, ""},
		{"most", core.RetryPolicy{MaxRetries: 30, FirstDelay: core.MaxFirstDelay, Factor: 10, MaxDelay: core.MaxMaxDelay, Jitter: 0.5}, ""},
		{"retries below", core.RetryPolicy{MaxRetries: -1}, "max_retries"},
		{"retries above", core.RetryPolicy{MaxRetries: 31}, "max_retries"},
		{"first delay below", core.RetryPolicy{FirstDelay: core.MinDelay - 1}, "first_delay"},
		{"first delay above", core.RetryPolicy{FirstDelay: core.MaxFirstDelay + 1, MaxDelay: core.MaxMaxDelay}, "first_delay"},
		{"factor below", core.RetryPolicy{Factor: 0.99}, "factor"},
		{"factor above", core.RetryPolicy{Factor: 10.01}, "factor"},
		{"factor NaN", core.RetryPolicy{Factor: math.NaN()}, "factor"},
		{"max delay below", core.RetryPolicy{FirstDelay: core.MinDelay, MaxDelay: core.MinDelay - 1}, "max_delay"},
		{"max delay above", core.RetryPolicy{MaxDelay: core.MaxMaxDelay + 1}, "max_delay"},
		{"max delay below first delay", core.RetryPolicy{FirstDelay: time.Minute, MaxDelay: time.Second}, "max_delay"},
		{"jitter below", core.RetryPolicy{Jitter: -0.1}, "jitter"},
		{"jitter above", core.RetryPolicy{Jitter: 0.51}, "jitter"},
		{"jitter NaN", core.RetryPolicy{Jitter: math.NaN()}, "jitter"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := newSteps()
			change := validChange()
			change.RetryPolicy = core.Replace(test.policy)
			w, _, err := s.webhooks.Create(t.Context(), "acme", change, core.Request{}, false)
			if test.path == "" {
				require.NoError(t, err)
				require.NotZero(t, w.RetryPolicy.FirstDelay)
				require.NotZero(t, w.RetryPolicy.Factor)
				require.GreaterOrEqual(t, w.RetryPolicy.MaxDelay, w.RetryPolicy.FirstDelay)
				return
			}
			requireField(t, err, "webhook.retry_policy."+test.path)
		})
	}
}
