package e2e_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/bus"
	"github.com/meetwire/meetwire/pkg/pgtest"
)

// passwords reads what `meetwire up --secure` keeps in its data folder.
func passwords(t *testing.T, folder string) map[string]string {
	t.Helper()
	path := filepath.Join(folder, "nats-passwords")
	info, err := os.Stat(path)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
	content, err := os.ReadFile(path)
	require.NoError(t, err)
	all := make(map[string]string)
	for line := range strings.Lines(string(content)) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		require.True(t, ok, line)
		all[name] = value
	}
	return all
}

// connectAs connects to NATS as one of its users.
func (i *installation) connectAs(t *testing.T, folder, user string) (*nats.Conn, jetstream.JetStream) {
	t.Helper()
	password := passwords(t, folder)["NATS_"+strings.ToUpper(strings.ReplaceAll(user, "-", "_"))+"_PASSWORD"]
	require.NotEmpty(t, password, user)
	conn, err := nats.Connect(i.natsURL, nats.UserInfo(user, password), nats.CustomInboxPrefix(bus.InboxPrefix(user)),
		nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	require.NoError(t, err)
	t.Cleanup(conn.Close)
	js, err := jetstream.New(conn)
	require.NoError(t, err)
	return conn, js
}

// asUsers publishes as a publisher and looks at streams as an operator.
type asUsers struct {
	jetstream.JetStream
	operator jetstream.JetStream
}

func (a asUsers) Stream(ctx context.Context, name string) (jetstream.Stream, error) {
	return a.operator.Stream(ctx, name)
}

// connectAsUsers connects the tests to an installation whose NATS has users.
func (i *installation) connectAsUsers(t *testing.T, folder string) {
	t.Helper()
	_, operator := i.connectAs(t, folder, bus.UserOperator)
	conn, js := i.connectAs(t, folder, bus.UserPublisher)
	i.nats, i.js = conn, asUsers{js, operator}
}

// TestSecure has everything work with users of NATS that may do what they need and nothing else. The server's log must
// not tell of anything that a service was refused.
func TestSecure(t *testing.T) {
	t.Parallel()
	folder := dataFolder(t)
	database := pgtest.DatabaseURL(t, "e2e", nil)
	i := up(t, folder, "--secure", "--publisher", "acme", "--publisher", "globex", "--demo", "--database-url", database.Reveal())
	i.database = database
	t.Run("scenarios", func(t *testing.T) {
		for name, scenario := range map[string]func(*testing.T, *installation){
			"an event becomes a verified delivery":      testVerifiedDelivery,
			"a failing receiver is tried again":         testRetries,
			"a dead letter and its replays":             testDeadLetter,
			"a paused webhook":                          testPause,
			"what was missed":                           testMissed,
			"a deleted webhook":                         testDeletion,
			"a receiver that is gone":                   testGone,
			"a deleted organization":                    testOrganizationDeletion,
			"events about Meetwire":                     testReserved,
			"what cannot be accepted over NATS is kept": testRejectsNATS,
			"what has happened":                         testHistoryOfAll,
			"organizations for themselves":              func(t *testing.T, i *installation) { testPublishers(t, i, folder) },
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				scenario(t, i)
			})
		}
	})
	p := i.processes["meetwire"]
	require.Eventually(t, func() bool { return strings.Contains(p.output.String(), "Ctrl-C stops it") }, patience, tick, p.output)
	p.end(t, syscall.SIGINT)
	require.Equal(t, 0, p.cmd.ProcessState.ExitCode())
	output := p.output.String()
	for variable, password := range passwords(t, folder) {
		require.NotContains(t, output, password, "%s is told", variable)
	}
	for line := range strings.Lines(output) {
		if strings.Contains(line, "iolation") {
			require.Contains(t, line, `publisher-acme`, "a service was refused something")
		}
	}

	// Passwords stay the same; a publisher that is added gets one.
	before := passwords(t, folder)
	up(t, folder, "--secure", "--publisher", "acme", "--publisher", "initech", "--database-url", database.Reveal())
	after := passwords(t, folder)
	require.NotEmpty(t, after["NATS_PUBLISHER_INITECH_PASSWORD"])
	delete(after, "NATS_PUBLISHER_INITECH_PASSWORD")
	require.Equal(t, before, after)
}

// testHistoryOfAll reads, sends again and erases what has happened.
func testHistoryOfAll(t *testing.T, i *installation) {
	o := i.tenant(t)
	failing := newReceiver(t).answering(func(int, *http.Request) int { return http.StatusServiceUnavailable })
	o.webhook(t, failing, "", "meeting.booked")
	o.inForce(t)
	const events = 5
	since := o.history(t, "h", events)
	rejected := o.publishRaw(t, "meeting.exploded", "", `{"specversion":"1.0","source":"/history","id":"h0","type":"meeting.exploded","data":{}}`)
	awaitReject(t, o, rejected.Sequence)
	o.do(t, "GET", o.path("/rejects"), "", nil)

	r := newReceiver(t)
	h := o.webhook(t, r, "", "meeting.booked")
	o.inForce(t)
	backfill := o.begin(t, "/v1/"+h.Name+":backfill", fmt.Sprintf(`{"startTime":%q}`, since))
	o.awaitOperation(t, backfill.Name, "STATE_SUCCEEDED")
	r.await(t, events)
	var list struct {
		Events []struct{ Name, ID string }
	}
	o.do(t, "GET", o.path("/events?pageSize=100"), "", &list)
	at := slices.IndexFunc(list.Events, func(e struct{ Name, ID string }) bool { return e.ID == "h1" })
	require.GreaterOrEqual(t, at, 0, "%+v", list)
	name := list.Events[at].Name
	o.do(t, "GET", "/v1/"+name, "", nil)
	o.do(t, "GET", "/v1/"+name+"/outcome", "", nil)
	o.do(t, "POST", "/v1/"+name+":replay", fmt.Sprintf(`{"webhook":%q}`, h.Name), nil)
	r.await(t, events+1)
	replay := o.begin(t, o.path("/events:replay"), fmt.Sprintf(`{"startTime":%q,"webhook":%q}`, since, h.Name))
	o.awaitOperation(t, replay.Name, "STATE_SUCCEEDED")
	erasure := o.begin(t, o.path("/events:erase"), `{"eventId":"h1"}`)
	require.Equal(t, 1, o.awaitOperation(t, erasure.Name, "STATE_SUCCEEDED").affected(t))
}

// TestSecureIsForTheEmbeddedServer tells what --secure and --publisher cannot do.
func TestSecureIsForTheEmbeddedServer(t *testing.T) {
	t.Parallel()
	for text, args := range map[string][]string{
		"--secure is for the embedded NATS": {"--secure", "--nats-url", "nats://127.0.0.1:1", "--database-url", "postgres://127.0.0.1:1/x"},
		"--publisher needs --secure":        {"--publisher", "acme", "--database-url", "postgres://127.0.0.1:1/x"},
		"must be an organization":           {"--secure", "--publisher", "a.b", "--database-url", "postgres://127.0.0.1:1/x"},
	} {
		p := &process{path: binary(t, "meetwire"), args: append([]string{"up", "--data-dir", dataFolder(t), "--http-addr", "127.0.0.1:0", "--nats-port", "0"}, args...)}
		p.start(t)
		select {
		case <-p.done:
		case <-time.After(patience):
			p.end(t, syscall.SIGKILL)
		}
		require.Equal(t, 1, p.cmd.ProcessState.ExitCode(), p.output)
		require.Contains(t, p.output.String(), text)
	}
}
