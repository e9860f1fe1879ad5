package natstest

import (
	"math/rand/v2"
	"net"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// Ports are taken below the range that systems give to outgoing connections: a stopped server's port could
// otherwise be somebody's when it is to listen again, and a client that reconnects to a port of that range can
// even meet itself.
const (
	minPort      = 20000
	maxPort      = 32000 // exclusive; Linux gives out 32768 and up
	portAttempts = 1000
)

// given are the ports that this process has been given: it may not listen on the last ones yet.
var given sync.Map //nolint:gochecknoglobals // of the process

// FreePort returns a port of 127.0.0.1 that nobody listens on, another one each time.
func FreePort(tb testing.TB) int {
	tb.Helper()
	return freePorts(tb, 1)[0]
}

// freePorts returns n ports as FreePort does.
func freePorts(tb testing.TB, n int) []int {
	tb.Helper()
	ports := make([]int, 0, n)
	for range portAttempts {
		port := minPort + rand.IntN(maxPort-minPort)
		l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
		if err != nil {
			continue
		}
		require.NoError(tb, l.Close())
		if _, taken := given.LoadOrStore(port, true); taken {
			continue
		}
		if ports = append(ports, port); len(ports) == n {
			return ports
		}
	}
	require.Fail(tb, "no free ports", "found %d of %d", len(ports), n)
	return nil
}
