package operations

import (
	"cmp"
	"context"
	"path"
	"slices"
	"sync"

	"github.com/google/uuid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/meetwire/meetwire/pkg/aip"
	operationv1 "github.com/meetwire/meetwire/proto/gen/meetwire/operation/v1"
)

// ListOperations implements operationv1.OperationServiceClient. The services list alike, so that a place in the merged
// list is a place in each of theirs, and one token serves them all.
func (c *Client) ListOperations(ctx context.Context, req *operationv1.ListOperationsRequest, _ ...grpc.CallOption) (*operationv1.ListOperationsResponse, error) {
	merged, more, err := c.merge(ctx, req)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(merged, newestFirst)
	if size := aip.PageSize(req.GetPageSize()); len(merged) > size {
		merged, more = merged[:size], true
	}
	answer := &operationv1.ListOperationsResponse{Operations: merged}
	if !more || len(merged) == 0 {
		return answer, nil
	}
	last := merged[len(merged)-1]
	id, err := uuid.Parse(path.Base(last.GetName()))
	if err != nil {
		return nil, unexpected("read the name of an operation", err)
	}
	if answer.NextPageToken, err = aip.EncodeToken(req, aip.Newest{Time: last.GetCreateTime().AsTime(), ID: id}); err != nil {
		return nil, unexpected("make a page token", err)
	}
	return answer, nil
}

// merge returns the page of every service together, and whether one of them has more. All of them must answer: a list in
// which something is missing must not look like a whole one. The organization is not there when nobody has anything of
// it, and one says so.
func (c *Client) merge(ctx context.Context, req *operationv1.ListOperationsRequest) (merged []*operationv1.Operation, more bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	answers := make([]answer[*operationv1.ListOperationsResponse], len(c.services))
	var asking sync.WaitGroup
	for i, service := range c.services {
		asking.Go(func() { answers[i].value, answers[i].err = service.ListOperations(ctx, req) })
	}
	asking.Wait()
	var missing, failed error
	for _, a := range answers {
		switch status.Code(a.err) {
		case codes.OK:
			merged = append(merged, a.value.GetOperations()...)
			more = more || a.value.GetNextPageToken() != ""
		case codes.Unimplemented: // it has no operations
		case codes.NotFound:
			missing = a.err
		case codes.InvalidArgument:
			return nil, false, told(a.err)
		default:
			failed = worse(failed, a.err)
		}
	}
	if failed != nil {
		return nil, false, told(failed)
	}
	if len(merged) == 0 && missing != nil {
		return nil, false, told(missing)
	}
	return merged, more, nil
}

// newestFirst is the order of the lists of all services.
func newestFirst(a, b *operationv1.Operation) int {
	return cmp.Or(
		b.GetCreateTime().AsTime().Compare(a.GetCreateTime().AsTime()),
		cmp.Compare(path.Base(b.GetName()), path.Base(a.GetName())),
	)
}
