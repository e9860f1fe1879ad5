package rest

import (
	"net/http"
	"strings"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
	"google.golang.org/genproto/googleapis/api/annotations"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/rpc"
)

// contractPackages is what the packages of the contracts begin with.
const contractPackages = "meetwire."

// requests knows the request of every route, by the method and the path in its contract.
type requests map[string]protoreflect.MessageDescriptor

// newRequests reads the contracts that are linked into the program.
func newRequests() requests {
	all := make(requests)
	protoregistry.GlobalFiles.RangeFiles(func(file protoreflect.FileDescriptor) bool {
		if !strings.HasPrefix(string(file.Package()), contractPackages) {
			return true
		}
		for i := range file.Services().Len() {
			methods := file.Services().Get(i).Methods()
			for j := range methods.Len() {
				all.add(methods.Get(j))
			}
		}
		return true
	})
	return all
}

func (all requests) add(method protoreflect.MethodDescriptor) {
	declared, ok := proto.GetExtension(method.Options(), annotations.E_Http).(*annotations.HttpRule)
	if !ok || declared == nil {
		return
	}
	for _, rule := range append([]*annotations.HttpRule{declared}, declared.GetAdditionalBindings()...) {
		for verb, path := range map[string]string{
			http.MethodGet: rule.GetGet(), http.MethodPost: rule.GetPost(), http.MethodPut: rule.GetPut(),
			http.MethodPatch: rule.GetPatch(), http.MethodDelete: rule.GetDelete(),
		} {
			if path != "" {
				all[verb+" "+path] = method.Input()
			}
		}
	}
}

// strict refuses query parameters that a route does not have. The runtime would pass over them, but a misspelled
// filter must not return everything. Its own hook for this is a variable of the whole process.
func (all requests) strict(mux func() *runtime.ServeMux) runtime.Middleware {
	return func(next runtime.HandlerFunc) runtime.HandlerFunc {
		return func(w http.ResponseWriter, r *http.Request, path map[string]string) {
			pattern, _ := runtime.HTTPPattern(r.Context())
			request, known := all[r.Method+" "+pattern.String()]
			for name := range r.URL.Query() {
				if known && hasField(request, strings.Split(name, ".")) {
					continue
				}
				refusal := fault.Invalid(fault.Field{Path: "request", Rule: "readable", Message: clip(name) + " is not a parameter"})
				_, outbound := runtime.MarshalerForRequest(mux(), r)
				runtime.HTTPError(r.Context(), mux(), outbound, w, r, rpc.Status(refusal).Err())
				return
			}
			next(w, r, path)
		}
	}
}

// maxName is how much of a client's own words is told back, in bytes.
const maxName = 64

func clip(name string) string {
	if len(name) > maxName {
		name = name[:maxName] + "…"
	}
	return strings.ToValidUTF8(name, "\uFFFD")
}

// hasField reports whether a path of field names, as in JSON or as in the contract, leads to a field.
func hasField(message protoreflect.MessageDescriptor, path []string) bool {
	field := message.Fields().ByJSONName(path[0])
	if field == nil {
		field = message.Fields().ByTextName(path[0])
	}
	switch {
	case field == nil:
		return false
	case len(path) == 1:
		return true
	}
	return field.Message() != nil && hasField(field.Message(), path[1:])
}
