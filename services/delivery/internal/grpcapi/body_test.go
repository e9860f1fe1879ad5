package grpcapi_test

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"

	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	"github.com/meetwire/meetwire/services/delivery/internal/grpcapi"
)

// Bodies that are text are readable, and all others come as they were.
func TestBodiesAreTextWhereTheyAre(t *testing.T) {
	t.Parallel()
	filled := strings.Repeat("x", 64<<10-3)
	for name, try := range map[string]struct {
		body string
		cut  bool
		text string // empty: it is none
	}{
		"text":                       {body: `{"problem": "no such rö…m 🚪"}`, text: `{"problem": "no such rö…m 🚪"}`},
		"lines":                      {body: "a\r\n\tb\x1b", text: "a\r\n\tb\x1b"},
		"empty":                      {},
		"empty, cut":                 {cut: true},
		"Latin 1":                    {body: "r\xf6m"},
		"NUL":                        {body: "a\x00b"},
		"compressed":                 {body: "\x1f\x8b\x08\x00\x00"},
		"cut between characters":     {body: filled + "yéz", cut: true, text: filled + "yéz"},
		"cut in a character of 2":    {body: filled + "yz\xc3", cut: true, text: filled + "yz"},
		"cut in a character of 3":    {body: filled + "y\xe2\x80", cut: true, text: filled + "y"},
		"cut in a character of 4":    {body: filled + "\xf0\x9f\x9a", cut: true, text: filled},
		"cut, and nothing else":      {body: "\xf0\x9f\x9a", cut: true},
		"cut, and wrong before":      {body: "\xff" + filled + "\xc3", cut: true},
		"cut, and no beginning":      {body: filled + "\x80\x80\x80", cut: true},
		"cut, and two beginnings":    {body: filled + "\xc3\xc3", cut: true},
		"cut, and an end too many":   {body: filled + "é\x80", cut: true},
		"ends in a character, whole": {body: "r\xc3"},
	} {
		store := &fakeStore{attempts: []*deliveryv1.Attempt{
			{RequestBody: []byte(try.body), RequestTruncated: try.cut}, {ResponseBody: []byte(try.body), ResponseTruncated: try.cut},
		}}
		api := &grpcapi.Deliveries{Store: store}
		page, err := api.ListAttempts(t.Context(), &deliveryv1.ListAttemptsRequest{Parent: "organizations/acme/deliveries/" + deliveryID})
		require.NoError(t, err)
		request, response := page.GetAttempts()[0], page.GetAttempts()[1]
		require.Equal(t, try.text, request.GetRequestText(), name)
		require.Equal(t, try.text, response.GetResponseText(), name)
		bytes := try.body
		if try.text != "" {
			bytes = ""
		}
		require.Equal(t, bytes, string(request.GetRequestBody()), name)
		require.Equal(t, bytes, string(response.GetResponseBody()), name)
		require.Empty(t, request.GetResponseText()+response.GetRequestText(), name)

		// As REST has it: nobody needs to decode what people can read.
		encoded, err := protojson.Marshal(response)
		require.NoError(t, err)
		var rest struct{ ResponseText, ResponseBody string }
		require.NoError(t, json.Unmarshal(encoded, &rest), name)
		require.Equal(t, try.text, rest.ResponseText, name)
		require.Equal(t, base64.StdEncoding.EncodeToString([]byte(bytes)), rest.ResponseBody, name)
	}
}
