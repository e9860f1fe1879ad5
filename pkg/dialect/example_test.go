package dialect_test

import (
	"fmt"
	"time"

	"github.com/meetwire/meetwire/pkg/dialect"
)

// A preview: what a receiver would get for a sample.
func ExampleRenderer_Render() {
	at := time.Date(2026, 3, 10, 9, 12, 46, 0, time.UTC)
	renderer, err := dialect.New(dialect.Config{
		Name: dialect.Axcelerate, Options: dialect.Options{ClientID: 42}, UserAgent: "Meetwire/1.2.3",
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	event, err := dialect.SampleEvent("acme", "enrolment.created", []byte(`{"id":"enr_1"}`), at)
	if err != nil {
		fmt.Println(err)
		return
	}
	request, err := renderer.Render(event, at)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(request.Method, request.Header("ax-signature-version"))
	fmt.Println(string(request.Body))
	// Output:
	// POST 0
	// {"type":"enrolment.created","message":{"id":"enr_1"},"clientId":42,"messageId":"5f2c1a90-7d3e-5b46-9c18-2e6a4d0b7f35","timestamp":"2026-03-10T09:12:46.000Z"}
}
