package docs

import (
	"fmt"
	"strings"
	"time"

	"github.com/meetwire/meetwire/pkg/dialect"
	"github.com/meetwire/meetwire/pkg/webhook"
)

// receive is what a receiver of a dialect must know.
type receive struct {
	Headers []header
	Secret  string
	Verify  []string // steps
	Answers []string
	Example *example
}

// header is a header of a request.
type header struct{ Name, Meaning string }

// example is a request with a signature that can be recalculated.
type example struct{ Secret, Headers, Body string }

// What the example is made with. The secrets are for nothing else.
const (
	exampleKey    = "whsec_TWVldHdpcmUtZXhhbXBsZS1rZXktMjQtYg=="
	exampleSecret = "example-secret"
	exampleID     = "0b6e3c0e-3a53-5b8f-9d6c-2f5c8f1f7a10"
	exampleUnix   = 1773842400
	exampleData   = `{"greeting":"hello"}`
)

// receiveOf documents a dialect, of what is in force when its webhooks are sent.
func receiveOf(d dialect.Dialect) *receive {
	r := &receive{Headers: headersOf(d), Secret: secretOf(d), Verify: verifyOf(d), Answers: answersOf(d)}
	if made, err := exampleOf(d); err == nil {
		r.Example = made
	}
	return r
}

// exampleOf renders and signs a small event. The error is that of a dialect that cannot send it.
func exampleOf(d dialect.Dialect) (*example, error) {
	secret := exampleSecret
	if d.Traits().Secret.Keyed {
		secret = exampleKey
	}
	renderer, err := dialect.New(dialect.Config{Name: d.Name(), Secrets: []string{secret}, UserAgent: "Meetwire/1"})
	if err != nil {
		return nil, fmt.Errorf("make the example: %w", err)
	}
	at := time.Unix(exampleUnix, 0).UTC()
	event, err := dialect.SampleEvent("example", "example.sent", []byte(exampleData), at)
	if err != nil {
		return nil, fmt.Errorf("make the example: %w", err)
	}
	event.Delivery = exampleID
	request, err := renderer.Render(event, at)
	if err != nil {
		return nil, fmt.Errorf("make the example: %w", err)
	}
	var b strings.Builder
	for _, h := range request.Headers {
		fmt.Fprintf(&b, "%s: %s\n", h.Name, h.Value)
	}
	return &example{Secret: secret, Headers: b.String(), Body: string(request.Body)}, nil
}

// headersOf lists the headers in the order in which they are sent.
func headersOf(d dialect.Dialect) []header {
	traits := d.Traits()
	agent := "Who sends: Meetwire/ and its version."
	if traits.UserAgent != "" {
		agent = "Always " + traits.UserAgent + "."
	}
	all := []header{
		{"Content-Type", "Always " + traits.ContentType + "."},
		{"User-Agent", agent},
		{webhook.HeaderID, "Id of the message, the same in every attempt: remember it to recognize repetitions."},
		{webhook.HeaderTimestamp, "When this attempt was made: seconds since 1970-01-01 in UTC."},
	}
	for _, name := range traits.SignatureHeaders {
		meaning := "The signature, see below."
		if strings.HasSuffix(name, "-Version") {
			meaning = "1 when the request is signed, 0 when there is no secret; the signature is empty then."
		}
		all = append(all, header{name, meaning})
	}
	return append(all,
		header{webhook.HeaderEventSequence, "A number that is higher for an event that was published later."},
		header{"traceparent, tracestate", "Trace context (W3C), when the publisher has sent one."})
}

func secretOf(d dialect.Dialect) string {
	rules := d.Traits().Secret
	var b strings.Builder
	switch {
	case rules.Keyed:
		b.WriteString("Every webhook is signed. The secret begins with whsec_, and the rest is the base64 of the key of an HMAC; or with " +
			"whsk_, when it signs with ed25519: receivers get the public key, which begins with whpk_. ")
		b.WriteString("While a secret is replaced, requests carry the signatures of all that are valid.")
		return b.String()
	case rules.Required:
		b.WriteString("Every webhook is signed. ")
	default:
		b.WriteString("A webhook may have a secret; without one nothing is signed. ")
	}
	b.WriteString("The key of the HMAC is the secret as it is shown, in UTF-8. ")
	if rules.Organization {
		b.WriteString("It is that of the organization, the same for all of its webhooks, unless one is set to have its own. ")
	}
	b.WriteString("While a secret is replaced, the one before signs until its time is over or the new one is activated.")
	return b.String()
}

func verifyOf(d dialect.Dialect) []string {
	const (
		raw     = "Take the bytes of the body as they came, before anything reads them as JSON."
		compare = "Compare in constant time, and refuse the request when they differ."
	)
	scheme, alone := webhook.BodySchemeOf(d.Name())
	if !alone {
		return []string{
			raw,
			fmt.Sprintf("Join %s, %s and the body with dots: id.timestamp.body.", webhook.HeaderID, webhook.HeaderTimestamp),
			"Calculate the HMAC-SHA256 of that with the decoded key, and write it in base64; or verify with ed25519.",
			fmt.Sprintf("%s is a list, separated by spaces, of signatures that begin with v1, (HMAC) or v1a, (ed25519): one of them must be yours.",
				d.Traits().SignatureHeaders[0]),
			compare,
			fmt.Sprintf("Refuse a %s that is more than five minutes away from your clock.", webhook.HeaderTimestamp),
		}
	}
	steps := []string{raw}
	if scheme.VersionHeader != "" {
		steps = append(steps, fmt.Sprintf("Refuse the request unless %s is 1.", scheme.VersionHeader))
	}
	written := "base64"
	if scheme.Encodings[0] == webhook.Hex {
		written = "lower-case hexadecimal"
	}
	if len(scheme.Encodings) > 1 {
		written += " (or base64, when the webhook is set so)"
	}
	return append(steps,
		fmt.Sprintf("Calculate the HMAC-SHA256 of the body with the secret, and write it in %s: that is %s.", written, scheme.Header), compare)
}

func answersOf(d dialect.Dialect) []string {
	traits := d.Traits()
	all := []string{
		"Any status 2xx is a success. Everything else, also a redirect and no answer within the webhook's time-out, is a failure.",
		fmt.Sprintf("A failed attempt is repeated up to %d times, unless the webhook is set otherwise; the first time after %s, the last time %s after the attempt before.",
			len(traits.Retry.Delays), traits.Retry.Delays[0], traits.Retry.Delays[len(traits.Retry.Delays)-1]),
		"The same message can come more than once, and messages can come in another order than things happened.",
	}
	switch failures := traits.Failures; {
	case failures.Consecutive > 0:
		all = append(all, fmt.Sprintf("After %d failed attempts in a row the webhook is disabled, unless it is set otherwise.", failures.Consecutive))
	case failures.WithoutSuccess > 0:
		const day = 24 * time.Hour
		all = append(all, fmt.Sprintf("After %d days without a success, in which at least three messages failed, the webhook is disabled, unless it is set otherwise.",
			failures.WithoutSuccess/day))
	}
	if traits.GoneDisables {
		all = append(all, "An answer 410 disables the webhook at once.")
	}
	return all
}
