package rpc_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/rpc"
)

func TestStatusOfFaults(t *testing.T) {
	t.Parallel()
	for kind, code := range map[fault.Kind]codes.Code{
		fault.Internal: codes.Internal, fault.InvalidArgument: codes.InvalidArgument, fault.Unauthenticated: codes.Unauthenticated,
		fault.PermissionDenied: codes.PermissionDenied, fault.NotFound: codes.NotFound, fault.AlreadyExists: codes.AlreadyExists,
		fault.FailedPrecondition: codes.FailedPrecondition, fault.Aborted: codes.Aborted,
		fault.ResourceExhausted: codes.ResourceExhausted, fault.Unavailable: codes.Unavailable, 200: codes.Internal,
	} {
		f := fault.Wrap(kind, "SOME_REASON", errors.New("SELECT * FROM secrets"), "what happened")
		f.RetryAfter = 3 * time.Second
		st := rpc.Status(fmt.Errorf("do it: %w", f))
		require.Equal(t, code, st.Code())
		want := "what happened"
		if code == codes.Internal {
			want = "internal error"
		}
		require.Equal(t, want, st.Message())
		require.True(t, proto.Equal(&errdetails.ErrorInfo{Reason: "SOME_REASON", Domain: "meetwire"}, detail[*errdetails.ErrorInfo](t, st)))
		require.Equal(t, 3*time.Second, detail[*errdetails.RetryInfo](t, st).GetRetryDelay().AsDuration())
		require.NotContains(t, st.Proto().String(), "SELECT")
	}
}

func TestStatusOfFields(t *testing.T) {
	t.Parallel()
	st := rpc.Status(fault.Invalid(
		fault.Field{Path: "webhook.target_url", Rule: "max_length", Message: "at most 2,048 characters"},
		fault.Field{Path: "webhook.triggers[3]", Rule: "pattern", Message: "not a trigger"},
	))
	require.Equal(t, codes.InvalidArgument, st.Code())
	require.Equal(t, "webhook.target_url: at most 2,048 characters", st.Message())
	violations := detail[*errdetails.BadRequest](t, st).GetFieldViolations()
	require.Len(t, violations, 2)
	require.Equal(t, "webhook.target_url", violations[0].GetField())
	require.Equal(t, "at most 2,048 characters", violations[0].GetDescription())
	require.Equal(t, "max_length", violations[0].GetReason())
}

func TestStatusOfOtherErrors(t *testing.T) {
	t.Parallel()
	_, timeout := context.WithTimeout(t.Context(), 0)
	defer timeout()
	foreign := status.New(codes.NotFound, "no such thing")
	ours := rpc.Status(fault.New(fault.Unavailable, "STREAM_FULL", "the stream is full"))
	for name, test := range map[string]struct {
		err     error
		code    codes.Code
		message string
	}{
		"nil":                {nil, codes.OK, ""},
		"unknown":            {errors.New("pq: password of 10.0.0.1"), codes.Internal, "internal error"},
		"deadline":           {fmt.Errorf("query 10.0.0.1: %w", context.DeadlineExceeded), codes.DeadlineExceeded, "the deadline has passed"},
		"canceled":           {fmt.Errorf("query 10.0.0.1: %w", context.Canceled), codes.Canceled, "the call was canceled"},
		"status":             {foreign.Err(), codes.NotFound, "no such thing"},
		"wrapped status":     {fmt.Errorf("ask 10.0.0.1: %w", foreign.Err()), codes.NotFound, "no such thing"},
		"our status":         {fmt.Errorf("ask 10.0.0.1: %w", ours.Err()), codes.Unavailable, "the stream is full"},
		"lost connection":    {status.Error(codes.Unavailable, "dial tcp 10.0.0.1:1"), codes.Unavailable, "the service is not available at the moment"},
		"internal status":    {status.Error(codes.Internal, "stack"), codes.Internal, "internal error"},
		"unknown status":     {status.Error(codes.Unknown, "10.0.0.1"), codes.Internal, "internal error"},
		"data loss":          {status.Error(codes.DataLoss, "10.0.0.1"), codes.Internal, "internal error"},
		"status of no error": {okStatusError{}, codes.Internal, "internal error"},
		"fault before status": {
			fault.Wrap(fault.Aborted, "CHANGED", foreign.Err(), "somebody else changed it"), codes.Aborted, "somebody else changed it",
		},
		"fault of a deadline": {
			fault.Wrap(fault.Unavailable, "AWAY", context.DeadlineExceeded, "away"), codes.Unavailable, "away",
		},
	} {
		st := rpc.Status(test.err)
		require.Equal(t, test.code, st.Code(), name)
		require.Equal(t, test.message, st.Message(), name)
		require.NotContains(t, st.Proto().String(), "10.0.0.1", name)
	}
}

