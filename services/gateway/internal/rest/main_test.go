package rest_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/meetwire/meetwire/pkg/rpc"
	"github.com/meetwire/meetwire/services/gateway/internal/operations"
	"github.com/meetwire/meetwire/services/gateway/internal/rest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// call is what a service was asked.
type call struct {
	method   string // such as /meetwire.ingest.v1.EventService/PublishEvent
	request  proto.Message
	metadata metadata.MD
}

// backend is a gRPC server that takes every method of the contracts, notes the calls, and answers with what
// answer says, or an empty message.
type backend struct {
	address string
	stop    func()

	mu     sync.Mutex
	calls  []call
	answer func(request proto.Message) (proto.Message, error)
	stream func(send func(proto.Message) error, done <-chan struct{}) error // in place of answer; nil: one message
}

func newBackend(t *testing.T) *backend {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	b := &backend{address: listener.Addr().String()}
	server := grpc.NewServer(grpc.UnknownServiceHandler(b.handle))
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) })
	b.stop = func() {
		server.Stop()
		serving.Wait()
	}
	t.Cleanup(b.stop)
	return b
}

func (b *backend) handle(_ any, stream grpc.ServerStream) error {
	name, _ := grpc.MethodFromServerStream(stream)
	service, method, _ := strings.Cut(strings.TrimPrefix(name, "/"), "/")
	found, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(service + "." + method))
	if err != nil {
		return err
	}
	descriptor, ok := found.(protoreflect.MethodDescriptor)
	if !ok {
		return errors.New("not a method: " + name)
	}
	request, err := newMessage(descriptor.Input())
	if err != nil {
		return err
	}
	if err := stream.RecvMsg(request); err != nil {
		return err
	}
	md, _ := metadata.FromIncomingContext(stream.Context())
	b.mu.Lock()
	b.calls = append(b.calls, call{name, request, md})
	answer, streamed := b.answer, b.stream
	b.mu.Unlock()
	if streamed != nil {
		return streamed(func(m proto.Message) error { return stream.SendMsg(m) }, stream.Context().Done())
	}
	response, err := newMessage(descriptor.Output())
	if err != nil {
		return err
	}
	if answer != nil {
		if response, err = answer(request); err != nil {
			return err
		}
	}
	return stream.SendMsg(response)
}

func newMessage(descriptor protoreflect.MessageDescriptor) (proto.Message, error) {
	kind, err := protoregistry.GlobalTypes.FindMessageByName(descriptor.FullName())
	if err != nil {
		return nil, err
	}
	return kind.New().Interface(), nil
}

// answers makes the backend answer like this from now on.
func (b *backend) answers(answer func(request proto.Message) (proto.Message, error)) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.answer = answer
}

// streams makes the backend answer with a stream from now on.
func (b *backend) streams(stream func(send func(proto.Message) error, done <-chan struct{}) error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.stream = stream
}

// only returns the one call that there was since the last time.
func (b *backend) only(t *testing.T) call {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	require.Len(t, b.calls, 1)
	one := b.calls[0]
	b.calls = nil
	return one
}

func (b *backend) requireNotCalled(t *testing.T) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	require.Empty(t, b.calls)
}

// env is the handler behind an HTTP server, in front of three services.
type env struct {
	subscription, ingest, delivery *backend
	operations                     *operations.Client
	url                            string
	client                         *http.Client
	notReady                       error // what is not ready; set it before a request
}

func setup(t *testing.T) *env {
	t.Helper()
	e := &env{subscription: newBackend(t), ingest: newBackend(t), delivery: newBackend(t)}
	dial := func(b *backend) *grpc.ClientConn {
		conn, err := rpc.Dial(b.address)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, conn.Close()) })
		return conn
	}
	backends := rest.Backends{Subscription: dial(e.subscription), Ingest: dial(e.ingest), Delivery: dial(e.delivery)}
	e.operations = operations.New(backends.Subscription, backends.Ingest, backends.Delivery)
	t.Cleanup(e.operations.Close)
	backends.Operations = e.operations
	handler, err := rest.NewHandler(t.Context(), backends, func(context.Context) error { return e.notReady }, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	e.url, e.client = server.URL, server.Client()
	return e
}

// answer is what a client gets.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// do sends a request. Headers are pairs of name and value.
func (e *env) do(t *testing.T, method, path, body string, headers ...string) answer {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, e.url+path, strings.NewReader(body))
	require.NoError(t, err)
	for i := 0; i < len(headers); i += 2 {
		request.Header.Add(headers[i], headers[i+1])
	}
	response, err := e.client.Do(request)
	require.NoError(t, err)
	defer func() { require.NoError(t, response.Body.Close()) }()
	got, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	require.Equal(t, "nosniff", response.Header.Get("X-Content-Type-Options"))
	require.Equal(t, "application/json", response.Header.Get("Content-Type"))
	return answer{response.StatusCode, response.Header, got}
}

// failure is the form of every error.
type failure struct {
	Code    int               `json:"code"`
	Message string            `json:"message"`
	Details []json.RawMessage `json:"details"`
}

// errorInfo and badRequest are details.
type errorInfo struct {
	Type   string `json:"@type"`
	Reason string `json:"reason"`
	Domain string `json:"domain"`
}

type badRequest struct {
	Type            string `json:"@type"`
	FieldViolations []struct {
		Field, Description, Reason string
	} `json:"fieldViolations"`
}

// decode reads JSON that has nothing but the known fields.
func decode[T any](t *testing.T, raw []byte) T {
	t.Helper()
	var value T
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.DisallowUnknownFields()
	require.NoError(t, decoder.Decode(&value), "%s", raw)
	return value
}

// requireFailure asserts that an answer is an error with a reason, and returns it.
func requireFailure(t *testing.T, got answer, status, code int, reason string) failure {
	t.Helper()
	require.Equal(t, status, got.status, "%s", got.body)
	f := decode[failure](t, got.body)
	require.Equal(t, code, f.Code)
	require.NotEmpty(t, f.Message)
	require.NotEmpty(t, f.Details)
	info := decode[errorInfo](t, f.Details[0])
	require.Equal(t, errorInfo{"type.googleapis.com/google.rpc.ErrorInfo", reason, "meetwire"}, info)
	return f
}
