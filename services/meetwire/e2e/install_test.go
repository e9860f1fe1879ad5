package e2e_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/natstest"
	"github.com/meetwire/meetwire/pkg/pgtest"
	"github.com/meetwire/meetwire/pkg/rpc"
	"github.com/meetwire/meetwire/pkg/seal"
	"github.com/meetwire/meetwire/pkg/secret"
)

// patience is how long a test waits for something that takes far less.
const patience = 60 * time.Second

// ackWait is short, so that what a killed process had in hand comes again soon.
const ackWait = 3 * time.Second

// tick is how often something is looked at that is waited for.
const tick = 20 * time.Millisecond

// serviceToken is what the services know each other by.
const serviceToken = "service-token-of-the-end-to-end-tests-01"

func TestMain(m *testing.M) {
	code := pgtest.Run(m)
	if binaries.folder != "" {
		if err := os.RemoveAll(binaries.folder); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code) //nolint:forbidigo // what TestMain is for
}

// binaries are the programs, built once.
var binaries struct { //nolint:gochecknoglobals // shared by the tests of this package
	once   sync.Once
	folder string
	err    error
}

func binary(t *testing.T, name string) string {
	t.Helper()
	binaries.once.Do(func() {
		if binaries.folder, binaries.err = os.MkdirTemp("", "meetwire-e2e-"); binaries.err != nil {
			return
		}
		const module = "github.com/meetwire/meetwire/services/"
		build := exec.Command("go", "build", "-o", binaries.folder+"/",
			module+"subscription/cmd/subscription", module+"ingest/cmd/ingest", module+"delivery/cmd/delivery",
			module+"gateway/cmd/gateway", module+"meetwire/cmd/meetwire")
		var output []byte
		if output, binaries.err = build.CombinedOutput(); binaries.err != nil {
			binaries.err = fmt.Errorf("%w: %s", binaries.err, output)
		}
	})
	require.NoError(t, binaries.err)
	return filepath.Join(binaries.folder, name)
}

// installation is a running Meetwire.
type installation struct {
	rest    string
	natsURL string
	key     string // an operator's

	// When the services are processes of their own:
	grpc     map[string]string // addresses
	database secret.String     // URL
	mails    *mailbox

	nats      *nats.Conn
	js        jetstream.JetStream
	processes map[string]*process
}

// process is one of its programs.
type process struct {
	path   string
	args   []string
	env    []string
	cmd    *exec.Cmd
	output *lockedBuffer
	done   chan struct{}
}

func (p *process) start(t *testing.T) {
	t.Helper()
	p.output = &lockedBuffer{}
	p.cmd = exec.Command(p.path, p.args...)
	p.cmd.Env = append(os.Environ(), p.env...)
	p.cmd.Stdout, p.cmd.Stderr = p.output, p.output
	require.NoError(t, p.cmd.Start())
	p.done = make(chan struct{})
	cmd, done := p.cmd, p.done
	go func() {
		defer close(done)
		_ = cmd.Wait()
	}()
}

// end sends a signal and waits for the process to be gone.
func (p *process) end(t *testing.T, signal syscall.Signal) {
	t.Helper()
	select {
	case <-p.done:
		return
	default:
	}
	require.NoError(t, p.cmd.Process.Signal(signal))
	select {
	case <-p.done:
	case <-time.After(patience):
		require.NoError(t, p.cmd.Process.Kill())
		require.Fail(t, "the process did not end", "%s: %s", p.path, p.output)
	}
}

func (i *installation) kill(t *testing.T, name string) { i.processes[name].end(t, syscall.SIGKILL) }

func (i *installation) restart(t *testing.T, name string) { i.processes[name].start(t) }

