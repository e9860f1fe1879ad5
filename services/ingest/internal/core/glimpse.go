package core

import "encoding/json"

// Glimpse returns what a document that is no valid event says of its identity and its subject, as far as that can be
// read: by these it can be found, and erased. What is no text of a fit length is left out.
func Glimpse(document []byte) *Event {
	var attributes, data map[string]json.RawMessage
	if json.Unmarshal(document, &attributes) != nil {
		return &Event{}
	}
	event := &Event{ID: glimpse(attributes["id"]), Source: glimpse(attributes["source"]), Subject: glimpse(attributes["subject"])}
	if event.Subject == "" && json.Unmarshal(attributes["data"], &data) == nil {
		event.Subject = glimpse(data["id"])
	}
	return event
}

func glimpse(raw json.RawMessage) string {
	var value string
	if json.Unmarshal(raw, &value) != nil {
		return ""
	}
	return subjectOf(value)
}
