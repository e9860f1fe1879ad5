package bus

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

// BatchReader reads many messages of a stream with one request: a batched direct get (ADR-31 of NATS), which the
// client library does not have.
type BatchReader struct {
	JetStream jetstream.JetStream
	Stream    string
}

// StoredMsg is a message of a stream.
type StoredMsg struct {
	Sequence uint64
	Subject  string
	Header   nats.Header
	Data     []byte
	Stored   time.Time // by the stream
}

// batchWait is how long nothing may come of a batch.
const batchWait = 5 * time.Second

// maxBatchBytes bounds a batch: what is in it is in memory at once.
const maxBatchBytes = 8 << 20

// errBatch is returned for an answer that is none.
var errBatch = errors.New("malformed answer to a batched get")

// Batch returns up to size messages from a sequence on whose subjects match a filter; none when there are no more.
func (r *BatchReader) Batch(ctx context.Context, filter string, from uint64, size int) ([]StoredMsg, error) {
	return r.get(ctx, struct {
		Seq      uint64 `json:"seq"`
		Next     string `json:"next_by_subj"`
		Batch    int    `json:"batch"`
		MaxBytes int    `json:"max_bytes"`
	}{from, filter, size, maxBatchBytes})
}

// Last returns the last message on each subject that matches one of the filters, at most 1,024 of them.
func (r *BatchReader) Last(ctx context.Context, filters []string) ([]StoredMsg, error) {
	return r.get(ctx, struct {
		Filters []string `json:"multi_last"`
		Batch   int      `json:"batch"`
	}{filters, maxLast})
}

// maxLast is how many messages the server finds by their subjects at once.
const maxLast = 1024

// get asks for messages.
func (r *BatchReader) get(ctx context.Context, question any) ([]StoredMsg, error) {
	request, err := json.Marshal(question)
	if err != nil {
		return nil, fmt.Errorf("encode the request: %w", err)
	}
	conn := r.JetStream.Conn()
	inbox := conn.NewInbox()
	answers, err := conn.SubscribeSync(inbox)
	if err != nil {
		return nil, fmt.Errorf("listen for a batch: %w", err)
	}
	defer func() { _ = answers.Unsubscribe() }() // fails only when the connection is closed
	if err := conn.PublishRequest("$JS.API.DIRECT.GET."+r.Stream, inbox, request); err != nil {
		return nil, fmt.Errorf("ask for a batch: %w", err)
	}
	var all []StoredMsg
	var last uint64
	for {
		limited, cancel := context.WithTimeout(ctx, batchWait)
		msg, err := answers.NextMsgWithContext(limited)
		cancel()
		if err != nil {
			return nil, fmt.Errorf("wait for a batch: %w", err)
		}
		if err := follows(msg.Header, last); err != nil {
			return nil, err
		}
		switch status := msg.Header.Get("Status"); status {
		case "":
		case "204", "404": // the end of the batch; nothing there
			return all, nil
		default:
			return nil, fmt.Errorf("ask for a batch: %w: status %s %s", errBatch, status, msg.Header.Get("Description"))
		}
		one, err := stored(msg)
		if err != nil {
			return nil, err
		}
		all, last = append(all, one), one.Sequence
	}
}

// follows finds out whether an answer comes directly after the one with the last sequence: what a connection has lost on the
// way would otherwise look as if it were not in the stream.
func follows(header nats.Header, last uint64) error {
	before := header.Get(jetstream.LastSequenceHeader)
	if before == "" || before == strconv.FormatUint(last, 10) {
		return nil
	}
	return fmt.Errorf("%w: messages between %d and %s are missing", errBatch, last, before)
}

// stored reads a message with the headers that a direct get adds.
func stored(msg *nats.Msg) (StoredMsg, error) {
	sequence, err := strconv.ParseUint(msg.Header.Get(jetstream.SequenceHeader), 10, 64)
	if err != nil {
		return StoredMsg{}, fmt.Errorf("%w: sequence %q", errBatch, msg.Header.Get(jetstream.SequenceHeader))
	}
	at, err := time.Parse(time.RFC3339Nano, msg.Header.Get(jetstream.TimeStampHeaer))
	if err != nil {
		return StoredMsg{}, fmt.Errorf("%w: time %q", errBatch, msg.Header.Get(jetstream.TimeStampHeaer))
	}
	return StoredMsg{
		Sequence: sequence, Subject: msg.Header.Get(jetstream.SubjectHeader), Header: msg.Header, Data: msg.Data, Stored: at.UTC(),
	}, nil
}
