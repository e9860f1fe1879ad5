package dialect_test

import (
	"bytes"
	"log/slog"
	"net/http"
	"slices"
	"testing"
	"time"

	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/types/known/timestamppb"

	wire "github.com/meetwire/meetwire/pkg/dialect"
	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/seal"
	"github.com/meetwire/meetwire/pkg/webhook"
	configv1 "github.com/meetwire/meetwire/proto/gen/meetwire/config/v1"
	"github.com/meetwire/meetwire/services/delivery/internal/core"
	"github.com/meetwire/meetwire/services/delivery/internal/dialect"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const hook = "11111111-1111-4111-8111-111111111111"

// env makes forms.
type env struct {
	maker *dialect.Maker
	log   *bytes.Buffer
}

func setup(t *testing.T) *env {
	t.Helper()
	e := &env{log: new(bytes.Buffer)}
	e.maker = &dialect.Maker{Box: newBox(t), UserAgent: "Meetwire/test", Logger: slog.New(slog.NewJSONHandler(e.log, nil))}
	return e
}

func newBox(t *testing.T) *seal.Box {
	t.Helper()
	keyset, err := seal.GenerateKeyset()
	require.NoError(t, err)
	box, err := seal.New(keyset)
	require.NoError(t, err)
	return box
}

// sealed seals a text for a purpose.
func sealed(t *testing.T, box *seal.Box, text, associated string) []byte {
	t.Helper()
	out, err := box.Seal([]byte(text), associated)
	require.NoError(t, err)
	return out
}

// secret is one of the webhook's; it ends after a time unless that is 0.
func (e *env) secret(t *testing.T, text string, after time.Duration) *configv1.SealedSecret {
	t.Helper()
	s := &configv1.SealedSecret{Sealed: sealed(t, e.maker.Box, text, hook)}
	if after > 0 {
		s.ExpireTime = timestamppb.New(begin().Add(after))
	}
	return s
}

func newSecret(t *testing.T, name string) string {
	t.Helper()
	text, err := wire.NewSecret(name)
	require.NoError(t, err)
	return text
}

// begin is when the tests begin.
func begin() time.Time { return time.Unix(1_770_000_000, 0).UTC() }

func task() *core.Task {
	return &core.Task{
		Delivery: "d1", Organization: "acme", Webhook: hook, Trigger: "meeting.booked", EventSequence: 7, AcceptedAt: begin(),
		Event: []byte(`{"specversion": "1.0", "type": "meeting.booked", "time": "2026-01-31T12:00:00Z", "data": {"a": 1}}`),
	}
}

// render returns the request at a time after the begin.
func render(t *testing.T, form *dialect.Form, after time.Duration) (http.Header, []byte) {
	t.Helper()
	request, err := form.Render(task(), begin().Add(after))
	require.NoError(t, err)
	header := http.Header{}
	for _, h := range request.Headers {
		require.Empty(t, header.Values(h.Name), "%s is sent twice", h.Name)
		header.Set(h.Name, h.Value)
	}
	return header, request.Body
}

// verifies reports whether a receiver with one secret takes a request.
func verifies(t *testing.T, name, secret string, header http.Header, body []byte, after time.Duration) bool {
	t.Helper()
	verifier, err := webhook.NewDialectVerifier(name, []string{secret}, webhook.WithClock(func() time.Time { return begin().Add(after) }))
	require.NoError(t, err)
	return verifier.Verify(header, body) == nil
}

func TestRequestsAreInTheWebhooksDialect(t *testing.T) {
	t.Parallel()
	e := setup(t)
	for _, name := range wire.Names() {
		secret := newSecret(t, name)
		form := e.maker.Form(dialect.Settings{Webhook: hook, Dialect: name, Secrets: []*configv1.SealedSecret{e.secret(t, secret, 0)}, SecretOwner: hook})
		header, body := render(t, form, 0)
		require.True(t, verifies(t, name, secret, header, body, 0), name)
		require.False(t, verifies(t, name, newSecret(t, name), header, body, 0), name)
		require.Equal(t, "d1", header.Get("webhook-id"), name)
		require.Equal(t, "7", header.Get("Meetwire-Event-Sequence"), name)
	}
	require.Empty(t, e.log.String())
}

func TestOptionsReachTheDialect(t *testing.T) {
	t.Parallel()
	e := setup(t)
	secrets := []*configv1.SealedSecret{e.secret(t, "hunter2", 0)}
	hex, _ := render(t, e.maker.Form(dialect.Settings{Webhook: hook, Dialect: wire.Avoma, Secrets: secrets, SecretOwner: hook}), 0)
	base64, _ := render(t, e.maker.Form(dialect.Settings{
		Webhook: hook, Dialect: wire.Avoma, Secrets: secrets, SecretOwner: hook, Options: wire.Options{SignatureEncoding: "base64"},
	}), 0)
	require.Len(t, hex.Get("X-Avoma-Signature"), 64)
	require.Len(t, base64.Get("X-Avoma-Signature"), 44)
	_, body := render(t, e.maker.Form(dialect.Settings{Webhook: hook, Dialect: wire.Axcelerate, Options: wire.Options{ClientID: 4711}}), 0)
	require.Contains(t, string(body), "4711")
}

// TestOfficialLibraryTakesWhatIsSent verifies with code that is not ours.
func TestOfficialLibraryTakesWhatIsSent(t *testing.T) {
	t.Parallel()
	e := setup(t)
	secrets := []string{newSecret(t, wire.Standard), newSecret(t, wire.Standard)}
	form := e.maker.Form(dialect.Settings{Webhook: hook, Dialect: wire.Standard, SecretOwner: hook, Secrets: []*configv1.SealedSecret{
		e.secret(t, secrets[0], 0), e.secret(t, secrets[1], time.Hour),
	}})
	for _, secret := range append(secrets, newSecret(t, wire.Standard)) {
		header, body := render(t, form, 0)
		receiver, err := standardwebhooks.NewWebhook(secret)
		require.NoError(t, err)
		err = receiver.VerifyIgnoringTimestamp(body, header)
		if slices.Contains(secrets, secret) {
			require.NoError(t, err)
			require.Error(t, receiver.VerifyIgnoringTimestamp(append(body, ' '), header), "tampered")
		} else {
			require.Error(t, err, "a wrong secret")
		}
	}
}

// While a secret is being replaced, receivers that know only one of them go on working.
func TestSecretsDuringARotation(t *testing.T) {
	t.Parallel()
	for _, name := range wire.Names() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := setup(t)
			oldest, older, newest := newSecret(t, name), newSecret(t, name), newSecret(t, name)
			form := e.maker.Form(dialect.Settings{Webhook: hook, Dialect: name, SecretOwner: hook, Secrets: []*configv1.SealedSecret{
				e.secret(t, newest, 0), e.secret(t, older, 2*time.Hour), e.secret(t, oldest, time.Hour),
			}})
			known, _ := wire.Lookup(name)
			all := known.Traits().Secret.Keyed
			for _, step := range []struct {
				after                 time.Duration
				oldest, older, newest bool
			}{
				{after: time.Hour - time.Nanosecond, oldest: true, older: all, newest: all},
				{after: time.Hour, older: true, newest: all},
				{after: 2 * time.Hour, newest: true},
				{after: 1000 * time.Hour, newest: true},
			} {
				header, body := render(t, form, step.after)
				require.Equal(t, step.oldest, verifies(t, name, oldest, header, body, step.after), "%s oldest", step.after)
				require.Equal(t, step.older, verifies(t, name, older, header, body, step.after), "%s older", step.after)
				require.Equal(t, step.newest, verifies(t, name, newest, header, body, step.after), "%s newest", step.after)
			}
		})
	}
}

