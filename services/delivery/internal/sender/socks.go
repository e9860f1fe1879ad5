package sender

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/netip"
	"strconv"
)

// What SOCKS5 (RFC 1928) and its authentication by password (RFC 1929) write on the wire.
const (
	socksVersion  = 5
	socksConnect  = 1
	socksIPv4     = 1
	socksName     = 3
	socksIPv6     = 4
	socksNoAuth   = 0
	socksPassword = 2
	socksRefused  = 0xff

	passwordVersion = 1
)

// Answers to a request for a connection.
const (
	socksConnected          = 0
	socksForbidden          = 2
	socksNetworkUnreachable = 3
	socksHostUnreachable    = 4
	socksConnectionRefused  = 5
	socksTooFar             = 6
	socksNoSuchAddressType  = 8
)

// socks has a SOCKS5 proxy connect to a host. golang.org/x/net/proxy could do that too, but tells who is to blame
// for a failure only in the text of its error.
func (p *Proxy) socks(conn net.Conn, c *call, host string, port uint16) error {
	if err := p.greet(conn); err != nil {
		return err
	}
	request := []byte{socksVersion, socksConnect, 0}
	addr, err := netip.ParseAddr(host)
	switch {
	case err == nil && addr.Is4():
		request = append(append(request, socksIPv4), addr.AsSlice()...)
	case err == nil:
		request = append(append(request, socksIPv6), addr.AsSlice()...)
	case len(host) > math.MaxUint8:
		return &unreachableError{answer: "no name is so long"}
	default:
		request = appendText(append(request, socksName), host)
	}
	c.asks()
	if _, err := conn.Write(binary.BigEndian.AppendUint16(request, port)); err != nil {
		return fmt.Errorf("ask for a connection: %w", err)
	}
	return readSocksAnswer(conn, addr.IsValid())
}

// greet agrees on an authentication.
func (p *Proxy) greet(conn net.Conn) error {
	hello := []byte{socksVersion, 1, socksNoAuth}
	if !p.user.IsZero() {
		hello = []byte{socksVersion, 2, socksNoAuth, socksPassword}
	}
	if _, err := conn.Write(hello); err != nil {
		return fmt.Errorf("greet: %w", err)
	}
	var answer [2]byte
	if _, err := io.ReadFull(conn, answer[:]); err != nil {
		return fmt.Errorf("read the greeting: %w", err)
	}
	switch {
	case answer[0] != socksVersion:
		return errors.New("the greeting is not one of SOCKS5")
	case answer[1] == socksNoAuth:
		return nil
	case answer[1] == socksRefused:
		return &proxyError{what: "refuses our credentials"}
	case answer[1] != socksPassword || p.user.IsZero():
		return errors.New("the greeting chooses what was not offered")
	}
	login := appendText(appendText([]byte{passwordVersion}, p.user.Reveal()), p.password.Reveal())
	if _, err := conn.Write(login); err != nil {
		return fmt.Errorf("log in: %w", err)
	}
	if _, err := io.ReadFull(conn, answer[:]); err != nil {
		return fmt.Errorf("read the answer to the login: %w", err)
	}
	if answer[1] != 0 {
		return &proxyError{what: "refuses our credentials"}
	}
	return nil
}

// appendText appends a text of at most 255 bytes after its length.
func appendText(to []byte, text string) []byte {
	return append(append(to, byte(len(text))), text...) //nolint:gosec // G115: it is checked to be short
}

// readSocksAnswer reads the answer to a request for a connection, to an address or to a name.
func readSocksAnswer(conn net.Conn, address bool) error {
	var head [4]byte
	if _, err := io.ReadFull(conn, head[:]); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if head[0] != socksVersion {
		return errors.New("the answer is not one of SOCKS5")
	}
	switch code := head[1]; {
	case code == socksConnected:
	case code == socksNetworkUnreachable, code == socksHostUnreachable, code == socksConnectionRefused, code == socksTooFar,
		code == socksNoSuchAddressType && address: // the receiver has an address of a kind that the proxy's network lacks
		return &unreachableError{answer: strconv.Itoa(int(code))}
	case code == socksForbidden:
		return &proxyError{what: "does not allow this receiver"}
	default:
		return &proxyError{what: fmt.Sprintf("answered with code %d", code)}
	}
	// What follows is the address and the port that the proxy connects from.
	rest := map[byte]int64{socksIPv4: 4, socksIPv6: 16}[head[3]]
	if head[3] == socksName {
		var length [1]byte
		if _, err := io.ReadFull(conn, length[:]); err != nil {
			return fmt.Errorf("read the answer: %w", err)
		}
		rest = int64(length[0])
	} else if rest == 0 {
		return errors.New("the answer holds an address of an unknown kind")
	}
	if _, err := io.CopyN(io.Discard, conn, rest+2); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	return nil
}
