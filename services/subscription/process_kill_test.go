package subscription_test

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/pgtest"
	subscriptionv1 "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
)

// killable is the service as a process of its own.
type killable struct {
	*instance

	program string
	process *exec.Cmd
}

// launch starts the process and waits until it serves.
func (k *killable) launch(t *testing.T) {
	t.Helper()
	process := exec.Command(k.program, "--grpc-addr", k.address)
	process.Env = append(os.Environ(),
		"MEETWIRE_DATABASE_URL="+pgtest.URL(k.pool).Reveal(),
		"MEETWIRE_OPERATOR_KEY="+k.operatorKey.Reveal(),
		"MEETWIRE_SERVICE_TOKEN="+k.serviceToken.Reveal(),
		"MEETWIRE_KEYSET="+k.keyset.Reveal(),
		"MEETWIRE_NATS_URL="+k.broker.URL(),
		"MEETWIRE_INGEST_ADDR="+k.peer.address,
		"MEETWIRE_DELIVERY_ADDR="+k.peer.address,
		"MEETWIRE_OPS_ADDR=127.0.0.1:0",
	)
	require.NoError(t, process.Start())
	k.process = process
	t.Cleanup(func() {
		_ = process.Process.Kill() // it may be dead already
		_ = process.Wait()
	})
	operator := k.operator(t)
	require.Eventually(t, func() bool { return tryList(t, operator) == nil }, patience, poll)
}

// kill ends the process without any warning.
func (k *killable) kill(t *testing.T) {
	t.Helper()
	require.NoError(t, k.process.Process.Kill())
	require.Error(t, k.process.Wait())
}

func TestEventsSurviveKills(t *testing.T) {
	t.Parallel()
	i := newInstallation(t)
	k := &killable{program: filepath.Join(t.TempDir(), "subscription")}
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", k.program, "./cmd/subscription").CombinedOutput()
	require.NoError(t, err, "%s", out)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	k.instance = &instance{installation: i, address: free.Addr().String()}
	require.NoError(t, free.Close())
	k.launch(t)
	k.operator(t).organization(t, "acme", false)

	var deleted []string
	for range 3 {
		operator := k.operator(t)
		for range 15 {
			w := operator.webhook(t, "acme", booking())
			_, err := operator.webhooks.DeleteWebhook(t.Context(), &subscriptionv1.DeleteWebhookRequest{Name: w.GetName()})
			require.NoError(t, err)
			deleted = append(deleted, idIn(w.GetName()))
		}
		k.kill(t) // while the last ones are being published, or about to be
		k.launch(t)
	}
	var told []string
	for _, event := range i.announcements(t, len(deleted)) {
		require.Equal(t, "webhook.deleted", event.Type)
		told = append(told, event.Data["webhook"].(map[string]any)["id"].(string))
	}
	require.Equal(t, deleted, told, "each once, in their order")
}
