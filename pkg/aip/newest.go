package aip

import (
	"time"

	"github.com/google/uuid"
)

// lastYear is the last one that a time of the API may be in.
const lastYear = 9999

// Newest is the cursor of a list that begins with the newest, of those that began at the same time with the greatest id.
// Lists of several services that have it can be merged: one token serves all of them.
type Newest struct {
	Time time.Time `json:"time"`
	ID   uuid.UUID `json:"id"`
}

// NewestFirst is the beginning of a list: later than everything that is stored.
func NewestFirst() Newest {
	return Newest{Time: time.Date(lastYear, 12, 31, 0, 0, 0, 0, time.UTC), ID: uuid.Max}
}

// Valid reports whether the cursor, which has come back from outside, is a place in a list.
func (c Newest) Valid() bool {
	return !c.Time.IsZero() && c.Time.Year() >= 1 && c.Time.Year() <= lastYear
}