// processesOf starts the four services as processes of their own, on a NATS and a Postgres of this test.
func processesOf(t *testing.T) *installation {
	t.Helper()
	server := natstest.Start(t)
	database := pgtest.DatabaseURL(t, "e2e", nil)
	keyset, err := seal.GenerateKeyset()
	require.NoError(t, err)
	_, key, _, err := rpc.NewKey()
	require.NoError(t, err)
	mails := newMailbox(t)
	binary(t, "gateway") // addresses are not to wait for programs that have to be built
	subscription, ingest, delivery, gateway := freeAddress(t), freeAddress(t), freeAddress(t), freeAddress(t)
	env := []string{
		"MEETWIRE_SERVICE_TOKEN=" + serviceToken,
		"MEETWIRE_KEYSET=" + keyset.Reveal(),
		"MEETWIRE_OPERATOR_KEY=" + key.Reveal(),
		"MEETWIRE_DATABASE_URL=" + database.Reveal(),
		"MEETWIRE_DATABASE_MAX_CONNS=5", // all tests share a server
		"MEETWIRE_NATS_URL=" + server.URL(),
		"MEETWIRE_SUBSCRIPTION_ADDR=" + subscription,
		"MEETWIRE_INGEST_ADDR=" + ingest,
		"MEETWIRE_DELIVERY_ADDR=" + delivery,
		"MEETWIRE_HTTP_ADDR=" + gateway,
		"MEETWIRE_ALLOWED_TARGETS=127.0.0.0/8",
		"MEETWIRE_ACK_WAIT=" + ackWait.String(),
		"MEETWIRE_EXTRA_CA=" + testAuthority(t),
		"MEETWIRE_LOG_LEVEL=info",
		"MEETWIRE_SMTP_HOST=127.0.0.1", "MEETWIRE_SMTP_TLS=none", "MEETWIRE_SMTP_FROM=meetwire@example.com",
		"MEETWIRE_SMTP_PORT=" + mails.port,
	}
	i := &installation{
		rest: "http://" + gateway, natsURL: server.URL(), key: key.Reveal(), processes: map[string]*process{},
		grpc:     map[string]string{"subscription": subscription, "ingest": ingest, "delivery": delivery, "gateway": gateway},
		database: database, mails: mails,
	}
	for name, address := range i.grpc {
		p := &process{path: binary(t, name), env: append([]string{"MEETWIRE_GRPC_ADDR=" + address}, env...)}
		i.processes[name] = p
		p.start(t)
	}
	t.Cleanup(func() {
		for name, p := range i.processes {
			p.end(t, syscall.SIGTERM)
			if t.Failed() {
				t.Logf("%s:\n%s", name, p.output)
			}
		}
	})
	i.connect(t)
	return i
}

// up starts `meetwire up` with a data folder.
func up(t *testing.T, folder string, args ...string) *installation {
	t.Helper()
	p := &process{
		path: binary(t, "meetwire"),
		args: append([]string{"up", "--data-dir", folder, "--http-addr", "127.0.0.1:0", "--nats-port", "0", "--ack-wait", ackWait.String()}, args...),
	}
	p.start(t)
	i := &installation{processes: map[string]*process{"meetwire": p}}
	t.Cleanup(func() {
		p.end(t, syscall.SIGINT)
		if t.Failed() {
			t.Logf("meetwire up:\n%s", p.output)
		}
	})
	for _, wanted := range []struct {
		pattern string
		into    *string
	}{
		{`REST +(\S+)`, &i.rest}, {`NATS +(\S+)`, &i.natsURL}, {`operator key +(\S+)`, &i.key},
	} {
		pattern := regexp.MustCompile(wanted.pattern)
		require.Eventually(t, func() bool {
			match := pattern.FindStringSubmatch(p.output.String())
			if match != nil {
				*wanted.into = match[1]
			}
			return match != nil
		}, patience, 20*time.Millisecond, "meetwire up did not say where it is: %s", p.output)
	}
	if slices.Contains(args, "--secure") {
		i.connectAsUsers(t, folder)
	}
	i.connect(t)
	return i
}

// dataFolder returns a folder that Postgres can reach when it runs as another user.
func dataFolder(t *testing.T) string {
	t.Helper()
	folder, err := os.MkdirTemp("", "meetwire-up-")
	require.NoError(t, err)
	require.NoError(t, os.Chmod(folder, 0o711))
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(folder)) })
	return filepath.Join(folder, "data")
}

// connect waits until everything is ready.
func (i *installation) connect(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool {
		response, err := http.Get(i.rest + "/readyz")
		if err != nil {
			return false
		}
		defer response.Body.Close()
		return response.StatusCode == http.StatusOK
	}, patience, 20*time.Millisecond, "not ready")
	if i.nats != nil {
		return
	}
	var err error
	i.nats, err = nats.Connect(i.natsURL)
	require.NoError(t, err)
	t.Cleanup(i.nats.Close)
	i.js, err = jetstream.New(i.nats)
	require.NoError(t, err)
}

// freeAddress returns an address of loopback that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	return fmt.Sprintf("127.0.0.1:%d", natstest.FreePort(t))
}

// lockedBuffer may be read while a process writes to it.
type lockedBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}

// call makes a REST call with a key and returns the status and the body.
func (i *installation) call(t *testing.T, key, method, path, body string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(context.Background(), method, i.rest+path, strings.NewReader(body))
	require.NoError(t, err)
	if key != "" {
		request.Header.Set("Authorization", "Bearer "+key)
	}
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	answer, err := io.ReadAll(bufio.NewReader(response.Body))
	require.NoError(t, err)
	return response.StatusCode, string(answer)
}
