package bench

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"strings"
)

// accepted is the answer of a light receiver.
const accepted = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

// serveLight takes webhooks with two thirds of the CPU that net/http's server needs: where the rate is given, and the
// receiver shares its cores with what is measured, it is to take little of them. It returns when the listener is closed.
func (r *receiver) serveLight(listener net.Listener) error {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err //nolint:wrapcheck // by the caller
		}
		go r.converse(conn)
	}
}

// converse answers the requests of one connection, one after the other, until it ends or one cannot be read.
func (r *receiver) converse(conn net.Conn) {
	defer conn.Close() //nolint:errcheck // nothing is written any more
	reader := bufio.NewReader(conn)
	var body bytes.Buffer
	for {
		request, err := http.ReadRequest(reader)
		if err != nil {
			return
		}
		webhook, found := strings.CutPrefix(request.URL.Path, pathWebhook)
		if !found || request.Method != http.MethodPost {
			return
		}
		body.Reset()
		if _, err := body.ReadFrom(io.LimitReader(request.Body, 2*maxPayload)); err != nil {
			return
		}
		r.take(webhook, request.Header, body.Bytes())
		if _, err := io.WriteString(conn, accepted); err != nil {
			return
		}
	}
}
