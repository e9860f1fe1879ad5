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

// standardBody is the body: type, timestamp and data of the event.
type standardBody struct {
	Type      string          `json:"type"`
	Timestamp json.RawMessage `json:"timestamp"`
	Data      json.RawMessage `json:"data"`
}

// standardEvent is what of the CloudEvent goes into it.
type standardEvent struct {
	Type string          `json:"type"`
	Time json.RawMessage `json:"time"`
	Data json.RawMessage `json:"data"`
}

// errNoSigner is returned for a webhook whose secrets could not be opened.
var errNoSigner = errors.New("the webhook has no usable signing secret")

// Render implements core.Renderer. `data` stays as it was published, byte for byte.
func (s Standard) Render(task *core.Task, webhook *core.Webhook, at time.Time) (core.Request, error) {
	if webhook.Signer == nil {
		return core.Request{}, errNoSigner
	}
	var event standardEvent
	if err := json.Unmarshal(task.Event, &event); err != nil {
		return core.Request{}, fmt.Errorf("read the event: %w", err)
	}
	if len(event.Time) == 0 {
		stored, err := json.Marshal(task.AcceptedAt.UTC())
		if err != nil {
			return core.Request{}, fmt.Errorf("write the timestamp: %w", err)
		}
		event.Time = stored
	}
	if len(event.Data) == 0 {
		event.Data = json.RawMessage("null")
	}
	var body bytes.Buffer
	encoder := json.NewEncoder(&body)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(standardBody{Type: event.Type, Timestamp: event.Time, Data: event.Data}); err != nil {
		return core.Request{}, fmt.Errorf("write the body: %w", err)
	}
	payload := bytes.TrimSuffix(body.Bytes(), []byte("\n"))
	headers := []core.Header{
		{Name: "Content-Type", Value: "application/json"},
		{Name: "User-Agent", Value: s.UserAgent},
		{Name: "webhook-id", Value: task.Delivery},
		{Name: "webhook-timestamp", Value: strconv.FormatInt(at.Unix(), 10)},
		{Name: "webhook-signature", Value: webhook.Signer.Sign(task.Delivery, at, payload)},
		{Name: "Meetwire-Event-Sequence", Value: strconv.FormatUint(task.EventSequence, 10)},
	}
	if task.TraceParent != "" {
		headers = append(headers, core.Header{Name: "traceparent", Value: task.TraceParent})
		if task.TraceState != "" {
			headers = append(headers, core.Header{Name: "tracestate", Value: task.TraceState})
		}
	}
	return core.Request{URL: webhook.TargetURL, Headers: headers, Body: payload, Timeout: webhook.Timeout}, nil
}
