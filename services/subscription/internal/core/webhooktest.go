package core

import "context"

// Test returns what a test sends: the webhook, saved or as it would be made, with what is secret encrypted as its
// deliveries have it, and the event, a CloudEvents document as JSON text. Nothing is stored.
func (s *Previews) Test(ctx context.Context, p Preview) (Webhook, string, error) {
	view := previewed{Preview: p}
	if err := s.look(ctx, &view); err != nil {
		return Webhook{}, "", err
	}
	event, err := s.event(ctx, view)
	if err != nil {
		return Webhook{}, "", err
	}
	return view.webhook, string(event.document), nil
}
