package operation

import (
	"time"

	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/rpc"
	operationv1 "github.com/meetwire/meetwire/proto/gen/meetwire/operation/v1"
)

// Message returns an operation as the API shows it.
func Message(o Operation) *operationv1.Operation {
	message := &operationv1.Operation{
		Name: o.Name(), Type: o.Type, Target: o.Target, State: stateMessage(o.State), Done: o.Done(),
		TotalCount: o.Total, ProcessedCount: o.Processed, AffectedCount: o.Affected, SkippedCount: o.Skipped,
		RepeatCount: o.Repeat, DryRun: o.DryRun, Rate: o.Rate,
		CreateTime: timestamppb.New(o.CreateTime), UpdateTime: timestamppb.New(o.UpdateTime), EndTime: timestamp(o.EndTime),
	}
	if o.ErrorReason != "" {
		message.Error = errorMessage(o)
	}
	return message
}

// errorMessage is the error of an operation in the form that errors of calls have.
func errorMessage(o Operation) *spb.Status {
	kind := fault.Unavailable // it is tried again
	if o.State == Failed {
		kind = fault.FailedPrecondition
	}
	return rpc.Status(fault.New(kind, o.ErrorReason, "%s", o.ErrorMessage)).Proto()
}

// timestamp is unset for the zero time.
func timestamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func stateMessage(state State) operationv1.Operation_State {
	switch state {
	case Running:
		return operationv1.Operation_STATE_RUNNING
	case Succeeded:
		return operationv1.Operation_STATE_SUCCEEDED
	case Failed:
		return operationv1.Operation_STATE_FAILED
	case Canceled:
		return operationv1.Operation_STATE_CANCELED
	default:
		return operationv1.Operation_STATE_UNSPECIFIED
	}
}
