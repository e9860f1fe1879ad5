package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/bus"
)

// cloudEvent is an event of the tests' own trigger.
func cloudEvent(id, data string) string {
	return fmt.Sprintf(`{"specversion": "1.0", "source": "/cli", "id": %q, "subject": "mtg_1", "type": "contact.updated", "data": %s}`, id, data)
}

// awaits runs a command until it writes what is waited for, and returns what it writes then.
func (o *operator) awaits(t *testing.T, want string, args ...string) string {
	t.Helper()
	pattern := regexp.MustCompile(want)
	var last outcome
	require.Eventually(t, func() bool {
		last = o.run(t, "", args...)
		return pattern.MatchString(last.out)
	}, patience, 50*time.Millisecond, "%v never wrote %s", args, want)
	return last.out
}

// eventCommands publishes, looks at, and sends again.
func (o *operator) eventCommands(t *testing.T) {
	t.Helper()
	r := newReceiver(t)
	var broken atomic.Bool
	r.answering(func(int, *http.Request) int {
		if broken.Load() {
			return http.StatusInternalServerError
		}
		return http.StatusOK
	})
	made := o.ok(t, "", "webhooks", "create", "CLI", "--url", r.server.URL, "--trigger", "contact.updated", "--retries", "none", "-o", "json")
	var webhook struct{ Name string }
	require.NoError(t, json.Unmarshal([]byte(made), &webhook))
	_, id, _ := strings.Cut(webhook.Name, "/webhooks/")
	sample := `{"id": "con_1", "email": "sam@example.org"}`

	require.Contains(t, o.fails(t, 1, "events", "publish", "--validate-only", file(t, `{"specversion": "1.0"}`)), "event.id")
	o.awaits(t, `webhooks/`+id+` +yes`, "events", "explain", "--file", file(t, cloudEvent("x", sample)))
	published := o.ok(t, cloudEvent("cli_1", sample), "events", "publish", "-")
	sequence := regexp.MustCompile(`(?m)^event +(\d+)$`).FindStringSubmatch(published)
	require.NotNil(t, sequence, published)
	several := o.run(t, "["+cloudEvent("cli_2", sample)+","+cloudEvent("", sample)+"]", "events", "publish", "-")
	require.Equal(t, 1, several.code, "one was refused")
	require.Contains(t, several.out, "cli_2")
	require.Contains(t, several.out, "events[1].id")

	delivered := o.awaits(t, `succeeded`, "deliveries", "list", "--event-id", "cli_1", "--webhook", id)
	delivery := regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f-]{21}`).FindString(delivered)
	require.NotEmpty(t, delivery, delivered)
	o.awaits(t, `cli_2[^\n]+mtg_1`, "events", "list", "--subject", "mtg_1")
	require.Contains(t, o.awaits(t, `(?m)^delivered +1$`, "events", "get", sequence[1]), "sam@example.org")
	require.Regexp(t, `webhooks/`+id+` +yes`, o.ok(t, "", "events", "explain", sequence[1]))
	require.Regexp(t, id+` +no +trigger`, o.ok(t, "", "events", "explain", "--file", file(t, strings.Replace(cloudEvent("x", sample), "contact.updated", "meeting.booked", 1))))
	o.deliveryCommands(t, id, delivery)

	count := r.count()
	require.Regexp(t, `sent again +1`, o.ok(t, "", "events", "replay", sequence[1]))
	require.Eventually(t, func() bool { return r.count() > count }, patience, tick)
	backfilled := o.ok(t, "", "webhooks", "backfill", id, "--since", "2026-01-01T00:00:00Z", "--dry-run")
	require.Contains(t, backfilled, "succeeded")
	require.Regexp(t, `succeeded`, o.ok(t, "", "events", "replay", "--since", "2026-01-01T00:00:00Z", "--subject", "mtg_1", "--dry-run"))
	require.Contains(t, o.awaits(t, `attempts|ATTEMPTS`, "webhooks", "statistics", id), "P99")
	require.Contains(t, o.ok(t, "", "webhooks", "test", id), "200")
	require.Regexp(t, `breaker +closed`, o.ok(t, "", "webhooks", "health", id))
	require.Contains(t, o.ok(t, "", "webhooks", "matching", id), "/matching")
	o.tails(t, id)

	broken.Store(true)
	o.ok(t, cloudEvent("cli_dead", sample), "events", "publish", "-")
	o.deadLetterCommands(t, id, func() { broken.Store(false) })
	require.Contains(t, o.fails(t, 1, "events", "erase", sequence[1]), "--yes")
	require.Contains(t, o.ok(t, "", "events", "erase", sequence[1], "--dry-run"), "succeeded")
	require.Contains(t, o.ok(t, "", "events", "erase", sequence[1], "--yes", "--detach"), "erase_events")
	o.ok(t, "", "webhooks", "delete", id, "--yes")
	require.Contains(t, o.ok(t, "", "nats-config", "--publisher", "acme"), "publisher-acme")
}

// deliveryCommands looks at a delivery that has succeeded.
func (o *operator) deliveryCommands(t *testing.T, webhook, delivery string) {
	t.Helper()
	require.Contains(t, o.ok(t, "", "deliveries", "get", delivery), "succeeded")
	require.Contains(t, o.ok(t, "", "deliveries", "attempts", delivery), "200")
	require.Contains(t, o.ok(t, "", "deliveries", "attempts", delivery, "--bodies"), "sam@example.org")
	require.Contains(t, o.ok(t, "", "deliveries", "resend", delivery), delivery)
	require.Contains(t, o.fails(t, 1, "deliveries", "retry", delivery), "NOT_WAITING")
	require.Contains(t, o.fails(t, 1, "deliveries", "cancel", delivery, "--yes"), "NOT_WAITING")
	require.Contains(t, o.fails(t, 2, "deliveries", "retry"), "--webhook")
	require.Contains(t, o.ok(t, "", "deliveries", "retry", "--webhook", webhook), "succeeded")
	require.Contains(t, o.ok(t, "", "deliveries", "waiting", webhook), "nothing found")
}

// tails shows attempts as they are made.
func (o *operator) tails(t *testing.T, webhook string) {
	t.Helper()
	cmd := exec.Command(o.path, "tail", "--webhook", webhook, "-n", "1")
	var out lockedBuffer
	cmd.Env, cmd.Stdout, cmd.Stderr = o.environment(), &out, &out
	require.NoError(t, cmd.Start())
	o.used["tail"] = true
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	n := 0
	require.Eventually(t, func() bool {
		select {
		case err := <-done:
			require.NoError(t, err, out.String())
			return true
		default:
			n++ // it may not have begun to look yet
			o.ok(t, cloudEvent(fmt.Sprintf("tail_%d", n), `{"id": "con_1"}`), "events", "publish", "-")
			return false
		}
	}, patience, tick)
	require.Regexp(t, `200 .*contact\.updated +tail_\d+ +`+webhook, out.String())
}

// deadLetterCommands looks at a delivery that was given up, and sends it again once that can succeed.
func (o *operator) deadLetterCommands(t *testing.T, webhook string, mend func()) {
	t.Helper()
	// Others may have failed too: the last event of the tail may have arrived when it was broken already.
	dead := o.awaits(t, `dead`, "deliveries", "list", "--event-id", "cli_dead", "--webhook", webhook)
	delivery := regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f]{4}-5[0-9a-f-]{21}`).FindString(dead)
	o.awaits(t, delivery+`.*attempts_exhausted`, "dead-letters", "list", "--webhook", webhook)
	shown := o.awaits(t, `500`, "dead-letters", "get", delivery)
	require.Contains(t, shown, `"cli_dead"`)
	require.Contains(t, o.fails(t, 2, "dead-letters", "replay"), "--all")
	require.Contains(t, o.ok(t, "", "dead-letters", "replay", "--reason", "attempts_exhausted", "--dry-run"), "succeeded")
	mend()
	require.Contains(t, o.ok(t, "", "dead-letters", "replay", delivery), delivery)
	o.awaits(t, `succeeded`, "deliveries", "list", "--event-id", "cli_dead")
	require.Contains(t, o.fails(t, 1, "dead-letters", "purge", "--all"), "--yes")
	require.Contains(t, o.ok(t, "", "dead-letters", "purge", "--all", "--yes"), "succeeded")
}

