package operations_test

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/meetwire/meetwire/pkg/aip"
	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/pkg/rpc"
	operationv1 "github.com/meetwire/meetwire/proto/gen/meetwire/operation/v1"
	"github.com/meetwire/meetwire/services/gateway/internal/operations"
)

func TestWhoeverKnowsAnOperationAnswers(t *testing.T) {
	t.Parallel()
	services := []*service{{}, {}, {}}
	var conns []grpc.ClientConnInterface
	for i, s := range services {
		s.operations = []*operationv1.Operation{operation(i)}
		conns = append(conns, serve(t, s))
	}
	c := operations.New(conns...)
	defer c.Close()
	ctx, cancel := context.WithCancel(metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer mwk_x"))
	defer cancel()
	for way, do := range ways(c) {
		for _, s := range services {
			o, err := do(ctx, s.operations[0].GetName())
			require.NoError(t, err, way)
			require.True(t, proto.Equal(s.operations[0], o), way)
		}
		_, err := do(ctx, operation(1).GetName())
		requireStatus(t, err, codes.NotFound, "OPERATION_NOT_FOUND")
	}
	for _, s := range services {
		s.mu.Lock()
		require.NotEmpty(t, s.credential)
		require.Equal(t, []string{"Bearer mwk_x"}, slices.Compact(s.credential), "everybody is shown the caller's credential")
		s.mu.Unlock()
	}
	services[1].operations[0].Done = true
	_, err := c.CancelOperation(ctx, &operationv1.CancelOperationRequest{Name: services[1].operations[0].GetName()})
	requireStatus(t, err, codes.FailedPrecondition, "OPERATION_ENDED")
}

func TestWithoutOneOfTheServices(t *testing.T) {
	t.Parallel()
	known := operation(0)
	s := &service{operations: []*operationv1.Operation{known}}
	away, address := nobody(t)
	for name, other := range map[string]struct {
		conn   grpc.ClientConnInterface
		code   codes.Code
		reason string
	}{
		"away":              {away, codes.Unavailable, "UNAVAILABLE"},
		"has no operations": {serve(t, nil), codes.NotFound, "OPERATION_NOT_FOUND"},
		"refuses":           {serve(t, &service{refusal: rpc.Status(fault.New(fault.PermissionDenied, "NO", "no")).Err()}), codes.PermissionDenied, "NO"},
		"its database is away": {
			serve(t, &service{refusal: rpc.Status(fault.New(fault.Unavailable, "DATABASE_UNAVAILABLE", "later")).Err()}),
			codes.Unavailable, "DATABASE_UNAVAILABLE",
		},
		"is broken": {serve(t, &service{refusal: status.Error(codes.Internal, "SELECT 127.0.0.1")}), codes.Internal, "INTERNAL"},
	} {
		c := operations.New(serve(t, s), other.conn)
		defer c.Close()
		ctx, cancel := context.WithCancel(t.Context())
		for way, do := range ways(c) {
			o, err := do(ctx, known.GetName())
			require.NoError(t, err, "%s, %s", name, way)
			require.True(t, proto.Equal(known, o))
			_, err = do(ctx, operation(0).GetName())
			requireStatus(t, err, other.code, other.reason)
			require.NotContains(t, err.Error(), address)
		}
		cancel()
		list, err := c.ListOperations(t.Context(), &operationv1.ListOperationsRequest{Parent: "organizations/acme"})
		if other.code == codes.NotFound {
			require.NoError(t, err)
			require.Len(t, list.GetOperations(), 1)
			continue
		}
		requireStatus(t, err, other.code, other.reason)
	}
}

func TestNobodyHasOperations(t *testing.T) {
	t.Parallel()
	c := operations.New(serve(t, nil), serve(t, nil))
	defer c.Close()
	_, err := c.GetOperation(t.Context(), &operationv1.GetOperationRequest{Name: operation(0).GetName()})
	requireStatus(t, err, codes.NotFound, "OPERATION_NOT_FOUND")
	list, err := c.ListOperations(t.Context(), &operationv1.ListOperationsRequest{Parent: "organizations/acme"})
	require.NoError(t, err)
	require.Empty(t, list.GetOperations())
}

func TestListsAreMerged(t *testing.T) {
	t.Parallel()
	services := []*service{{}, {}, {}}
	var conns []grpc.ClientConnInterface
	var want []string
	for i := range 40 {
		o := operation(i / 3) // some began at the same time
		s := services[(i*i)%len(services)]
		s.operations = append(s.operations, o)
		want = append(want, key(o))
	}
	slices.Sort(want)
	slices.Reverse(want)
	for _, s := range services {
		slices.SortFunc(s.operations, func(a, b *operationv1.Operation) int { return strings.Compare(key(b), key(a)) })
		conns = append(conns, serve(t, s))
	}
	c := operations.New(conns...)
	defer c.Close()
	for _, size := range []int32{1, 3, 7, 40, 41, 0} {
		req := &operationv1.ListOperationsRequest{Parent: "organizations/acme", PageSize: size}
		var got []string
		for {
			page, err := c.ListOperations(t.Context(), req)
			require.NoError(t, err)
			require.LessOrEqual(t, len(page.GetOperations()), aip.PageSize(size))
			for _, o := range page.GetOperations() {
				got = append(got, key(o))
			}
			if page.GetNextPageToken() == "" {
				break
			}
			require.Len(t, page.GetOperations(), int(size))
			req.PageToken = page.GetNextPageToken()
		}
		require.Equal(t, want, got, "in pages of %d", size)
	}
}

// key orders operations by time and id.
func key(o *operationv1.Operation) string {
	return fmt.Sprintf("%s %s", o.GetCreateTime().AsTime().Format(time.RFC3339Nano), o.GetName()[len(o.GetName())-36:])
}

func TestTamperedTokensAreRefused(t *testing.T) {
	t.Parallel()
	s := &service{operations: []*operationv1.Operation{operation(2), operation(1), operation(0)}}
	c := operations.New(serve(t, s), serve(t, &service{}))
	defer c.Close()
	req := &operationv1.ListOperationsRequest{Parent: "organizations/acme", PageSize: 1}
	page, err := c.ListOperations(t.Context(), req)
	require.NoError(t, err)
	for _, token := range []string{"x", page.GetNextPageToken() + "A", strings.ToLower(page.GetNextPageToken()), strings.Repeat("A", 10_000)} {
		req.PageToken = token
		_, err = c.ListOperations(t.Context(), req)
		requireStatus(t, err, codes.InvalidArgument, "INVALID_FIELD")
		require.ErrorContains(t, err, "page_token")
	}
	req.PageToken, req.Parent = page.GetNextPageToken(), "organizations/beta"
	_, err = c.ListOperations(t.Context(), req)
	requireStatus(t, err, codes.InvalidArgument, "INVALID_FIELD")
}

// An organization that nobody has anything of is not there when one service says so.
func TestListOfAnOrganizationThatIsNotThere(t *testing.T) {
	t.Parallel()
	missing := &service{refusal: rpc.Status(fault.New(fault.NotFound, "ORGANIZATION_NOT_FOUND", "it does not exist")).Err()}
	other := &service{}
	c := operations.New(serve(t, missing), serve(t, other))
	defer c.Close()
	req := &operationv1.ListOperationsRequest{Parent: "organizations/acme"}
	_, err := c.ListOperations(t.Context(), req)
	requireStatus(t, err, codes.NotFound, "ORGANIZATION_NOT_FOUND")
	other.mu.Lock()
	other.operations = []*operationv1.Operation{operation(0)}
	other.mu.Unlock()
	page, err := c.ListOperations(t.Context(), req)
	require.NoError(t, err)
	require.Len(t, page.GetOperations(), 1, "what is left of it is still shown")
}

func TestWatchersHearEverything(t *testing.T) {
	t.Parallel()
	known := operation(0)
	s := &service{operations: []*operationv1.Operation{known}, changes: make(chan *operationv1.Operation)}
	c := operations.New(serve(t, &service{}), serve(t, s), serve(t, nil))
	defer c.Close()
	stream, err := c.WatchOperation(t.Context(), &operationv1.WatchOperationRequest{Name: known.GetName()})
	require.NoError(t, err)
	for n := range int64(3) {
		if n > 0 {
			next := operation(0)
			next.ProcessedCount = n
			s.changes <- next
		}
		o, err := stream.Recv()
		require.NoError(t, err)
		require.Equal(t, n, o.GetProcessedCount())
	}
	close(s.changes)
	_, err = stream.Recv()
	require.ErrorIs(t, err, io.EOF)
	s.watchers.Wait()
}

func TestWatchingEnds(t *testing.T) {
	t.Parallel()
	known := operation(0)
	for name, end := range map[string]func(c *operations.Client, leave context.CancelFunc){
		"the gateway stops": func(c *operations.Client, _ context.CancelFunc) { c.Close() },
		"the caller goes":   func(_ *operations.Client, leave context.CancelFunc) { leave() },
	} {
		s := &service{operations: []*operationv1.Operation{known}, changes: make(chan *operationv1.Operation)}
		c := operations.New(serve(t, s), serve(t, &service{}))
		defer c.Close()
		ctx, leave := context.WithCancel(t.Context())
		defer leave()
		stream, err := c.WatchOperation(ctx, &operationv1.WatchOperationRequest{Name: known.GetName()})
		require.NoError(t, err)
		_, err = stream.Recv()
		require.NoError(t, err)
		received := make(chan error, 1)
		go func() {
			_, err := stream.Recv()
			received <- err
		}()
		end(c, leave)
		select {
		case err = <-received:
		case <-time.After(patience):
			require.Fail(t, "the stream does not end", name)
		}
		if name == "the gateway stops" {
			requireStatus(t, err, codes.Unavailable, "STOPPING")
		} else {
			require.Error(t, err)
		}
		s.watchers.Wait() // the service hears of it
	}
	c := operations.New(serve(t, &service{operations: []*operationv1.Operation{known}}))
	c.Close()
	_, err := c.WatchOperation(t.Context(), &operationv1.WatchOperationRequest{Name: known.GetName()})
	requireStatus(t, err, codes.Unavailable, "STOPPING")
}
