// Package rest owns the translation between REST and gRPC: routes come from the contracts' annotations, errors
// keep their code, reason and fields. It decides nothing.
package rest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/textproto"
	"slices"
	"strings"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/genproto/googleapis/api/httpbody"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	contracts "github.com/meetwire/meetwire/proto"
	deliveryv1 "github.com/meetwire/meetwire/proto/gen/meetwire/delivery/v1"
	ingestv1 "github.com/meetwire/meetwire/proto/gen/meetwire/ingest/v1"
	operationv1 "github.com/meetwire/meetwire/proto/gen/meetwire/operation/v1"
	subscriptionv1 "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
	"github.com/meetwire/meetwire/services/gateway/internal/openapi"
)

// Limits of the body of a request: more than any message that a service accepts.
const (
	maxRequestBytes = 1 << 20
	maxBatchBytes   = 4_100_000 // of several events; less than the 4 MiB that a service takes as a message
)

// batchPath is what the path ends with under which several events are published.
const batchPath = "/events:batchPublish"

// Backends are the connections to the services.
type Backends struct {
	Subscription *grpc.ClientConn
	Ingest       *grpc.ClientConn
	Delivery     *grpc.ClientConn
	Operations   operationv1.OperationServiceClient // of all services
}

// NewHandler serves `/v1/…`, `/openapi.json`, `/healthz` and `/readyz`.
func NewHandler(ctx context.Context, backends Backends, ready func(context.Context) error, logger *slog.Logger) (http.Handler, error) {
	var api *runtime.ServeMux
	api = runtime.NewServeMux(
		runtime.WithMarshalerOption(runtime.MIMEWildcard, newMarshaler()),
		runtime.WithIncomingHeaderMatcher(incomingHeader),
		runtime.WithOutgoingHeaderMatcher(func(string) (string, bool) { return "", false }),
		runtime.WithForwardResponseOption(accepted),
		runtime.WithErrorHandler(onError),
		runtime.WithStreamErrorHandler(onStreamError),
		runtime.WithRoutingErrorHandler(onRoutingError),
		runtime.WithMiddlewares(newRequests().strict(func() *runtime.ServeMux { return api })),
	)
	for _, register := range []struct {
		register func(context.Context, *runtime.ServeMux, *grpc.ClientConn) error
		conn     *grpc.ClientConn
	}{
		{subscriptionv1.RegisterOrganizationServiceHandler, backends.Subscription},
		{subscriptionv1.RegisterApiKeyServiceHandler, backends.Subscription},
		{subscriptionv1.RegisterTriggerServiceHandler, backends.Subscription},
		{subscriptionv1.RegisterWebhookServiceHandler, backends.Subscription},
		{subscriptionv1.RegisterPlanServiceHandler, backends.Subscription},
		{subscriptionv1.RegisterTeamServiceHandler, backends.Subscription},
		{subscriptionv1.RegisterSigningSecretServiceHandler, backends.Subscription},
		{subscriptionv1.RegisterKeysetServiceHandler, backends.Subscription},
		{subscriptionv1.RegisterAuditServiceHandler, backends.Subscription},
		{ingestv1.RegisterEventServiceHandler, backends.Ingest},
		{ingestv1.RegisterRejectServiceHandler, backends.Ingest},
		{deliveryv1.RegisterDeliveryServiceHandler, backends.Delivery},
		{deliveryv1.RegisterDeadLetterServiceHandler, backends.Delivery},
	} {
		if err := register.register(ctx, api, register.conn); err != nil {
			return nil, fmt.Errorf("register a service: %w", err)
		}
	}
	if err := operationv1.RegisterOperationServiceHandlerClient(ctx, api, backends.Operations); err != nil {
		return nil, fmt.Errorf("register the operations: %w", err)
	}
	document, err := openapi.Document(contracts.OpenAPI, contracts.Examples)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("/", limit(api))
	mux.HandleFunc("GET /openapi.json", func(w http.ResponseWriter, r *http.Request) {
		reply(w, r, http.StatusOK, document, logger)
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) {
		reply(w, r, http.StatusOK, []byte(`{"healthy":true}`), logger)
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		answer := struct {
			Ready bool   `json:"ready"`
			Error string `json:"error,omitempty"`
		}{Ready: true}
		status := http.StatusOK
		if err := ready(r.Context()); err != nil {
			answer.Ready, answer.Error, status = false, err.Error(), http.StatusServiceUnavailable
		}
		body, err := json.Marshal(answer)
		if err != nil {
			logger.ErrorContext(r.Context(), "encode the readiness", "error", err)
			status = http.StatusInternalServerError
		}
		reply(w, r, status, body, logger)
	})
	return mux, nil
}

