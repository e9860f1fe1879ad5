package rpc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"buf.build/go/protovalidate"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/meetwire/meetwire/pkg/fault"
)

// interceptor is everything around a call. It is one step instead of a chain of them: a unary call costs one
// look-up for the rule and the metrics of its method together.
type interceptor struct {
	logger    *slog.Logger
	metrics   *serverMetrics
	gate      *gate
	within    func(context.Context) context.Context // nil: no change
	validator protovalidate.Validator
	methods   sync.Map // full method -> *method; services are registered after the server was made
}

// method is what calls of one method share.
type method struct {
	name    string
	rule    rule
	metrics methodMetrics
}

// method returns what is known of a method. Only registered methods get here, so there are not many.
func (i *interceptor) method(fullMethod string) *method {
	if known, ok := i.methods.Load(fullMethod); ok {
		return known.(*method) // nothing else is ever stored
	}
	known, _ := i.methods.LoadOrStore(fullMethod, &method{
		name: fullMethod, rule: ruleOf(fullMethod), metrics: i.metrics.of(fullMethod),
	})
	return known.(*method) // nothing else is ever stored
}

// unary is the grpc.UnaryServerInterceptor.
func (i *interceptor) unary(ctx context.Context, request any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (response any, err error) {
	c := i.begin(info.FullMethod)
	defer func() {
		if err = c.end(ctx, recover(), err); err != nil {
			response = nil
		}
	}()
	if c.method.rule.open {
		return handler(ctx, request)
	}
	c.caller, err = i.gate.admit(ctx, &c.method.rule)
	if err != nil {
		return nil, err
	}
	if err := i.check(&c, request); err != nil {
		return nil, err
	}
	return handler(c.admitted(ctx), request)
}

// stream is the grpc.StreamServerInterceptor.
func (i *interceptor) stream(server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) (err error) {
	c := i.begin(info.FullMethod)
	defer func() { err = c.end(stream.Context(), recover(), err) }()
	if c.method.rule.open {
		return handler(server, stream)
	}
	c.caller, err = i.gate.admit(stream.Context(), &c.method.rule)
	if err != nil {
		return err
	}
	checked := &checkedStream{
		ServerStream: stream,
		ctx:          c.admitted(stream.Context()),
		check:        func(message any) error { return i.check(&c, message) },
	}
	err = handler(server, checked)
	if refusal := checked.refusal.Load(); refusal != nil {
		return *refusal // whatever the handler made of it
	}
	return err
}

// check checks a message from the caller: first whether it is about the caller's organization, then whether it
// is valid.
func (i *interceptor) check(c *call, message any) error {
	request, ok := message.(proto.Message)
	if !ok {
		return fault.New(fault.Internal, "INTERNAL", "the request is a %T, not a protobuf message", message)
	}
	if err := checkOrganization(c.caller, &c.method.rule, request); err != nil {
		return err
	}
	return validate(i.validator, request)
}

// checkedStream is a stream whose every message is checked before the handler sees it.
type checkedStream struct {
	grpc.ServerStream
	ctx     context.Context // a stream is asked for its context
	check   func(message any) error
	refusal atomic.Pointer[error]
}

// Context implements grpc.ServerStream.
func (s *checkedStream) Context() context.Context { return s.ctx }

// RecvMsg implements grpc.ServerStream.
func (s *checkedStream) RecvMsg(message any) error {
	if refusal := s.refusal.Load(); refusal != nil {
		return *refusal
	}
	if err := s.ServerStream.RecvMsg(message); err != nil {
		return err
	}
	if err := s.check(message); err != nil {
		s.refusal.Store(&err)
		return err
	}
	return nil
}

// call is one call, from begin to end.
type call struct {
	*interceptor
	method *method
	began  time.Time
	caller Caller
}

func (i *interceptor) begin(fullMethod string) call {
	c := call{interceptor: i, method: i.method(fullMethod), began: time.Now()}
	c.method.metrics.inFlight.Inc()
	return c
}

// admitted returns the context in which the handler works.
func (c *call) admitted(ctx context.Context) context.Context {
	if !c.method.rule.public {
		ctx = withCaller(ctx, c.caller)
	}
	if c.within != nil {
		ctx = c.within(ctx)
	}
	return ctx
}

// end turns what came of the call into what the caller is told: a panic and every error become a status.
func (c *call) end(ctx context.Context, panicked any, err error) error {
	c.method.metrics.inFlight.Dec()
	if panicked != nil {
		err = fault.New(fault.Internal, "INTERNAL", "panic: %v", panicked)
		c.logger.ErrorContext(ctx, "call panicked", c.attributes(
			slog.String("panic", fmt.Sprint(panicked)), slog.String("stack", string(debug.Stack())))...)
	}
	if err == nil {
		c.method.metrics.observe(codes.OK, time.Since(c.began).Seconds())
		return nil
	}
	st := Status(err)
	c.method.metrics.observe(st.Code(), time.Since(c.began).Seconds())
	if panicked == nil {
		c.log(ctx, st.Code(), err)
	}
	return st.Err()
}

// log logs the errors that are ours, with what the caller is not told. The caller's own are in the metrics.
func (c *call) log(ctx context.Context, code codes.Code, err error) {
	level := slog.LevelError
	switch code {
	case codes.Internal, codes.Unknown, codes.DataLoss:
	case codes.Unavailable:
		level = slog.LevelWarn
	default:
		return
	}
	// Who has gone away does not wait for an answer, and what was interrupted has not failed.
	if ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) {
		return
	}
	c.logger.Log(ctx, level, "call failed", c.attributes(slog.String("code", snake(code)), slog.Any("error", err))...)
}

// attributes adds to attributes of a log line which call it is about.
func (c *call) attributes(more ...any) []any {
	attributes := append([]any{slog.String("method", c.method.name)}, more...)
	if c.caller.KeyID != "" {
		attributes = append(attributes, slog.String("key_id", c.caller.KeyID))
	}
	return attributes
}
