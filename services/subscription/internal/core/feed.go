package core

import "errors"

// ErrGap says that the change feed does not reach back to the revision that was asked for.
var ErrGap = errors.New("the feed does not reach back that far")
