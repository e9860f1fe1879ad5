package rest

import (
	"context"
	"math"
	"net/http"
	"strconv"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/rpc"
)

// onError writes an error. Those of the services come with their details; those that are found here, in a request
// that never became a message, get theirs, and so do those of a connection, whose text would tell an address.
func onError(ctx context.Context, mux *runtime.ServeMux, m runtime.Marshaler, w http.ResponseWriter, r *http.Request, err error) {
	if st, ok := status.FromError(err); ok && len(st.Details()) == 0 {
		if st.Code() == codes.InvalidArgument {
			err = fault.Invalid(fault.Field{Path: "request", Rule: "readable", Message: st.Message()})
		}
		err = rpc.Status(rpc.FaultFromStatus(err)).Err()
	}
	if after := fault.From(rpc.FaultFromStatus(err)).RetryAfter; after > 0 {
		w.Header().Set("Retry-After", strconv.FormatInt(int64(math.Ceil(after.Seconds())), 10))
	}
	runtime.DefaultHTTPErrorHandler(ctx, mux, m, w, r, err)
}

// onRoutingError answers a request that no route takes.
func onRoutingError(ctx context.Context, mux *runtime.ServeMux, m runtime.Marshaler, w http.ResponseWriter, r *http.Request, code int) {
	f := fault.New(fault.InvalidArgument, "ROUTE_INVALID", "the request cannot be routed")
	switch code {
	case http.StatusNotFound:
		f = fault.New(fault.NotFound, "ROUTE_NOT_FOUND", "there is nothing at this path; /openapi.json lists what there is")
	case http.StatusMethodNotAllowed:
		f = fault.New(fault.InvalidArgument, "METHOD_NOT_ALLOWED", "this path does not take this method; /openapi.json lists what it takes")
	}
	err := &runtime.HTTPStatusError{HTTPStatus: code, Err: rpc.Status(f).Err()}
	runtime.DefaultHTTPErrorHandler(ctx, mux, m, w, r, err)
}

// onStreamError tells an error that ends a stream as other errors are told: nothing of the inside.
func onStreamError(_ context.Context, err error) *status.Status {
	return rpc.Status(rpc.FaultFromStatus(err))
}
