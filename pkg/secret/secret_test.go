package secret_test

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/meetwire/meetwire/pkg/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const text = "correct-horse-battery"

// enclosing holds secrets in every way in which a struct can hold one.
type enclosing struct {
	Exported secret.String
	hidden   secret.String
	Pointer  *secret.String
	List     []secret.String
	Map      map[string]secret.String
	inner    struct{ deep secret.String }
	any      any
}

func newEnclosing() enclosing {
	s := secret.New(text)
	e := enclosing{
		Exported: s, hidden: s, Pointer: &s,
		List: []secret.String{s}, Map: map[string]secret.String{"key": s}, any: s,
	}
	e.inner.deep = s
	return e
}

func TestStringRevealsOnlyOnDemand(t *testing.T) {
	t.Parallel()
	s := secret.New(text)
	require.Equal(t, text, s.Reveal())
	require.False(t, s.IsZero())
	require.Equal(t, "REDACTED", s.String())
}

func TestStringIsNotFormatted(t *testing.T) {
	t.Parallel()
	s := secret.New(text)
	e := newEnclosing()
	values := map[string]any{
		"value": s, "pointer": &s, "struct": e, "pointer to struct": &e,
		"slice": []enclosing{e}, "map": map[string]*enclosing{"key": &e}, "error": fmt.Errorf("cause: %v", s),
	}
	verbs := []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "% X", "%d", "%t", "%p", "%U", "%c", "%T", "%-40s|", "%.3s", "%!"}
	for name, value := range values {
		for _, verb := range verbs {
			shown := fmt.Sprintf(verb, value)
			require.NotContains(t, shown, text, "%s with %s", name, verb)
			require.NotContains(t, shown, "correct", "%s with %s", name, verb)
			require.NotContains(t, shown, fmt.Sprintf("%x", text), "%s with %s", name, verb)
		}
	}
	require.Equal(t, "REDACTED", fmt.Sprint(s))
	require.Equal(t, `"REDACTED"`, fmt.Sprintf("%#v", s))
	require.Equal(t, `"REDACTED"`, fmt.Sprintf("%q", s))
	require.Equal(t, "REDACTED", fmt.Sprintf("%+v", s))
}

func TestStringIsNotEncoded(t *testing.T) {
	t.Parallel()
	e := newEnclosing()
	encoded, err := json.Marshal(e)
	require.NoError(t, err)
	require.NotContains(t, string(encoded), text)
	require.JSONEq(t, `{"Exported":"REDACTED","Pointer":"REDACTED","List":["REDACTED"],"Map":{"key":"REDACTED"}}`, string(encoded))

	encoded, err = json.Marshal(map[secret.String]int{secret.New(text): 1})
	require.NoError(t, err)
	require.JSONEq(t, `{"REDACTED":1}`, string(encoded), "as the key of a map")

	type document struct{ Password secret.String }
	encoded, err = xml.Marshal(document{secret.New(text)})
	require.NoError(t, err)
	require.NotContains(t, string(encoded), text)
}

func TestStringIsNotLogged(t *testing.T) {
	t.Parallel()
	e := newEnclosing()
	var out bytes.Buffer
	for _, handler := range []slog.Handler{slog.NewTextHandler(&out, nil), slog.NewJSONHandler(&out, nil)} {
		logger := slog.New(handler)
		logger.Info("message", "secret", secret.New(text), "struct", e, "pointer", &e)
		logger.With("secret", secret.New(text)).WithGroup("group").Info("message", "list", []secret.String{secret.New(text)})
		logger.Info("message", "error", errors.Join(errors.New("joined"), fmt.Errorf("%v %+v", e, e)))
	}
	require.NotContains(t, out.String(), text)
	require.Contains(t, out.String(), "secret=REDACTED")
	require.Contains(t, out.String(), `"secret":"REDACTED"`)
}

func TestEmptyStringShowsNothing(t *testing.T) {
	t.Parallel()
	for _, s := range []secret.String{{}, secret.New("")} {
		require.True(t, s.IsZero())
		require.Empty(t, s.Reveal())
		require.Empty(t, s.String())
		require.Empty(t, fmt.Sprint(s))
		require.Equal(t, `""`, fmt.Sprintf("%#v", s))
		encoded, err := json.Marshal(s)
		require.NoError(t, err)
		require.Equal(t, `""`, string(encoded))
	}
	require.Equal(t, secret.String{}, secret.New(""))
}

func TestEqual(t *testing.T) {
	t.Parallel()
	require.True(t, secret.New(text).Equal(secret.New(text)))
	require.False(t, secret.New(text).Equal(secret.New(text+"!")))
	require.False(t, secret.New(text).Equal(secret.String{}))
	require.True(t, secret.String{}.Equal(secret.New("")))
	require.True(t, reflect.DeepEqual(secret.New(text), secret.New(text)))
	require.False(t, reflect.DeepEqual(secret.New(text), secret.New("other")))
}

func TestUnmarshal(t *testing.T) {
	t.Parallel()
	var s secret.String
	require.NoError(t, s.UnmarshalText([]byte(text)))
	require.Equal(t, text, s.Reveal())

	var document struct{ Password secret.String }
	require.NoError(t, json.Unmarshal([]byte(`{"Password":"`+text+`"}`), &document))
	require.Equal(t, text, document.Password.Reveal())

	require.NoError(t, s.UnmarshalText(nil))
	require.True(t, s.IsZero())
}
