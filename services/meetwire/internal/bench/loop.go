package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/meetwire/meetwire/pkg/webhook"
)

// The stream of the bare loop and its consumer.
const (
	loopStream   = "BENCH"
	loopConsumer = "bare-loop"
	loopPull     = 500
	loopPending  = 20_000 // as many as Meetwire's consumers allow
)

// loop is the yardstick: it consumes, signs, POSTs and acknowledges, and does nothing else. It matches nothing,
// retries nothing, records nothing.
type loop struct {
	signer *webhook.Signer
	client *http.Client
	target string
}

// runLoop is the helper.
func runLoop(ctx context.Context, args []string, ready func(string) error) error {
	var config struct {
		NATSURL     string `required:"" name:"nats-url"`
		Target      string `required:""`
		Concurrency int    `required:""`
	}
	if err := parse(&config, args, os.Stdout, os.Stderr); err != nil {
		return err
	}
	secret, err := webhook.ParseSecret(os.Getenv(envSecret))
	if err != nil {
		return err
	}
	signer, err := webhook.NewSigner(secret)
	if err != nil {
		return err
	}
	conn, err := nats.Connect(config.NATSURL, nats.Name("bare loop"))
	if err != nil {
		return fmt.Errorf("connect to nats: %w", err)
	}
	defer conn.Close()
	l := &loop{signer: signer, target: config.Target, client: &http.Client{
		Transport: &http.Transport{MaxIdleConnsPerHost: config.Concurrency, DisableCompression: true},
		Timeout:   15 * time.Second,
	}}
	return l.run(ctx, conn, config.Concurrency, ready)
}

func (l *loop) run(ctx context.Context, conn *nats.Conn, concurrency int, ready func(string) error) error {
	js, err := jetstream.New(conn)
	if err != nil {
		return fmt.Errorf("open jetstream: %w", err)
	}
	consumer, err := js.Consumer(ctx, loopStream, loopConsumer)
	if err != nil {
		return fmt.Errorf("open the consumer: %w", err)
	}
	messages, err := consumer.Messages(jetstream.PullMaxMessages(loopPull))
	if err != nil {
		return fmt.Errorf("consume: %w", err)
	}
	defer context.AfterFunc(ctx, messages.Stop)()
	defer messages.Stop()
	if err := ready("consuming"); err != nil {
		return err
	}
	work := make(chan jetstream.Msg)
	failed := make(chan error, concurrency)
	var workers sync.WaitGroup
	for range concurrency {
		workers.Go(func() {
			for msg := range work {
				if err := l.handle(ctx, msg); err != nil {
					failed <- err
					return
				}
			}
		})
	}
	defer workers.Wait()
	defer close(work)
	for {
		msg, err := messages.Next()
		if err != nil {
			return fmt.Errorf("take the next message: %w", err)
		}
		select {
		case work <- msg:
		case err := <-failed:
			return err
		}
	}
}

// handle delivers one message.
func (l *loop) handle(ctx context.Context, msg jetstream.Msg) error {
	meta, err := msg.Metadata()
	if err != nil {
		return fmt.Errorf("read a message: %w", err)
	}
	body, id, now := msg.Data(), "msg_"+strconv.FormatUint(meta.Sequence.Stream, 10), time.Now()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, l.target, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("make a request: %w", err)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set(webhook.HeaderID, id)
	request.Header.Set(webhook.HeaderTimestamp, strconv.FormatInt(now.Unix(), 10))
	request.Header.Set(webhook.HeaderSignature, l.signer.Sign(id, now, body))
	response, err := l.client.Do(request)
	if err != nil {
		return fmt.Errorf("post: %w", err)
	}
	_, err = io.Copy(io.Discard, response.Body)
	if err = errors.Join(err, response.Body.Close()); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%w: %s", errAnswer, response.Status)
	}
	if err := msg.Ack(); err != nil {
		return fmt.Errorf("acknowledge: %w", err)
	}
	return nil
}

// startLoop starts line a: a nats-server with one work queue on disk, and the bare loop.
func startLoop(ctx context.Context, e *environment, l line, folder string, f *fleet) (*target, error) {
	t, err := newTarget(ctx, e, filepath.Join(folder, "loop"), f)
	if err != nil {
		return nil, err
	}
	stream, err := t.js.CreateStream(ctx, jetstream.StreamConfig{
		Name: loopStream, Subjects: []string{"events.>"}, Storage: jetstream.FileStorage, Retention: jetstream.WorkQueuePolicy,
	})
	if err != nil {
		return t, fmt.Errorf("create the stream: %w", err)
	}
	_, err = stream.CreateConsumer(ctx, jetstream.ConsumerConfig{
		Durable: loopConsumer, AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: loopPending, AckWait: time.Minute,
	})
	if err != nil {
		return t, fmt.Errorf("create the consumer: %w", err)
	}
	p, err := f.start("bare loop", e.self, []string{
		helperLoop, "--nats-url", t.natsURL, "--target", e.receiver.url(0), "--concurrency", strconv.Itoa(l.requests),
	}, []string{envSecret + "=" + e.secret})
	if err != nil {
		return t, err
	}
	t.measured = []*process{p}
	_, err = p.firstLine(ctx)
	return t, err
}
