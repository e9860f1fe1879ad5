// Package dialect makes the requests that receivers expect: their headers, signature and body. It makes no
// decision about when or whether to send.
package dialect

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/meetwire/meetwire/services/delivery/internal/core"
)

// Standard renders requests as the Standard Webhooks specification 1.0 describes them (standardwebhooks.com).
type Standard struct {
	// UserAgent is sent as such, `Meetwire/<version>`.
	UserAgent string
}

// errNoSigner is returned for a webhook whose secrets could not be opened.
var errNoSigner = errors.New("the webhook has no usable signing secret")

// errNoType is returned for what is no event.
var errNoType = errors.New("the event has no type")

// Render implements core.Renderer.
func (s Standard) Render(task *core.Task, webhook *core.Webhook, at time.Time) (core.Request, error) {
	if webhook.Signer == nil {
		return core.Request{}, errNoSigner
	}
	body, err := standardBody(task)
	if err != nil {
		return core.Request{}, err
	}
	headers := []core.Header{
		{Name: "Content-Type", Value: "application/json"},
		{Name: "User-Agent", Value: s.UserAgent},
		{Name: "webhook-id", Value: task.Delivery},
		{Name: "webhook-timestamp", Value: strconv.FormatInt(at.Unix(), 10)},
		{Name: "webhook-signature", Value: webhook.Signer.Sign(task.Delivery, at, body)},
		{Name: "Meetwire-Event-Sequence", Value: strconv.FormatUint(task.EventSequence, 10)},
	}
	if isHeaderText(task.TraceParent) {
		headers = append(headers, core.Header{Name: "traceparent", Value: task.TraceParent})
		if isHeaderText(task.TraceState) {
			headers = append(headers, core.Header{Name: "tracestate", Value: task.TraceState})
		}
	}
	return core.Request{URL: webhook.TargetURL, Headers: headers, Body: body, Timeout: webhook.Timeout}, nil
}

// standardBody makes the body: type, timestamp and data of the event. Each stays as it was published, byte for byte;
// an event without a time has the one at which it was stored.
func standardBody(task *core.Task) ([]byte, error) {
	// A map, because a struct would also take `DATA` for `data`.
	var event map[string]json.RawMessage
	if err := json.Unmarshal(task.Event, &event); err != nil {
		return nil, fmt.Errorf("read the event: %w", err)
	}
	if event["type"] == nil {
		return nil, errNoType
	}
	timestamp := event["time"]
	if timestamp == nil {
		var err error
		if timestamp, err = json.Marshal(task.AcceptedAt.UTC()); err != nil {
			return nil, fmt.Errorf("write the timestamp: %w", err)
		}
	}
	data := event["data"]
	if data == nil {
		data = json.RawMessage("null")
	}
	// An encoder would take white space out of it.
	var body bytes.Buffer
	body.Grow(len(event["type"]) + len(timestamp) + len(data) + len(`{"type":,"timestamp":,"data":}`))
	for _, part := range [][]byte{
		[]byte(`{"type":`), event["type"], []byte(`,"timestamp":`), timestamp, []byte(`,"data":`), data, []byte(`}`),
	} {
		body.Write(part)
	}
	return body.Bytes(), nil
}

// isHeaderText reports whether a value, which comes from outside, can be sent as a header.
func isHeaderText(value string) bool {
	for i := range len(value) {
		if c := value[i]; c < ' ' && c != '\t' || c > '~' {
			return false
		}
	}
	return value != ""
}