func TestNothingIsSentUnsignedThatShouldBeSigned(t *testing.T) {
	t.Parallel()
	e := setup(t)
	good := newSecret(t, wire.ACE)
	other := e.secret(t, good, 0)
	other.Sealed = sealed(t, newBox(t), good, hook)
	for name, secrets := range map[string][]*configv1.SealedSecret{
		"another keyset":                 {other},
		"one of two with another keyset": {e.secret(t, good, 0), other},
		"another webhook's":              {{Sealed: sealed(t, e.maker.Box, good, "w2")}},
		"expired":                        {e.secret(t, good, time.Nanosecond)},
	} {
		form := e.maker.Form(dialect.Settings{Webhook: hook, Dialect: wire.ACE, Secrets: secrets, SecretOwner: hook})
		_, err := form.Render(task(), begin().Add(time.Hour))
		require.Error(t, err, name)
		require.Equal(t, name != "expired", fault.Is(err, fault.Unavailable), "%s: another process may have the key", name)
		require.NotContains(t, err.Error(), good)
	}
	require.Contains(t, e.log.String(), hook)
	require.NotContains(t, e.log.String(), good)

	_, err := e.maker.Form(dialect.Settings{Webhook: hook, Dialect: wire.Standard}).Render(task(), begin())
	require.ErrorIs(t, err, wire.ErrNoSecret)
	_, err = e.maker.Form(dialect.Settings{Webhook: hook, Dialect: "of tomorrow"}).Render(task(), begin())
	require.ErrorIs(t, err, wire.ErrUnknown)
	require.True(t, fault.Is(err, fault.Unavailable), "another process may be newer")
	unsigned, _ := render(t, e.maker.Form(dialect.Settings{Webhook: hook, Dialect: wire.ACE}), 0)
	require.Empty(t, unsigned.Get("x-ace-signature"), "a secret is optional there")
}

