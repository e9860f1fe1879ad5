package webhook_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"time"

	"github.com/meetwire/meetwire/pkg/webhook"
)

// A receiver with net/http. The secret is the one that the console shows for the webhook; keep it where other
// credentials are kept, for example in an environment variable.
func ExampleHandler() {
	secret, err := webhook.ParseSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		fmt.Println(err)
		return
	}
	verifier, err := webhook.NewVerifier([]webhook.Secret{secret})
	if err != nil {
		fmt.Println(err)
		return
	}

	seen := map[string]bool{} // a real receiver keeps this in its database, in the transaction that does the work
	mux := http.NewServeMux()
	mux.Handle("/webhooks", webhook.Handler(verifier, 0, func(_ context.Context, m webhook.Message) error {
		if seen[m.ID] {
			return nil // processed before: say so, or it comes again
		}
		seen[m.ID] = true
		fmt.Println(m.Type, string(m.Data))
		return nil
	}))

	// What follows is the sender's side: the same message twice, then a forged one.
	signer, err := webhook.NewSigner(secret)
	if err != nil {
		fmt.Println(err)
		return
	}
	body := `{"type":"meeting.booked","timestamp":"2026-03-01T10:00:00Z","data":{"meeting_id":"m-1"}}`
	now := time.Now()
	signature := signer.Sign("0195-7c1e", now, []byte(body))
	for _, sent := range []string{body, body, strings.Replace(body, "m-1", "m-2", 1)} {
		r := httptest.NewRequestWithContext(context.Background(), http.MethodPost, "/webhooks", strings.NewReader(sent))
		r.Header.Set(webhook.HeaderID, "0195-7c1e")
		r.Header.Set(webhook.HeaderTimestamp, strconv.FormatInt(now.Unix(), 10))
		r.Header.Set(webhook.HeaderSignature, signature)
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		fmt.Println(w.Code)
	}
	// Output:
	// meeting.booked {"meeting_id":"m-1"}
	// 204
	// 204
	// 401
}

// A function behind a Handler can choose the answer.
func ExampleStatusError() {
	next := func(_ context.Context, m webhook.Message) error {
		if m.Type == "meeting.notes_ready" {
			return &webhook.StatusError{Status: http.StatusServiceUnavailable, RetryAfter: 30 * time.Second,
				Err: errors.New("the queue is full")}
		}
		return nil
	}
	fmt.Println(next(context.Background(), webhook.Message{Type: "meeting.notes_ready"}))
	// Output:
	// answer 503: the queue is full
}

// Signing a message by hand, as a test of a receiver does.
func ExampleSigner_Sign() {
	secret, err := webhook.ParseSecret("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
	if err != nil {
		fmt.Println(err)
		return
	}
	signer, err := webhook.NewSigner(secret)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(signer.Sign("msg_p5jXN8AQM9LWM0D4loKWxJek", time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`)))
	// Output:
	// v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=
}

// Verifying without a Handler, in a framework of another kind. While a secret is being replaced the verifier
// takes both.
func ExampleVerifier_Verify() {
	secrets, err := webhook.ParseSecrets(
		"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", // until all messages are signed with the next
		"whsec_ZGVtbyBzZWNyZXQsIDMyIGJ5dGVzIGxvbmcsIHNlZS4=",
	)
	if err != nil {
		fmt.Println(err)
		return
	}
	verifier, err := webhook.NewVerifier(secrets,
		webhook.WithTolerance(time.Minute),
		webhook.WithClock(func() time.Time { return time.Unix(1614265350, 0) }))
	if err != nil {
		fmt.Println(err)
		return
	}

	header := http.Header{}
	header.Set(webhook.HeaderID, "msg_p5jXN8AQM9LWM0D4loKWxJek")
	header.Set(webhook.HeaderTimestamp, "1614265330")
	header.Set(webhook.HeaderSignature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=")
	fmt.Println(verifier.Verify(header, []byte(`{"test": 2432232314}`)))

	err = verifier.Verify(header, []byte(`{"test": 0}`))
	fmt.Println(errors.Is(err, webhook.ErrNoMatch))
	// Output:
	// <nil>
	// true
}

// A receiver that was written for another system, here ACE Meetings, and that Meetwire sends to in its dialect.
func ExampleNewDialectVerifier() {
	verifier, err := webhook.NewDialectVerifier(webhook.DialectACE, []string{"what the form says"})
	if err != nil {
		fmt.Println(err)
		return
	}
	header := http.Header{}
	header.Set("x-ace-signature", "SnBdyHOy0k/kYq9an9XE6//eUI3QU4ROfXXROhAwJOc=")
	message, err := verifier.Open(header, []byte(`{"event":"create","id":"d-1","created_at":"2026-03-01T10:00:00Z","data":{}}`))
	fmt.Println(message.Type, message.ID, err)
	// Output:
	// create d-1 <nil>
}

// A new secret for a receiver; and a Secret, which never prints what it holds.
func ExampleNewSecret() {
	text, err := webhook.NewSecret()
	if err != nil {
		fmt.Println(err)
		return
	}
	secret, err := webhook.ParseSecret(text)
	fmt.Println(secret, err)
	// Output:
	// REDACTED <nil>
}
