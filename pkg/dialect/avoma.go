package dialect

import "encoding/json"

// avoma is that of Avoma's organization webhooks. Its page says that an HMAC-SHA256 of the raw payload is in a header,
// but not how it is written, and names the triggers; the body is ours, and so is hex.
type avoma struct{}

func (avoma) Name() Name { return Avoma }

func (avoma) Traits() Traits {
	secret := textRules()
	// The page has one signing secret for all webhooks, which is generated before the first.
	secret.Required, secret.Organization = true, true
	return Traits{
		Title: "Avoma", ContentType: "application/json",
		SignatureHeaders: signatureHeaders(Avoma), Encodings: encodings(Avoma), Secret: secret,
		// The page: only https is supported.
		HTTPSOnly: true,
		Retry:     standardRetry(), Failures: standardFailures(), GoneDisables: true,
	}
}

func (avoma) TriggerName(trigger string) string {
	return triggerNames{
		booked: "Meeting booked via scheduler", rescheduled: "Meeting rescheduled via scheduler",
		canceled: "Meeting canceled via scheduler", notesReady: "AI notes ready",
	}.of(trigger)
}

func (a avoma) body(d *delivery) ([]byte, error) {
	return eventEnvelope(d, a.TriggerName(d.Trigger)), nil
}

func (a avoma) schema(trigger string, data json.RawMessage) (*schema, error) {
	return eventSchema(a, trigger, data)
}
