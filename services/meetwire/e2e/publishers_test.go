package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/publisher"
)

// readmeExample returns the code of the README's section about publishing that is in a language.
func readmeExample(t *testing.T, language string) string {
	t.Helper()
	content, err := os.ReadFile("../../../README.md")
	require.NoError(t, err)
	_, section, found := strings.Cut(string(content), "\n## Publish an event\n")
	require.True(t, found)
	section, _, found = strings.Cut(section, "\n## ")
	require.True(t, found)
	_, code, found := strings.Cut(section, "\n```"+language+"\n")
	require.True(t, found, "the README has no example in %s", language)
	code, _, found = strings.Cut(code, "\n```\n")
	require.True(t, found)
	return code
}

// testPublishers publishes events of an organization in every way that the README shows and that can be run here, as
// the NATS user of that organization, and has it try to publish for another.
func testPublishers(t *testing.T, i *installation, folder string) {
	for _, organization := range []string{"acme", "globex"} {
		status, body := i.call(t, i.key, "POST", "/v1/organizations?organization_id="+organization, `{"displayName":"Test","allowHttp":true}`)
		require.Equal(t, 200, status, body)
	}
	o, r := &tenant{installation: i, name: "acme", key: i.key}, newReceiver(t)
	h := o.webhook(t, r, "", "contact.updated")
	o.inForce(t)
	conn, js := i.connectAs(t, folder, bus.PublisherUser("acme"))
	environment := append(os.Environ(), "NATS_URL="+i.natsURL, "NATS_PASSWORD="+passwords(t, folder)["NATS_PUBLISHER_ACME_PASSWORD"])

	// Each publishes one event and returns its id.
	for name, publish := range map[string]func(*testing.T) string{
		"the nats command": func(t *testing.T) string { return publishAsCommand(t, environment) },
		"Node":             func(t *testing.T) string { return publishWithNode(t, environment) },
		"Go":               func(t *testing.T) string { return publishWithGo(t, js, false) },
		"Go, binary mode":  func(t *testing.T) string { return publishWithGo(t, js, true) },
		"plain JSON": func(t *testing.T) string {
			// No header, no acknowledgement.
			document := `{"specversion":"1.0","source":"/crm","id":"plain","type":"contact.updated","data":{"id":"con_42"}}`
			require.NoError(t, conn.Publish(bus.EventSubject("acme", "contact.updated"), []byte(document)))
			return "plain"
		},
	} {
		t.Run(name, func(t *testing.T) {
			id := publish(t)
			delivery := bus.DeliveryID("acme", "/crm", id, h.id())
			require.Eventually(t, func() bool {
				for _, request := range r.requests() {
					if request.header.Get("webhook-id") == delivery {
						var body struct{ Data struct{ ID string } }
						require.NoError(t, json.Unmarshal([]byte(request.body), &body))
						require.Equal(t, "con_42", body.Data.ID)
						return request.verified
					}
				}
				return false
			}, patience, tick, "event %s has not arrived", id)
		})
	}

	short, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err := js.Publish(short, bus.EventSubject("globex", "contact.updated"), []byte("{}"))
	require.Error(t, err)
	_, err = nats.Connect(i.natsURL)
	require.ErrorIs(t, err, nats.ErrAuthorization)
}

// runExample runs a program with a time limit and returns its output.
func runExample(t *testing.T, environment []string, folder, program string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	require.NoError(t, err, "`make receivers` installs what these tests need")
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	command := exec.CommandContext(ctx, path, args...)
	command.Env, command.Dir = environment, folder
	var output, problems bytes.Buffer
	command.Stdout, command.Stderr = &output, &problems
	require.NoError(t, command.Run(), "%s%s", &output, &problems)
	return output.String()
}

// publishWithNode runs the example twice: the second time the stream recognizes the event.
func publishWithNode(t *testing.T, environment []string) string {
	t.Helper()
	code := readmeExample(t, "js")
	for _, duplicate := range []string{" false\n", " true\n"} {
		output := runExample(t, environment, "testdata/publishers/node", "node", "--input-type=module", "--eval", code)
		require.True(t, strings.HasSuffix(output, duplicate), output)
	}
	return "52"
}

// publishAsCommand does with the library of the nats command what the command does for the arguments of the example,
// as the shell passes them to it.
func publishAsCommand(t *testing.T, environment []string) string {
	t.Helper()
	output := runExample(t, environment, ".", "sh", "-c", `nats() { printf '%s\0' "$@"; }`+"\n"+readmeExample(t, "sh"))
	args := strings.Split(strings.TrimSuffix(output, "\x00"), "\x00")
	flags := make(map[string]string)
	var rest []string
	for n := 0; n < len(args); n++ {
		if name, ok := strings.CutPrefix(args[n], "--"); ok {
			n++
			flags[name] = args[n]
			continue
		}
		rest = append(rest, args[n])
	}
	require.Len(t, rest, 3, "request SUBJECT BODY")
	require.Equal(t, "request", rest[0])
	conn, err := nats.Connect(flags["server"], nats.UserInfo(flags["user"], flags["password"]))
	require.NoError(t, err)
	defer conn.Close()
	msg := nats.NewMsg(rest[1])
	msg.Data = []byte(rest[2])
	name, value, ok := strings.Cut(flags["header"], ":")
	require.True(t, ok)
	msg.Header.Set(name, value)
	for _, duplicate := range []bool{false, true} {
		reply, err := conn.RequestMsg(msg, patience)
		require.NoError(t, err)
		var ack struct {
			Stream    string
			Duplicate bool
		}
		require.NoError(t, json.Unmarshal(reply.Data, &ack))
		require.Equal(t, bus.StreamEvents, ack.Stream, string(reply.Data))
		require.Equal(t, duplicate, ack.Duplicate)
	}
	return "51"
}

func publishWithGo(t *testing.T, js jetstream.JetStream, binary bool) string {
	t.Helper()
	id, options := "go", []publisher.Option{publisher.WithSource("/crm")}
	if binary {
		id, options = "go-binary", append(options, publisher.WithBinaryMode())
	}
	p, err := publisher.New(js, options...)
	require.NoError(t, err)
	_, err = p.Publish(t.Context(), publisher.Event{
		Organization: "acme", Trigger: "contact.updated", ID: id, Data: map[string]string{"id": "con_42"},
	})
	require.NoError(t, err)
	return id
}
