package subscription_test

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/meetwire/meetwire/pkg/pgtest"
)

func TestProcessServesAndStopsOnASignal(t *testing.T) {
	t.Parallel()
	program := filepath.Join(t.TempDir(), "subscription")
	out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "./cmd/subscription").CombinedOutput()
	require.NoError(t, err, "%s", out)

	i := newInstallation(t)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	at := &instance{installation: i, address: free.Addr().String()}
	require.NoError(t, free.Close())

	var log bytes.Buffer
	process := exec.CommandContext(t.Context(), program, "--grpc-addr", at.address)
	process.Env = append(os.Environ(),
		"MEETWIRE_DATABASE_URL="+pgtest.URL(i.pool).Reveal(),
		"MEETWIRE_OPERATOR_KEY="+i.operatorKey.Reveal(),
		"MEETWIRE_SERVICE_TOKEN="+i.serviceToken.Reveal(),
		"MEETWIRE_KEYSET="+i.keyset.Reveal(),
		"MEETWIRE_NATS_URL="+i.broker.URL(),
		"MEETWIRE_INGEST_ADDR="+i.peer.address,
		"MEETWIRE_DELIVERY_ADDR="+i.peer.address,
		"MEETWIRE_OPS_ADDR=127.0.0.1:0",
		"MEETWIRE_LOG_LEVEL=debug",
	)
	process.Stdout, process.Stderr = &log, &log
	require.NoError(t, process.Start())
	operator := at.operator(t)
	require.Eventually(t, func() bool { return tryList(t, operator) == nil }, patience, 20*time.Millisecond)
	operator.organization(t, "acme", false)
	created := operator.webhook(t, "acme", booking())
	at.watch(t, 0).snapshot(t)

	require.NoError(t, process.Process.Signal(syscall.SIGTERM))
	require.NoError(t, process.Wait(), "an ordered stop; a watcher was connected")
	for _, secret := range []string{
		strings.SplitN(i.operatorKey.Reveal(), "_", 3)[2], i.serviceToken.Reveal(), i.keyset.Reveal(),
		created.GetSecret(), pgtest.URL(i.pool).Reveal(),
	} {
		require.NotContains(t, log.String(), secret)
	}
	require.NotEmpty(t, log.String())
}
