package rpc

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/meetwire/meetwire/pkg/fault"
)

// domain is the domain of every google.rpc.ErrorInfo.
const domain = "meetwire"

// Texts for what must not show its own.
const (
	textInternal    = "internal error"
	textUnavailable = "the service is not available at the moment"
	textDeadline    = "the deadline has passed"
	textCanceled    = "the call was canceled"
)

// A status travels in HTTP/2 trailers, which several gRPC implementations limit to 8 KiB.
const (
	maxMessageBytes = 1024
	maxPathBytes    = 256
	maxFieldsBytes  = 3072 // of all fields together
)

// Status returns what a caller is told of an error. A fault becomes its code with a google.rpc.ErrorInfo, a
// BadRequest with its fields and a RetryInfo; the end of a context becomes DEADLINE_EXCEEDED or CANCELED; a
// status passes without what was wrapped around it. Everything else, and whatever an internal fault or a status
// of a broken connection says, is INTERNAL or UNAVAILABLE with a fixed text.
func Status(err error) *status.Status {
	if err == nil {
		return status.New(codes.OK, "")
	}
	if f := (*fault.Error)(nil); errors.As(err, &f) {
		return faultStatus(f)
	}
	var carrier interface{ GRPCStatus() *status.Status }
	if errors.As(err, &carrier) {
		return foreignStatus(carrier.GRPCStatus())
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return status.New(codes.DeadlineExceeded, textDeadline)
	case errors.Is(err, context.Canceled):
		return status.New(codes.Canceled, textCanceled)
	}
	return faultStatus(fault.From(err))
}

func faultStatus(f *fault.Error) *status.Status {
	code := codeOf(f.Kind)
	reason, message := f.Reason, clip(f.Message, maxMessageBytes)
	if reason == "" {
		reason = strings.ToUpper(snake(code))
	}
	details := []protoadapt.MessageV1{&errdetails.ErrorInfo{Reason: clip(reason, maxPathBytes), Domain: domain}}
	if code == codes.Internal { // of an unknown kind too
		message = textInternal
	} else if len(f.Fields) > 0 {
		details = append(details, badRequest(f.Fields))
	}
	if f.RetryAfter > 0 {
		details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(f.RetryAfter)})
	}
	st := status.New(code, message)
	if detailed, err := st.WithDetails(details...); err == nil {
		return detailed
	}
	return st
}

// badRequest carries as many fields as fit, and always the first.
func badRequest(fields []fault.Field) *errdetails.BadRequest {
	detail := &errdetails.BadRequest{}
	size := 0
	for _, f := range fields {
		violation := &errdetails.BadRequest_FieldViolation{
			Field:       clip(f.Path, maxPathBytes),
			Description: clip(f.Message, maxMessageBytes),
			Reason:      clip(f.Rule, maxPathBytes),
		}
		size += len(violation.GetField()) + len(violation.GetDescription()) + len(violation.GetReason())
		if size > maxFieldsBytes && len(detail.GetFieldViolations()) > 0 {
			break
		}
		detail.FieldViolations = append(detail.FieldViolations, violation)
	}
	return detail
}

// foreignStatus returns a status that did not come from a fault of this process. One that another service of
// ours made is safe; the text of a failed connection would show an address.
func foreignStatus(st *status.Status) *status.Status {
	if errorInfo(st) != nil {
		return st
	}
	switch st.Code() {
	case codes.OK, codes.Internal, codes.Unknown, codes.DataLoss:
		return faultStatus(fault.New(fault.Internal, "INTERNAL", textInternal))
	case codes.Unavailable:
		return faultStatus(fault.New(fault.Unavailable, "UNAVAILABLE", textUnavailable))
	default:
		return st
	}
}

// FaultFromStatus is the way back, for callers of another service: a status becomes the fault it was made from,
// DEADLINE_EXCEEDED and CANCELED become errors around the context's. Faults, and errors that carry no status,
// are returned as they are.
func FaultFromStatus(err error) error {
	if f := (*fault.Error)(nil); err == nil || errors.As(err, &f) {
		return err
	}
	var carrier interface{ GRPCStatus() *status.Status }
	if !errors.As(err, &carrier) {
		return err
	}
	st := carrier.GRPCStatus()
	switch st.Code() {
	case codes.DeadlineExceeded:
		return fmt.Errorf("call another service: %w", context.DeadlineExceeded)
	case codes.Canceled:
		return fmt.Errorf("call another service: %w", context.Canceled)
	default:
	}
	kind := kindOf(st.Code())
	info := errorInfo(st)
	if info == nil {
		return fault.Wrap(kind, strings.ToUpper(snake(st.Code())), err, "%s", foreignStatus(st).Message())
	}
	f := fault.New(kind, info.GetReason(), "%s", st.Message())
	for _, detail := range st.Details() {
		switch d := detail.(type) {
		case *errdetails.BadRequest:
			for _, v := range d.GetFieldViolations() {
				f.Fields = append(f.Fields, fault.Field{Path: v.GetField(), Rule: v.GetReason(), Message: v.GetDescription()})
			}
		case *errdetails.RetryInfo:
			f.RetryAfter = d.GetRetryDelay().AsDuration()
		}
	}
	return f
}

// errorInfo returns the detail that only services of ours give a status.
func errorInfo(st *status.Status) *errdetails.ErrorInfo {
	for _, detail := range st.Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok && info.GetDomain() == domain {
			return info
		}
	}
	return nil
}

func codeOf(kind fault.Kind) codes.Code {
	switch kind {
	case fault.InvalidArgument:
		return codes.InvalidArgument
	case fault.Unauthenticated:
		return codes.Unauthenticated
	case fault.PermissionDenied:
		return codes.PermissionDenied
	case fault.NotFound:
		return codes.NotFound
	case fault.AlreadyExists:
		return codes.AlreadyExists
	case fault.FailedPrecondition:
		return codes.FailedPrecondition
	case fault.Aborted:
		return codes.Aborted
	case fault.ResourceExhausted:
		return codes.ResourceExhausted
	case fault.Unavailable:
		return codes.Unavailable
	default:
		return codes.Internal
	}
}

func kindOf(code codes.Code) fault.Kind {
	switch code {
	case codes.InvalidArgument, codes.OutOfRange:
		return fault.InvalidArgument
	case codes.Unauthenticated:
		return fault.Unauthenticated
	case codes.PermissionDenied:
		return fault.PermissionDenied
	case codes.NotFound:
		return fault.NotFound
	case codes.AlreadyExists:
		return fault.AlreadyExists
	case codes.FailedPrecondition:
		return fault.FailedPrecondition
	case codes.Aborted:
		return fault.Aborted
	case codes.ResourceExhausted:
		return fault.ResourceExhausted
	case codes.Unavailable:
		return fault.Unavailable
	default:
		return fault.Internal
	}
}

// snake returns the name of a code in lower snake_case.
func snake(code codes.Code) string {
	if code == codes.OK {
		return "ok"
	}
	var name strings.Builder
	for i, r := range code.String() {
		if i > 0 && r >= 'A' && r <= 'Z' {
			name.WriteByte('_')
		}
		name.WriteRune(r)
	}
	return strings.ToLower(name.String())
}

// clip makes a text fit for a protobuf string of at most limit bytes.
func clip(text string, limit int) string {
	if len(text) > limit {
		text = text[:limit-len("…")]
		for i := 0; i < utf8.UTFMax && len(text) > 0; i++ { // do not cut a character in two
			if r, size := utf8.DecodeLastRuneInString(text); r != utf8.RuneError || size != 1 {
				break
			}
			text = text[:len(text)-1]
		}
		text += "…"
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}
