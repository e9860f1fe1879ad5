package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
)

// errOneRequest is returned for streams of requests, which REST does not have.
var errOneRequest = errors.New("the REST API takes one request")

// NewStream implements grpc.ClientConnInterface for streams of answers: each is a line of JSON.
func (c *conn) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, _ ...grpc.CallOption) (grpc.ClientStream, error) {
	if _, err := ruleOf(method); err != nil {
		return nil, fmt.Errorf("call %s: %w", method, err)
	}
	if desc.ClientStreams {
		return nil, errOneRequest
	}
	return &stream{conn: c, ctx: ctx, method: method}, nil
}

// stream implements grpc.ClientStream for one request and the lines of its answer. It ends with its context, or when it was
// read to the end.
type stream struct {
	conn   *conn
	ctx    context.Context //nolint:containedctx // grpc.ClientStream has it
	method string
	body   io.Closer // nil: nothing was asked
	lines  *bufio.Scanner
}

// Header implements grpc.ClientStream.
func (*stream) Header() (metadata.MD, error) { return metadata.MD{}, nil }

// Trailer implements grpc.ClientStream.
func (*stream) Trailer() metadata.MD { return nil }

// CloseSend implements grpc.ClientStream.
func (*stream) CloseSend() error { return nil }

// Context implements grpc.ClientStream.
func (s *stream) Context() context.Context { return s.ctx }

// SendMsg implements grpc.ClientStream: it calls. It returns when the answer begins.
func (s *stream) SendMsg(m any) error {
	in, ok := m.(proto.Message)
	if !ok || s.body != nil {
		return errOneRequest
	}
	request, err := s.conn.request(s.ctx, s.method, in)
	if err != nil {
		return fmt.Errorf("call %s: %w", s.method, err)
	}
	endless := *s.conn.http
	endless.Timeout = 0 // it lasts as long as there is something to tell
	response, err := endless.Do(request)
	if err != nil {
		var failed *url.Error // it would tell the URL again
		if errors.As(err, &failed) {
			err = failed.Err
		}
		return s.broken("call", err)
	}
	s.body = response.Body
	if response.StatusCode < 200 || response.StatusCode > 299 {
		defer response.Body.Close() //nolint:errcheck // it was read
		return s.refused(response)
	}
	s.lines = bufio.NewScanner(response.Body)
	s.lines.Buffer(nil, maxAnswer)
	return nil
}

// refused reads the error with which a call is answered.
func (s *stream) refused(response *http.Response) error {
	text, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if err != nil {
		return s.broken("read the answer of", err)
	}
	// When the service refuses it is a line of the stream, when the gateway does it is like every error.
	var line lineOfStream
	if err := json.Unmarshal(text, &line); err == nil && line.Error != nil {
		text = line.Error
	}
	return failure(response.StatusCode, text)
}

// lineOfStream is a line of a stream.
type lineOfStream struct {
	Result json.RawMessage `json:"result"`
	Error  json.RawMessage `json:"error"`
}

// RecvMsg implements grpc.ClientStream. io.EOF when the stream has ended in order.
func (s *stream) RecvMsg(m any) error {
	out, ok := m.(proto.Message)
	if !ok || s.lines == nil {
		return io.EOF
	}
	if !s.lines.Scan() {
		if err := s.lines.Err(); err != nil {
			return s.end(s.broken("read the answer of", err))
		}
		return s.end(io.EOF)
	}
	var line lineOfStream
	if err := json.Unmarshal(s.lines.Bytes(), &line); err != nil || (line.Result == nil) == (line.Error == nil) {
		return s.end(s.unlike())
	}
	if line.Error != nil {
		return s.end(failure(http.StatusInternalServerError, line.Error))
	}
	// A newer server may have more fields.
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(line.Result, out); err != nil {
		return s.end(s.unlike())
	}
	return nil
}

// end gives up the connection because of an error, which says more than what may go wrong with that.
func (s *stream) end(err error) error {
	s.body.Close() //nolint:errcheck // nothing more is read
	s.lines = nil
	return err
}

func (s *stream) unlike() error {
	return fmt.Errorf("%s does not answer as Meetwire does: is it the right --server?", s.conn.server)
}

// broken is the error of a connection that cannot be made, or has broken off: it is worth trying again.
func (s *stream) broken(what string, err error) error {
	if s.ctx.Err() != nil {
		return fmt.Errorf("%s %s: %w", what, s.conn.server, s.ctx.Err())
	}
	return status.Errorf(codes.Unavailable, "%s %s: %v", what, s.conn.server, err)
}
