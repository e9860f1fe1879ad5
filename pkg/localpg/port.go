package localpg

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
)

// Free ports are taken below the range that systems give to outgoing connections: the port of a server that is
// stopped for a moment could otherwise be somebody's when it is to listen again.
const (
	minPort      = 20000
	maxPort      = 32000 // exclusive; Linux gives out 32768 and up
	portAttempts = 1000
)

// freePort returns a port of 127.0.0.1 that nobody listens on.
func freePort() (int, error) {
	for range portAttempts {
		port := minPort + rand.IntN(maxPort-minPort) //nolint:gosec // G404: it only spreads servers over the ports
		if checkPort(port) == nil {
			return port, nil
		}
	}
	return 0, errors.New("no free port of 127.0.0.1 was found")
}

// checkPort returns ErrPortTaken when a port of 127.0.0.1 cannot be listened on.
func checkPort(port int) error {
	l, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
	if err != nil {
		return fmt.Errorf("%w: port %d of 127.0.0.1: %w", ErrPortTaken, port, err)
	}
	if err := l.Close(); err != nil {
		return fmt.Errorf("let go of port %d: %w", port, err)
	}
	return nil
}
