package dialect

import "encoding/json"

// ace is that of ACE Meetings' custom webhooks. Its page says what is signed and how, that two subsequent failures
// disable a webhook, that https is recommended, and nothing of the body but that it is JSON: the body is ours.
type ace struct{}

func (ace) Name() Name { return ACE }

func (ace) Traits() Traits {
	return Traits{
		Title: "ACE Meetings", ContentType: "application/json",
		SignatureHeaders: signatureHeaders(ACE), Secret: textRules(), HTTPAllowed: true,
		Retry: standardRetry(), Failures: Failures{Consecutive: 2},
		// Any status but 2xx is a failure like another there.
		GoneDisables: false,
	}
}

func (ace) TriggerName(trigger string) string {
	return triggerNames{booked: "create", rescheduled: "reschedule", canceled: "cancel"}.of(trigger)
}

func (a ace) body(d *delivery) ([]byte, error) {
	return eventEnvelope(d, a.TriggerName(d.Trigger)), nil
}

func (a ace) schema(trigger string, data json.RawMessage) (*schema, error) {
	return eventSchema(a, trigger, data)
}
