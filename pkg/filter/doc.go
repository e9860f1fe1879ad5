// Package filter owns the filters of webhooks: CEL expressions over one variable, event, that say whether a
// webhook wants an event. It compiles and checks them when a webhook is saved, and evaluates them when an event is
// matched, always within a bounded amount of work. It knows neither webhooks nor triggers.
//
// # The language
//
// event is the CloudEvents document as a map: event.type, event.source, event.subject, event.data.duration,
// event["some-key"]. The standard functions and macros of CEL (https://cel.dev) are there, and no others. An
// expression must have the type bool; what comes from the event has no type before it is compared, so a filter
// `event.data.live` is refused and `event.data.live == true` is not.
//
// Of the numbers in an event, those without fraction and exponent that fit 64 bits are int, all others double; one
// beyond the range of a double is infinite. Comparisons and equality between int, uint and double go by the value
// (30 == 30.0, 1 < 1.5), but arithmetic wants two of the same type: double(event.data.price) * 1.2. A field that is
// missing is an error unless has(event.data.price) is asked first; && and || pass over an error on one side when the
// other side decides. Maps are walked in the order of their keys.
//
// # Limits
//
// A filter has at most MaxSourceBytes, at most MaxMacros of the macros all, exists, exists_one, map and filter, none
// of them inside another, at most MaxDepth levels, and no messages of Protocol Buffers. The pattern of matches() is a
// literal of at most MaxPatternSize instructions.
//
// Package cel parses and checks filters and provides the functions. They are evaluated here, not by its interpreter:
// that one charges for a comparison of lists as if their elements were numbers, charges after the work was done,
// and looks at a deadline between iterations only, so an expression of 1 KiB can keep it busy for minutes. Here every
// step pays before it is done: a visited value one unit, a string by its length, a comparison for everything that
// it compares. An evaluation that needs more than Budget ends with ErrBudget. As that does not depend on the clock, an
// event matches the same filters on a busy machine as on an idle one. Timeout is only a fuse behind it.
package filter
