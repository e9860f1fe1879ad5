package natsbus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// batchReader reads many messages of a stream with one request: a batched direct get (ADR-31 of NATS), which the
// client library does not have.
type batchReader struct {
	js     jetstream.JetStream
	stream string
}

// rawMessage is a stored message.
type rawMessage struct {
	sequence uint64
	subject  string
	header   nats.Header
	data     []byte
}

// batchWait is how long nothing may come of a batch.
const batchWait = 5 * time.Second

// maxBatchBytes bounds a batch: what is in it is in memory at once.
const maxBatchBytes = 8 << 20

// errBatch is returned for an answer that is none.
var errBatch = errors.New("malformed answer to a batched get")

// batch returns up to size messages from a sequence on whose subjects match a filter; none when there are no more.
func (r *batchReader) batch(ctx context.Context, filter string, from uint64, size int) ([]rawMessage, error) {
	request, err := json.Marshal(struct {
		Seq      uint64 `json:"seq"`
		Next     string `json:"next_by_subj"`
		Batch    int    `json:"batch"`
		MaxBytes int    `json:"max_bytes"`
	}{from, filter, size, maxBatchBytes})
	if err != nil {
		return nil, fmt.Errorf("encode the request: %w", err)
	}
	conn := r.js.Conn()
	inbox := conn.NewInbox()
	answers, err := conn.SubscribeSync(inbox)
	if err != nil {
		return nil, fmt.Errorf("listen for a batch: %w", err)
	}
	defer func() { _ = answers.Unsubscribe() }() // fails only when the connection is closed
	if err := conn.PublishRequest("$JS.API.DIRECT.GET."+r.stream, inbox, request); err != nil {
		return nil, fmt.Errorf("ask for a batch: %w", err)
	}
	var all []rawMessage
	for {
		limited, cancel := context.WithTimeout(ctx, batchWait)
		msg, err := answers.NextMsgWithContext(limited)
		cancel()
		if err != nil {
			return nil, fmt.Errorf("wait for a batch: %w", err)
		}
		switch status := msg.Header.Get("Status"); status {
		case "":
		case "204", "404": // the end of the batch; nothing there
			return all, nil
		default:
			return nil, fmt.Errorf("ask for a batch: %w: status %s %s", errBatch, status, msg.Header.Get("Description"))
		}
		sequence, err := strconv.ParseUint(msg.Header.Get(jetstream.SequenceHeader), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%w: sequence %q", errBatch, msg.Header.Get(jetstream.SequenceHeader))
		}
		all = append(all, rawMessage{sequence: sequence, subject: msg.Header.Get(jetstream.SubjectHeader), header: msg.Header, data: msg.Data})
	}
}
