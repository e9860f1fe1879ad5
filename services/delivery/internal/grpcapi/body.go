package grpcapi

import (
	"bytes"
	"unicode/utf8"

	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
)

// readable moves the bodies of an attempt that are text to where the API shows text: records have bytes, whatever they are.
func readable(attempt *deliveryv1.Attempt) *deliveryv1.Attempt {
	if text, ok := bodyText(attempt.GetRequestBody(), attempt.GetRequestTruncated()); ok {
		attempt.RequestBody, attempt.RequestText = nil, text
	}
	if text, ok := bodyText(attempt.GetResponseBody(), attempt.GetResponseTruncated()); ok {
		attempt.ResponseBody, attempt.ResponseText = nil, text
	}
	return attempt
}

// bodyText returns a body as text, or false when it is none or empty. Of one that was cut, perhaps within a character,
// what is left of that character does not count.
func bodyText(body []byte, cut bool) (string, bool) {
	if cut {
		body = body[:len(body)-brokenEnd(body)]
	}
	if len(body) == 0 || bytes.IndexByte(body, 0) >= 0 || !utf8.Valid(body) {
		return "", false
	}
	return string(body), true
}

// brokenEnd is how many bytes at the end of a body are the beginning of a character.
func brokenEnd(body []byte) int {
	for n := 1; n < min(utf8.UTFMax, len(body)+1); n++ {
		if end := body[len(body)-n:]; utf8.RuneStart(end[0]) {
			if utf8.FullRune(end) {
				return 0
			}
			return n
		}
	}
	return 0
}

// withoutPayload removes the headers and bodies of an attempt.
func withoutPayload(attempt *deliveryv1.Attempt) {
	attempt.RequestHeaders, attempt.RequestBody, attempt.RequestText = nil, nil, ""
	attempt.ResponseHeaders, attempt.ResponseBody, attempt.ResponseText = nil, nil, ""
}