// reply writes JSON.
func reply(w http.ResponseWriter, r *http.Request, status int, body []byte, logger *slog.Logger) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	if _, err := w.Write(body); err != nil {
		logger.DebugContext(r.Context(), "client went away", "error", err)
	}
}

// limit bounds request bodies and forbids browsers to guess the type of answers.
func limit(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		limit := int64(maxRequestBytes)
		if r.Method == http.MethodPost && strings.HasSuffix(r.URL.Path, batchPath) {
			limit = maxBatchBytes
		}
		r.Body = &typedBody{http.MaxBytesReader(w, r.Body, limit), r.Header.Get("Content-Type")}
		w.Header().Set("X-Content-Type-Options", "nosniff")
		next.ServeHTTP(w, r)
	})
}

// typedBody is the body of a request that knows what it is said to be.
type typedBody struct {
	io.ReadCloser
	contentType string
}

// unsaid is what curl says of every body when nobody tells it what it is.
const unsaid = "application/x-www-form-urlencoded"

// contentTypeOf returns what a body is said to be; empty when nothing is said.
func contentTypeOf(r io.Reader) string {
	body, ok := r.(*typedBody)
	if !ok || body.contentType == unsaid {
		return ""
	}
	return body.contentType
}

// incomingHeader says which headers go on to the services: the credential, which the runtime passes by itself,
// and the trace context.
func incomingHeader(name string) (string, bool) {
	switch textproto.CanonicalMIMEHeaderKey(name) {
	case "Traceparent":
		return "traceparent", true
	case "Tracestate":
		return "tracestate", true
	}
	return "", false
}

// accepted answers 202 to published events: they are stored, and delivered later. What was only checked, or refused one by
// one, is not stored: it has no sequence.
func accepted(_ context.Context, w http.ResponseWriter, message proto.Message) error {
	stored := false
	switch m := message.(type) {
	case *ingestv1.PublishEventResponse:
		stored = m.GetSequence() > 0
	case *ingestv1.PublishEventsResponse:
		stored = slices.ContainsFunc(m.GetResults(), func(r *ingestv1.PublishEventsResponse_Result) bool {
			return r.GetEvent().GetSequence() > 0
		})
	}
	if stored {
		w.WriteHeader(http.StatusAccepted)
	}
	return nil
}

// marshaler reads and writes the JSON of messages, and takes the body of a published event as it is.
type marshaler struct{ runtime.JSONPb }

func newMarshaler() *marshaler {
	return &marshaler{runtime.JSONPb{
		MarshalOptions: protojson.MarshalOptions{EmitUnpopulated: false},
		// A misspelled field is an error, not a setting that silently does nothing.
		UnmarshalOptions: protojson.UnmarshalOptions{DiscardUnknown: false},
	}}
}

// NewDecoder implements runtime.Marshaler.
func (m *marshaler) NewDecoder(r io.Reader) runtime.Decoder {
	messages := m.JSONPb.NewDecoder(r)
	return runtime.DecoderFunc(func(v any) error {
		body, ok := v.(**httpbody.HttpBody)
		if !ok {
			return readable(messages.Decode(v))
		}
		data, err := io.ReadAll(r)
		if err != nil {
			return readable(err)
		}
		*body = &httpbody.HttpBody{ContentType: contentTypeOf(r), Data: data}
		return nil
	})
}

// readable says in words what was too large.
func readable(err error) error {
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return fmt.Errorf("the body must be at most %d bytes", tooLarge.Limit)
	}
	return err
}
