package core

import (
	"net/http"
	"slices"
	"time"
)

// minFailingDeliveries is how many deliveries must be failing before a time without success means anything: one that
// the receiver cannot digest says nothing about the others.
const minFailingDeliveries = 3

// Threshold says when a webhook is to be disabled: as soon as one of its conditions, those that are not 0, holds.
type Threshold struct {
	Consecutive    int           // this many attempts in a row have failed
	WithoutSuccess time.Duration // for so long there was no success, with at least three deliveries failing
	Gone           bool          // the receiver has answered 410
}

// Level is a set of the stages of a webhook that fails, each told once.
type Level uint8

// The stages.
const (
	LevelFirst   Level = 1 << iota // a second attempt in a row has failed
	LevelHalf                      // half of the threshold is reached
	LevelDisable                   // the threshold is passed
)

// Reasons of a stage.
const (
	ReasonConsecutiveFailures = "consecutive_failures"
	ReasonWithoutSuccess      = "without_success"
	ReasonGone                = "gone"
)

// Health is how the deliveries of one generation of a webhook go. What follows from attempts depends on their order
// only, which is that of the records.
type Health struct {
	Organization        string
	Generation          int64
	ConsecutiveFailures int64
	FailingSince        time.Time // zero: the last attempt has succeeded, or there was none
	FailingDeliveries   []string  // different ones that have failed since then, at most three
	LastSuccess         time.Time
	LastFailure         time.Time
	LastStatus          int
	LastErrorClass      string
	Reached             Level
	Reported            Level
	Reason              string // of the highest level reached
}

// Outcome is what an attempt says about its webhook.
type Outcome struct {
	Organization string
	Delivery     string
	Generation   int64
	At           time.Time
	StatusCode   int
	ErrorClass   string
}

// Fold takes an attempt in. One of an earlier generation changes nothing, the first of a later one begins anew.
func (h *Health) Fold(o Outcome, t Threshold) {
	if o.Generation < h.Generation || Blameless(o.ErrorClass) {
		return
	}
	if o.Generation > h.Generation {
		*h = Health{Organization: o.Organization, Generation: o.Generation}
	}
	h.LastStatus, h.LastErrorClass = o.StatusCode, o.ErrorClass
	if o.ErrorClass == "" {
		h.LastSuccess = o.At
	} else {
		h.LastFailure = o.At
	}
	switch {
	case h.Reached&LevelDisable != 0:
		return // what led to it stays to be seen
	case o.ErrorClass == "":
		h.ConsecutiveFailures, h.FailingSince, h.FailingDeliveries = 0, time.Time{}, nil
		h.Reached, h.Reported, h.Reason = 0, 0, ""
		return
	}
	h.ConsecutiveFailures++
	if h.FailingSince.IsZero() {
		h.FailingSince = o.At
	}
	if len(h.FailingDeliveries) < minFailingDeliveries && !slices.Contains(h.FailingDeliveries, o.Delivery) {
		h.FailingDeliveries = append(h.FailingDeliveries, o.Delivery)
	}
	if t.Gone && o.StatusCode == http.StatusGone {
		h.reach(LevelDisable, ReasonGone)
		return
	}
	h.Check(t, o.At)
}

// Check notes what is reached at a time. Of several stages that are reached at once only the highest is told.
func (h *Health) Check(t Threshold, now time.Time) {
	failures, consecutive := h.ConsecutiveFailures, int64(t.Consecutive)
	counts := t.WithoutSuccess > 0 && len(h.FailingDeliveries) >= minFailingDeliveries
	failing := now.Sub(h.FailingSince)
	switch {
	case h.FailingSince.IsZero():
	case consecutive > 0 && failures >= consecutive:
		h.reach(LevelDisable, ReasonConsecutiveFailures)
	case counts && failing >= t.WithoutSuccess:
		h.reach(LevelDisable, ReasonWithoutSuccess)
	case consecutive > 0 && failures > 1 && 2*failures >= consecutive:
		h.reach(LevelHalf, ReasonConsecutiveFailures)
	case counts && failing >= t.WithoutSuccess/2:
		h.reach(LevelHalf, ReasonWithoutSuccess)
	case failures > 1:
		h.reach(LevelFirst, ReasonConsecutiveFailures)
	}
}

func (h *Health) reach(level Level, reason string) {
	if level > h.Reached {
		h.Reached |= level
		h.Reason = reason
	}
}

// Due returns the lowest stage that is reached and not yet reported, or 0.
func (h *Health) Due() Level {
	due := h.Reached &^ h.Reported
	return due & -due
}
