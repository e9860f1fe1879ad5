package grpcapi

import (
	"strings"
	"time"

	"github.com/google/uuid"
	"google.golang.org/protobuf/proto"

	"github.com/meetwire/meetwire/pkg/aip"
	"github.com/meetwire/meetwire/pkg/fault"
	"github.com/meetwire/meetwire/services/subscription/internal/core"
)

// listRequest is what all requests of lists have in common.
type listRequest interface {
	proto.Message
	GetPageSize() int32
	GetPageToken() string
}

// cursor is the place in a list after which a page begins; its zero value is the beginning. It comes back from
// outside, so it is checked before it reaches the database.
type cursor interface {
	valid() bool
}

// pageBytes is how much a page has at most of what can be large, so that it fits into a message.
const pageBytes = 2 << 20

// list returns one page and the token of the next one. load reads at most limit values after a place, and place
// says where a value is.
func list[C cursor, V any](req listRequest, load func(after C, limit int) ([]V, error), place func(V) C) ([]V, string, error) {
	return listWithin(req, load, place, func(V) int { return 0 })
}

// listWithin is list for values of which some are large: a page that has enough bytes ends early.
func listWithin[C cursor, V any](req listRequest, load func(after C, limit int) ([]V, error), place func(V) C, bytes func(V) int) ([]V, string, error) {
	var after C
	if token := req.GetPageToken(); token != "" {
		if err := aip.DecodeToken(req, token, &after); err != nil {
			return nil, "", err
		}
		if !after.valid() {
			return nil, "", fault.Invalid(fault.Field{
				Path: "page_token", Rule: "format", Message: "must be the next_page_token of the page before",
			})
		}
	}
	size := aip.PageSize(req.GetPageSize())
	values, err := load(after, size+1)
	if err != nil {
		return nil, "", err
	}
	total := 0
	for i, value := range values[:min(size, len(values))] {
		if total += bytes(value); total >= pageBytes {
			size = i + 1
			break
		}
	}
	if len(values) <= size {
		return values, "", nil
	}
	values = values[:size]
	token, err := aip.EncodeToken(req, place(values[size-1]))
	if err != nil {
		return nil, "", err
	}
	return values, token, nil
}

// slugCursor is a place in a list that is ordered by slug.
type slugCursor struct {
	Slug string `json:"slug"`
}

func (c slugCursor) valid() bool { return core.IsSlug(c.Slug) }

// apiKeyCursor is a place in a list of API keys that is ordered by age.
type apiKeyCursor struct {
	Time time.Time `json:"time"`
	ID   string    `json:"id"`
}

func (c apiKeyCursor) valid() bool { return !c.Time.IsZero() && !strings.Contains(c.ID, "\x00") }

// newestCursor is a place in a list that begins with the newest. Its zero value is the beginning.
type newestCursor struct {
	Time time.Time `json:"time"`
	ID   uuid.UUID `json:"id"`
}

func (c newestCursor) valid() bool { return !c.Time.IsZero() }

// time is later than everything that is stored at the beginning.
func (c newestCursor) time() time.Time {
	if c.Time.IsZero() {
		return time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC)
	}
	return c.Time
}

func (c newestCursor) id() uuid.UUID {
	if c.Time.IsZero() {
		return uuid.Max
	}
	return c.ID
}
