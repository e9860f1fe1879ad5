package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/client"
	"github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	standardwebhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"github.com/stretchr/testify/require"
)

// endpoint is a receiver that says what it makes of requests, a JSON object a line.
type endpoint struct {
	url    string
	output *lockedBuffer
}

// seen is what a receiver says of a request.
type seen struct {
	ID, Agent, Type string // headers webhook-id, User-Agent and Content-Type
	Accepted        bool
	Reason          string // why not

	Event, EventID, Time, Meeting  string
	Source, Version, Notes, Detail string
	ClientID                       int64
}

// saw returns what the receiver said of the message with an id.
func (e *endpoint) saw(t *testing.T, id string) seen {
	t.Helper()
	var found []seen
	// A program's output may come a moment after its answer.
	require.Eventually(t, func() bool {
		found = nil
		for line := range strings.Lines(e.output.String()) {
			var s seen
			if strings.HasSuffix(line, "}\n") && json.Unmarshal([]byte(line), &s) == nil && s.ID == id {
				found = append(found, s)
			}
		}
		return len(found) > 0
	}, patience, tick, "nothing is said of %s: %s", id, e.output)
	for _, s := range found { // a delivery may come again
		require.NotContains(t, s.Reason, "broken", "it was not the check that failed")
		require.Equal(t, found[0], s)
	}
	return found[0]
}

// program starts a receiver as a process of its own, with its secret in the environment.
func program(t *testing.T, secret, name string, args ...string) *endpoint {
	t.Helper()
	path, err := exec.LookPath(name)
	require.NoError(t, err, "`make receivers` installs what these tests need")
	p := &process{path: path, args: args, env: []string{"SECRET=" + secret, "NODE_ENV=production"}}
	p.start(t)
	e := &endpoint{output: p.output}
	t.Cleanup(func() {
		p.end(t, syscall.SIGTERM)
		if t.Failed() {
			t.Logf("%s %v:\n%s", name, args, p.output)
		}
	})
	listening := regexp.MustCompile(`"listening":"(http://[^"]+)"|Development Server \((http://[^)]+)\)`)
	deadline := time.After(patience)
	for e.url == "" {
		if match := listening.FindStringSubmatch(p.output.String()); match != nil {
			e.url = match[1] + match[2]
			continue
		}
		select {
		case <-p.done:
			require.Fail(t, "a receiver does not start; `make receivers` installs what it needs", "%s", p.output)
		case <-deadline:
			require.Fail(t, "a receiver does not say where it listens", "%s", p.output)
		case <-time.After(tick):
		}
	}
	return e
}

func receiverFile(t *testing.T, elements ...string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join(append([]string{"testdata", "receivers"}, elements...)...))
	require.NoError(t, err)
	return path
}

func node(file string) func(*testing.T, string) *endpoint {
	return func(t *testing.T, secret string) *endpoint {
		t.Helper()
		return program(t, secret, "node", receiverFile(t, "node", file))
	}
}

func php(file string) func(*testing.T, string) *endpoint {
	return func(t *testing.T, secret string) *endpoint {
		t.Helper()
		return program(t, secret, "php", "-S", "127.0.0.1:0", receiverFile(t, "php", file))
	}
}

func java(file string) func(*testing.T, string) *endpoint {
	return func(t *testing.T, secret string) *endpoint {
		t.Helper()
		return program(t, secret, "java", "-XX:TieredStopAtLevel=1", "-Xmx64m", receiverFile(t, "java", file))
	}
}

// goStandard is a receiver with the library of the Standard Webhooks project.
func goStandard(t *testing.T, secret string) *endpoint {
	t.Helper()
	return goReceiver(t, secret, func(r *http.Request) (seen, error) {
		var message struct {
			Type, Timestamp string
			Data            struct{ ID string }
		}
		err := json.NewDecoder(r.Body).Decode(&message)
		return seen{Event: message.Type, Time: message.Timestamp, Meeting: message.Data.ID}, err
	})
}

// goCloudEvents is one that reads events with the SDK of the CloudEvents project.
func goCloudEvents(t *testing.T, secret string) *endpoint {
	t.Helper()
	return goReceiver(t, secret, func(r *http.Request) (seen, error) {
		var read seen
		protocol, err := cehttp.New() // one of several requests at once may take another's event
		if err != nil {
			return read, err
		}
		handler, err := client.NewHTTPReceiveHandler(r.Context(), protocol, func(_ context.Context, e event.Event) error {
			var about struct{ ID string }
			if err := e.DataAs(&about); err != nil {
				return err
			}
			read = seen{
				Event: e.Type(), EventID: e.ID(), Source: e.Source(), Version: e.SpecVersion(),
				Time: e.Time().Format(time.RFC3339), Meeting: about.ID,
			}
			return e.Validate()
		})
		if err != nil {
			return read, err
		}
		answer := httptest.NewRecorder()
		handler.ServeHTTP(answer, r)
		if answer.Code >= http.StatusMultipleChoices {
			err = fmt.Errorf("the SDK answers %d", answer.Code)
		}
		return read, err
	})
}

// goReceiver checks signatures with the library of the Standard Webhooks project, then reads.
func goReceiver(t *testing.T, secret string, read func(*http.Request) (seen, error)) *endpoint {
	t.Helper()
	verifier, err := standardwebhooks.NewWebhook(secret)
	require.NoError(t, err)
	e := &endpoint{output: &lockedBuffer{}}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var made seen
		status := http.StatusNoContent
		body, err := io.ReadAll(r.Body)
		switch {
		case err != nil:
			made, status = seen{Reason: "broken: " + err.Error()}, http.StatusInternalServerError
		case verifier.Verify(body, r.Header) != nil:
			made, status = seen{Reason: verifier.Verify(body, r.Header).Error()}, http.StatusUnauthorized
		default:
			r.Body = io.NopCloser(bytes.NewReader(body))
			if made, err = read(r); err != nil {
				made, status = seen{Reason: "broken: " + err.Error()}, http.StatusInternalServerError
			}
		}
		made.Accepted = status == http.StatusNoContent
		made.ID, made.Agent, made.Type = r.Header.Get("webhook-id"), r.UserAgent(), r.Header.Get("Content-Type")
		if err := json.NewEncoder(e.output).Encode(made); err != nil {
			status = http.StatusInternalServerError
		}
		w.WriteHeader(status)
	}))
	t.Cleanup(server.Close)
	e.url = server.URL
	return e
}
