package core

import "time"

// History asks for a part of what has happened in a time range, for one webhook.
type History struct {
	Organization string
	Webhook      string
	Start        time.Time // accepted at this time or later
	End          time.Time // accepted before this time
	After        uint64    // only events with a higher sequence; 0: the first part
	MaxEvents    int
}

// Progress is what came of it.
type Progress struct {
	After   uint64 // sequence of the last event that was looked at
	Events  int    // that were looked at
	Matched int    // of them, and were fanned out
	Done    bool   // there is nothing more in the time range
}

// Covers reports whether a trigger or a group of them, such as `meeting.*`, covers a trigger.
func Covers(asked, trigger string) bool { return covers(asked, trigger) }
