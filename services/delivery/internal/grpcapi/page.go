package grpcapi

import (
	"google.golang.org/protobuf/proto"

	"github.com/meetwire/meetwire/pkg/aip"
)

// listing is a request for a page.
type listing interface {
	proto.Message
	GetPageSize() int32
	GetPageToken() string
}

// cursor returns where the page begins that is asked for: at the first place, unless there was a page before.
func cursor[C any](request listing, first C) (C, error) {
	if request.GetPageToken() == "" {
		return first, nil
	}
	err := aip.DecodeToken(request, request.GetPageToken(), &first)
	return first, err
}

// readPage reads the page that is asked for, and makes the token of the next one; empty: there is none.
func readPage[C, M any](request listing, first C, read func(after C, size int) ([]M, C, error)) (page []M, next string, err error) {
	after, err := cursor(request, first)
	if err != nil {
		return nil, "", err
	}
	size := aip.PageSize(request.GetPageSize())
	page, end, err := read(after, size)
	if err == nil && len(page) == size {
		next, err = aip.EncodeToken(request, end)
	}
	return page, next, err
}
