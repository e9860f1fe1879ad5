package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// receiverClient is the receiver as the bench sees it.
type receiverClient struct {
	base    string
	light   string // as base, but takes nothing but webhooks
	process *process
	http    *http.Client
	phase   int
}

func startReceiver(ctx context.Context, e *environment, f *fleet) (*receiverClient, error) {
	p, err := f.start("receiver", e.self, []string{helperReceiver}, []string{envSecret + "=" + e.secret, littleGarbage})
	if err != nil {
		return nil, err
	}
	line, err := p.firstLine(ctx)
	if err != nil {
		return nil, err
	}
	base, light, found := strings.Cut(line, " ")
	if !found {
		return nil, fmt.Errorf("%w: the receiver has told one address, %q", errAnswer, line)
	}
	return &receiverClient{base: base, light: light, process: p, http: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}}, nil
}

// url is where the webhook with an index points to.
func (c *receiverClient) url(index int) string { return c.base + pathWebhook + strconv.Itoa(index) }

// lightURL is url for a receiver that takes less of the machine.
func (c *receiverClient) lightURL(index int) string {
	return c.light + pathWebhook + strconv.Itoa(index)
}

// begin begins the next phase and returns its number.
func (c *receiverClient) begin(ctx context.Context, webhooks, events int, verify bool) (int, error) {
	c.phase++
	body, err := json.Marshal(phase{Number: c.phase, Webhooks: webhooks, Events: events, Verify: verify})
	if err != nil {
		return 0, fmt.Errorf("encode a phase: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+pathBegin, bytes.NewReader(body))
	if err != nil {
		return 0, fmt.Errorf("begin a phase: %w", err)
	}
	return c.phase, c.do(request, nil)
}

// result returns what has arrived of the phase, at the latest after a time.
func (c *receiverClient) result(ctx context.Context, within time.Duration) (arrivals, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet,
		c.base+pathResult+"?within="+url.QueryEscape(within.String()), nil)
	if err != nil {
		return arrivals{}, fmt.Errorf("ask the receiver: %w", err)
	}
	var a arrivals
	return a, c.do(request, &a)
}

// errAnswer is returned for an answer that is not a success.
var errAnswer = errors.New("unexpected answer")

func (c *receiverClient) do(request *http.Request, into any) (err error) {
	response, err := c.http.Do(request)
	if err != nil {
		return fmt.Errorf("ask the receiver: %w", err)
	}
	defer func() { err = errors.Join(err, response.Body.Close()) }()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("ask the receiver: %w: %s", errAnswer, response.Status)
	}
	if into == nil {
		return nil
	}
	if err := json.NewDecoder(response.Body).Decode(into); err != nil {
		return fmt.Errorf("read the receiver's answer: %w", err)
	}
	return nil
}

// errMissing is returned when not everything arrives.
var errMissing = errors.New("not everything has arrived in time")

// all waits until everything of the phase has arrived.
func (c *receiverClient) all(ctx context.Context, wanted int, within time.Duration) (arrivals, error) {
	a, err := c.result(ctx, within)
	switch {
	case err != nil:
		return a, err
	case a.Wrong > 0:
		return a, fmt.Errorf("%w: %d requests had a wrong signature or body", errAnswer, a.Wrong)
	case a.Arrived < wanted:
		return a, fmt.Errorf("%w: %d of %d within %s", errMissing, a.Arrived, wanted, within)
	}
	return a, nil
}