type okStatusError struct{}

func (okStatusError) Error() string              { return "no error" }
func (okStatusError) GRPCStatus() *status.Status { return nil }

// Trailers are limited to 8 KiB by some implementations, and protobuf strings are UTF-8.
func TestStatusIsSmallAndWellFormed(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("é", 4000) + "\xff"
	fields := make([]fault.Field, 1000)
	for i := range fields {
		fields[i] = fault.Field{Path: long, Rule: long, Message: long}
	}
	f := fault.Invalid(fields...)
	f.Reason = long
	st := rpc.Status(f)
	require.Less(t, proto.Size(st.Proto()), 6<<10)
	require.NotEmpty(t, detail[*errdetails.BadRequest](t, st).GetFieldViolations())
	require.NotContains(t, st.Message(), "\uFFFD", "no character is cut in two")

	st = rpc.Status(fault.New(fault.NotFound, "X", "bad \xff text"))
	require.Equal(t, "bad \uFFFD text", st.Message())
	require.Equal(t, "X", detail[*errdetails.ErrorInfo](t, st).GetReason())
}

func TestFaultRoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[ -~äß…]{0,60}`)
		f := fault.New(fault.Kind(rapid.Uint8Range(1, uint8(fault.Unavailable)).Draw(t, "kind")),
			rapid.StringMatching(`[A-Z][A-Z0-9_]{1,30}`).Draw(t, "reason"), "%s", text.Draw(t, "message"))
		f.RetryAfter = time.Duration(rapid.Int64Range(0, int64(time.Hour)).Draw(t, "retry after"))
		for range rapid.IntRange(0, 5).Draw(t, "fields") {
			f.Fields = append(f.Fields, fault.Field{Path: text.Draw(t, "path"), Rule: text.Draw(t, "rule"), Message: text.Draw(t, "text")})
		}
		require.Equal(t, f, rpc.FaultFromStatus(rpc.Status(f).Err()))
		require.Equal(t, f, rpc.FaultFromStatus(fmt.Errorf("call: %w", rpc.Status(f).Err())))
	})
}

func TestFaultFromStatusOfOthers(t *testing.T) {
	t.Parallel()
	require.NoError(t, rpc.FaultFromStatus(nil))
	plain := errors.New("plain")
	require.Equal(t, plain, rpc.FaultFromStatus(plain))
	known := fmt.Errorf("wrapped: %w", fault.New(fault.Aborted, "X", "x"))
	require.Equal(t, known, rpc.FaultFromStatus(known))
	require.ErrorIs(t, rpc.FaultFromStatus(rpc.Status(context.DeadlineExceeded).Err()), context.DeadlineExceeded)
	require.ErrorIs(t, rpc.FaultFromStatus(rpc.Status(context.Canceled).Err()), context.Canceled)

	for code, want := range map[codes.Code]struct {
		kind    fault.Kind
		reason  string
		message string
	}{
		codes.Unavailable:        {fault.Unavailable, "UNAVAILABLE", "the service is not available at the moment"},
		codes.Unimplemented:      {fault.Internal, "UNIMPLEMENTED", "dial 10.0.0.1"},
		codes.Unknown:            {fault.Internal, "UNKNOWN", "internal error"},
		codes.OutOfRange:         {fault.InvalidArgument, "OUT_OF_RANGE", "dial 10.0.0.1"},
		codes.ResourceExhausted:  {fault.ResourceExhausted, "RESOURCE_EXHAUSTED", "dial 10.0.0.1"},
		codes.FailedPrecondition: {fault.FailedPrecondition, "FAILED_PRECONDITION", "dial 10.0.0.1"},
	} {
		f := requireFault(t, status.Error(code, "dial 10.0.0.1"), want.kind, want.reason)
		require.Equal(t, want.message, f.Message)
		require.ErrorContains(t, f, "dial 10.0.0.1", "the log has the whole story")
	}

	// A fault without a reason still has one for its caller.
	requireFault(t, rpc.Status(&fault.Error{Kind: fault.NotFound}).Err(), fault.NotFound, "NOT_FOUND")
	internal := requireFault(t, rpc.Status(errors.New("x")).Err(), fault.Internal, "INTERNAL")
	require.Equal(t, "internal error", internal.Message)
}

// detail returns the detail of a type.
func detail[D any](t testing.TB, st *status.Status) D {
	t.Helper()
	for _, d := range st.Details() {
		if found, ok := d.(D); ok {
			return found
		}
	}
	require.Fail(t, "no such detail", "%T in %v", *new(D), st.Proto())
	return *new(D)
}
