package bench

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// accepted is the answer of a light receiver.
const accepted = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"

// serveLight takes webhooks with a fraction of the CPU that net/http's server needs: where the rate is given, and the
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
	answer := []byte(accepted)
	var body []byte
	for {
		_, err := reader.Peek(1) // before a request comes its phase may not have begun
		if err != nil {
			return
		}
		if r.counting.Load().Verify {
			err = r.readWhole(reader)
		} else {
			body, err = r.readLight(reader, body)
		}
		if err != nil {
			return
		}
		if _, err := conn.Write(answer); err != nil {
			return
		}
	}
}

var errRequest = errors.New("the request is not one of a webhook")

// readWhole takes a webhook with all of its headers.
func (r *receiver) readWhole(reader *bufio.Reader) error {
	request, err := http.ReadRequest(reader)
	if err != nil {
		return err //nolint:wrapcheck // nobody reads it
	}
	webhook, found := strings.CutPrefix(request.URL.Path, pathWebhook)
	if !found || request.Method != http.MethodPost {
		return errRequest
	}
	body, err := io.ReadAll(io.LimitReader(request.Body, 2*maxPayload))
	if err != nil {
		return err //nolint:wrapcheck // as above
	}
	r.take(webhook, request.Header, body)
	return nil
}

// readLight takes a webhook of which only its path and its body are asked for. It returns the body, whose memory may be
// used again.
func (r *receiver) readLight(reader *bufio.Reader, memory []byte) (body []byte, err error) {
	line, err := reader.ReadSlice('\n')
	if err != nil {
		return nil, err //nolint:wrapcheck // nobody reads it
	}
	path, found := bytes.CutPrefix(line, []byte(http.MethodPost+" "+pathWebhook))
	if !found {
		return nil, errRequest
	}
	path, _, _ = bytes.Cut(path, []byte(" "))
	webhook := string(path)
	for length := 0; ; {
		if line, err = reader.ReadSlice('\n'); err != nil {
			return nil, err //nolint:wrapcheck // as above
		}
		name, value, found := bytes.Cut(line, []byte(":"))
		if !found { // the line between headers and body
			body = slices.Grow(memory[:0], length)[:length]
			break
		}
		if bytes.EqualFold(name, []byte("Content-Length")) {
			if length, err = strconv.Atoi(string(bytes.TrimSpace(value))); err != nil || length < 0 || length > 2*maxPayload {
				return nil, errRequest
			}
		}
	}
	if _, err := io.ReadFull(reader, body); err != nil {
		return nil, err //nolint:wrapcheck // as above
	}
	r.take(webhook, nil, body)
	return body, nil
}