func TestOwnHeadersComeLastAndOverrideNothing(t *testing.T) {
	t.Parallel()
	e := setup(t)
	secret := newSecret(t, wire.Standard)
	settings := dialect.Settings{Webhook: hook, Dialect: wire.Standard, Secrets: []*configv1.SealedSecret{e.secret(t, secret, 0)}, SecretOwner: hook}
	for name, value := range map[string]string{
		"X-Token": "hunter2", "webhook-id": "forged", "User-Agent": "forged", "Host": "forged", "Transfer-Encoding": "chunked", "MEETWIRE-x": "forged",
	} {
		lower := map[string]string{"X-Token": "x-token", "User-Agent": "user-agent", "Host": "host", "Transfer-Encoding": "transfer-encoding", "MEETWIRE-x": "meetwire-x"}[name]
		if lower == "" {
			lower = name
		}
		settings.Headers = append(settings.Headers, &configv1.SealedHeader{Name: name, SealedValue: sealed(t, e.maker.Box, value, hook+"/headers/"+lower)})
	}
	request, err := e.maker.Form(settings).Render(task(), begin())
	require.NoError(t, err)
	last := request.Headers[len(request.Headers)-1]
	require.Equal(t, core.Header{Name: "X-Token", Value: "hunter2", Secret: true}, last)
	for _, header := range request.Headers[:len(request.Headers)-1] {
		require.False(t, header.Secret, header.Name)
		require.NotContains(t, []string{"forged", "chunked"}, header.Value, header.Name)
	}

	// Its value belongs to one webhook and one name.
	for _, associated := range []string{"w2/headers/x-token", hook + "/headers/x-other", hook} {
		settings.Headers = []*configv1.SealedHeader{{Name: "X-Token", SealedValue: sealed(t, e.maker.Box, "hunter2", associated)}}
		_, err := e.maker.Form(settings).Render(task(), begin())
		require.ErrorIs(t, err, seal.ErrOpen)
		require.NotContains(t, err.Error(), "hunter2")
	}
}
