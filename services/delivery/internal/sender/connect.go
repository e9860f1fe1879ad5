package sender

import (
	"bufio"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// maxProxyAnswer is how much of an answer to CONNECT is read, in bytes.
const maxProxyAnswer = 64 << 10

// tunnel has an HTTP proxy connect to a host (RFC 9110, 9.3.6).
func (p *Proxy) tunnel(conn net.Conn, c *call, host string, port uint16) error {
	address := net.JoinHostPort(host, strconv.Itoa(int(port)))
	request := &http.Request{
		Method: http.MethodConnect, URL: &url.URL{Opaque: address}, Host: address,
		Header: http.Header{"User-Agent": nil}, // it is not told what software this is
	}
	if !p.user.IsZero() || !p.password.IsZero() {
		credentials := base64.StdEncoding.EncodeToString([]byte(p.user.Reveal() + ":" + p.password.Reveal()))
		request.Header.Set("Proxy-Authorization", "Basic "+credentials)
	}
	c.asks()
	if err := request.Write(conn); err != nil {
		return fmt.Errorf("ask for a connection: %w", err)
	}
	reader := bufio.NewReader(io.LimitReader(conn, maxProxyAnswer))
	response, err := http.ReadResponse(reader, request) //nolint:bodyclose // closing would read on; a body ends with the connection
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if err := refusal(response); err != nil {
		return err
	}
	if reader.Buffered() > 0 {
		return errors.New("the proxy says more than it was asked for")
	}
	return nil
}

// refusal returns the error that a proxy's answer is, or nil when it has connected.
//
// What a status says about whom is the server's word in RFC 9110: 502 and 504 speak of the server behind the one that
// answers, here the receiver, and 503 of the one that answers. Squid says 503 of both, and which in a header. All
// else is about the request that we make, or the proxy's own rules, and nothing the receiver could mend: in doubt a
// webhook is not counted as failing, since a broken proxy would have all of them disabled.
func refusal(response *http.Response) error {
	status := response.StatusCode
	squid := response.Header.Get("X-Squid-Error")
	switch {
	case status >= 200 && status <= 299:
		return nil
	case status == http.StatusBadGateway, status == http.StatusGatewayTimeout,
		strings.HasPrefix(squid, "ERR_CONNECT_FAIL"), strings.HasPrefix(squid, "ERR_DNS_FAIL"):
		return &unreachableError{answer: strconv.Itoa(status)}
	case status == http.StatusProxyAuthRequired:
		return &proxyError{what: "refuses our credentials"}
	case status == http.StatusForbidden:
		return &proxyError{what: "does not allow this receiver"}
	}
	return &proxyError{what: fmt.Sprintf("answered with status %d", status)}
}
