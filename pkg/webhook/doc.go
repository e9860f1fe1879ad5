// Package webhook signs and verifies webhooks as the Standard Webhooks specification 1.0 lays down
// (https://www.standardwebhooks.com), and in the other dialects that Meetwire speaks. It is for everybody who receives
// webhooks from Meetwire, and Meetwire's own sender signs with it. It must not import anything but the standard library,
// know of organizations or deliveries, or send anything.
//
// A receiver parses its secret once, makes a Verifier and serves a Handler:
//
//	secret, err := webhook.ParseSecret(os.Getenv("WEBHOOK_SECRET"))
//	…
//	verifier, err := webhook.NewVerifier([]webhook.Secret{secret})
//	…
//	http.Handle("/webhooks", webhook.Handler(verifier, 0, func(ctx context.Context, m webhook.Message) error {
//		return process(ctx, m)
//	}))
//
// A receiver of another dialect makes its Verifier with NewDialectVerifier; the rest stays the same.
//
// # What a receiver must know
//
// Webhooks arrive at least once: the same one can come again, also after it was answered with 2xx. Message.ID
// is the same each time, so remember the ids of what you have processed.
//
// They can arrive in another order than things happened. Message.EventSequence is higher for a later event.
//
// Answer within the time that the webhook is configured with (15 seconds unless changed), so put slow work in
// a queue of your own. Any 2xx is a success; everything else is tried again.
//
// The signature covers the exact bytes of the body. A framework that parses the JSON and writes it again breaks
// it: verify the bytes that came in.
package webhook
