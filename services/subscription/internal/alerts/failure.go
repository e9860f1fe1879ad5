package alerts

import "github.com/meetwire/meetwire/pkg/fault"

// permanent reports whether an error says that an e-mail cannot be sent as it is, however often it is tried.
func permanent(err error) bool {
	return fault.Is(err, fault.InvalidArgument) || fault.Is(err, fault.FailedPrecondition)
}

// reason names a failure without its text.
func reason(err error) string { return fault.From(err).Reason }
