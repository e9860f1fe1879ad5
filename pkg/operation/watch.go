package operation

import (
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/meetwire/meetwire/pkg/fault"
	operationv1 "github.com/meetwire/meetwire/proto/gen/meetwire/operation/v1"
)

// watchPeriod is how often it is looked whether an operation that is watched has changed.
const watchPeriod = 500 * time.Millisecond

// WatchOperation implements OperationService.
func (s *Service) WatchOperation(req *operationv1.WatchOperationRequest, stream grpc.ServerStreamingServer[operationv1.Operation]) error {
	organization, id, err := parseName(req.GetName())
	if err != nil {
		return err
	}
	ctx := stream.Context()
	ticker := time.NewTicker(watchPeriod)
	defer ticker.Stop()
	var sent *operationv1.Operation
	for {
		o, err := s.store.Operation(ctx, organization, id)
		if err != nil {
			return err
		}
		if message := Message(o); !proto.Equal(message, sent) {
			if err := stream.Send(message); err != nil {
				return err
			}
			sent = message
		}
		if o.Done() {
			return nil
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return ctx.Err()
		case <-s.closed:
			return fault.New(fault.Unavailable, "STOPPING", "this instance stops: watch again")
		}
	}
}