// rejectCommands looks at what could not be accepted, and corrects it.
func (o *operator) rejectCommands(t *testing.T) {
	t.Helper()
	msg := nats.NewMsg(bus.EventSubject(o.org, "contact.updated"))
	msg.Data = []byte(strings.Replace(cloudEvent("cli_reject", `{}`), `"/cli"`, `7`, 1))
	_, err := o.js.PublishMsg(t.Context(), msg)
	require.NoError(t, err)
	listed := o.awaits(t, `/source`, "rejects", "list", "--rule", "type")
	id := regexp.MustCompile(`(?m)^(\d+) `).FindStringSubmatch(listed)[1]
	require.Contains(t, o.ok(t, "", "rejects", "get", id), "cli_reject")
	require.Contains(t, o.fails(t, 1, "rejects", "resubmit", id), "source")
	corrected := file(t, cloudEvent("cli_reject", `{"id": "con_1"}`))
	require.Contains(t, o.ok(t, "", "rejects", "resubmit", id, "--file", corrected, "--validate-only"), "would be accepted")
	require.Contains(t, o.ok(t, "", "rejects", "resubmit", id, "--file", corrected), "organizations/"+o.org+"/events/")
	require.Contains(t, o.fails(t, 1, "rejects", "get", id), "_NOT_FOUND")
}

// file writes a file and returns its name.
func file(t *testing.T, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "file.json")
	require.NoError(t, os.WriteFile(name, []byte(text), 0o600))
	return name
}
