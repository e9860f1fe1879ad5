package aip_test

import (
	"encoding/base64"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/meetwire/meetwire/pkg/aip"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	subscriptionv1 "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
)

type cursor struct {
	Time time.Time `json:"time"`
	ID   string    `json:"id"`
}

func TestPageSize(t *testing.T) {
	t.Parallel()
	for requested, want := range map[int32]int{
		0: 50, -1: 50, math.MinInt32: 50, 1: 1, 50: 50, 999: 999, 1000: 1000, 1001: 1000, math.MaxInt32: 1000,
	} {
		require.Equal(t, want, aip.PageSize(requested), requested)
	}
}

func setupToken(t *testing.T) (*deliveryv1.ListDeliveriesRequest, cursor, string) {
	t.Helper()
	request := &deliveryv1.ListDeliveriesRequest{Parent: "organizations/acme", Filter: `trigger = "meeting.booked"`, PageSize: 10}
	place := cursor{Time: time.Date(2026, 5, 4, 3, 2, 1, 123456789, time.UTC), ID: "d-1/ü"}
	token, err := aip.EncodeToken(request, place)
	require.NoError(t, err)
	return request, place, token
}

func TestTokenContinuesItsRequest(t *testing.T) {
	t.Parallel()
	request, place, token := setupToken(t)
	before := proto.Clone(request)

	var got cursor
	require.NoError(t, aip.DecodeToken(request, token, &got))
	require.Equal(t, place, got)

	next := &deliveryv1.ListDeliveriesRequest{
		Parent: request.GetParent(), Filter: request.GetFilter(), PageSize: 500, PageToken: token,
	}
	got = cursor{}
	require.NoError(t, aip.DecodeToken(next, token, &got))
	require.Equal(t, place, got)

	again, err := aip.EncodeToken(next, place)
	require.NoError(t, err)
	require.Equal(t, token, again)
	require.True(t, proto.Equal(before, request), "the request is left as it was")
	require.Equal(t, token, strings.Trim(token, "=+/ "), "it needs no escape in a URL")
}

func TestEmptyTokenBeginsTheList(t *testing.T) {
	t.Parallel()
	got := cursor{ID: "untouched"}
	require.NoError(t, aip.DecodeToken(&deliveryv1.ListDeliveriesRequest{}, "", &got))
	require.Equal(t, cursor{ID: "untouched"}, got)
}

func TestTokenOfAnotherRequestIsRefused(t *testing.T) {
	t.Parallel()
	request, _, token := setupToken(t)
	for name, other := range map[string]proto.Message{
		"parent":  &deliveryv1.ListDeliveriesRequest{Parent: "organizations/globex", Filter: request.GetFilter()},
		"filter":  &deliveryv1.ListDeliveriesRequest{Parent: request.GetParent()},
		"message": &deliveryv1.ListDeadLettersRequest{Parent: request.GetParent(), Filter: request.GetFilter()},
		"method":  &subscriptionv1.ListWebhooksRequest{Parent: request.GetParent()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var got cursor
			requireInvalid(t, aip.DecodeToken(other, token, &got), "page_token")
		})
	}
}

func TestTamperedTokenIsRefused(t *testing.T) {
	t.Parallel()
	request, _, token := setupToken(t)
	refused := func(tampered string) {
		t.Helper()
		var got cursor
		requireInvalid(t, aip.DecodeToken(request, tampered, &got), "page_token")
	}
	for i := range token {
		for _, c := range "A9_=. \n" {
			if tampered := token[:i] + string(c) + token[i+1:]; tampered != token {
				refused(tampered)
			}
		}
		refused(token[:i] + token[i+1:])
	}
	refused(token + "A")
	refused(token + "=")
	refused(token + token)
	refused(strings.Repeat("A", 1<<20))

	text, err := base64.RawURLEncoding.DecodeString(token)
	require.NoError(t, err)
	reencode := func(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }
	refused(reencode(strings.Replace(string(text), "d-1", "d-2", 1)))
	refused(reencode(string(text) + "{}"))
	refused(reencode(strings.Replace(string(text), "{", `{"more":1,`, 1)))
	refused(reencode("{}"))
	refused(reencode("null"))
	refused(reencode("[]"))
}

func TestTokenThatDoesNotFitTheCursorIsRefused(t *testing.T) {
	t.Parallel()
	request, _, _ := setupToken(t)
	for name, other := range map[string]any{
		"other fields": map[string]string{"position": "1"},
		"other type":   map[string]int{"id": 1},
		"a number":     7,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			token, err := aip.EncodeToken(request, other)
			require.NoError(t, err)
			var got cursor
			requireInvalid(t, aip.DecodeToken(request, token, &got), "page_token")
		})
	}
}

func TestCursorThatJSONCannotCarry(t *testing.T) {
	t.Parallel()
	_, err := aip.EncodeToken(&deliveryv1.ListDeliveriesRequest{}, func() {})
	require.Error(t, err)
}

func FuzzDecodeToken(f *testing.F) {
	request := &deliveryv1.ListDeliveriesRequest{Parent: "organizations/acme"}
	token, err := aip.EncodeToken(request, cursor{ID: "x"})
	require.NoError(f, err)
	for _, seed := range []string{token, "", "e30", "eyJzdW0iOiIifQ", "====", token + "\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, token string) {
		var got cursor
		if err := aip.DecodeToken(request, token, &got); err != nil {
			requireInvalid(t, err, "page_token")
			return
		}
		if token == "" {
			return
		}
		again, err := aip.EncodeToken(request, got)
		require.NoError(t, err)
		var same cursor
		require.NoError(t, aip.DecodeToken(request, again, &same))
		require.Equal(t, got, same)
	})
}
