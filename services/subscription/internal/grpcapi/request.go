package grpcapi

import (
	"crypto/sha256"
	"fmt"

	"google.golang.org/protobuf/proto"

	"github.com/meetwire/meetwire/pkg/fault"
	subscriptionv1 "github.com/meetwire/meetwire/proto/gen/meetwire/subscription/v1"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
)

// requestIDField is the field of a request that carries its id.
const requestIDField = "request_id"

// requestOf returns what a call of a method of the API that makes something is recognized by when it is repeated.
func requestOf(method string, req proto.Message) (core.Request, error) {
	message := proto.Clone(req).ProtoReflect()
	field := message.Descriptor().Fields().ByName(requestIDField)
	if field == nil || message.Get(field).String() == "" {
		return core.Request{}, nil
	}
	request := core.Request{ID: message.Get(field).String(), Method: method}
	message.Clear(field)
	withoutSecrets(message.Interface())
	text, err := proto.MarshalOptions{Deterministic: true}.Marshal(message.Interface())
	if err != nil {
		return core.Request{}, fmt.Errorf("encode a request: %w", err)
	}
	request.Fingerprint = sha256.Sum256(text)
	return request, nil
}

// withoutSecrets removes from a request what is only stored encrypted: what it is recognized by must tell nothing of it.
func withoutSecrets(req proto.Message) {
	create, ok := req.(*subscriptionv1.CreateWebhookRequest)
	if !ok || create.GetWebhook() == nil {
		return
	}
	w := create.GetWebhook()
	w.Secret = ""
	for _, h := range w.GetHeaders() {
		h.Value = ""
	}
}

// invalidTime is the fault of a time that is none.
func invalidTime(path string) error {
	return fault.Invalid(fault.Field{Path: path, Rule: "format", Message: "must be a time from the year 1 to 9999"})
}
