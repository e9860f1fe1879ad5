//go:build !unix

package localpg

import (
	"context"
	"errors"

	"github.com/meetwire/meetwire/pkg/secret"
)

// Server is a running Postgres server, of which there is none on this system.
type Server struct{}

// Start fails: a private server needs a Unix system. Use a Postgres of your own.
func Start(context.Context, Options) (*Server, error) {
	return nil, errors.New("a private Postgres server needs a Unix system; use a Postgres of your own")
}

// URL is empty.
func (*Server) URL() secret.String { return secret.String{} }

// Port is 0.
func (*Server) Port() int { return 0 }

// Options are empty.
func (*Server) Options() Options { return Options{} }

// PID is 0.
func (*Server) PID() int { return 0 }

// Done is nil.
func (*Server) Done() <-chan struct{} { return nil }

// Err is nil.
func (*Server) Err() error { return nil }

// Stop does nothing.
func (*Server) Stop(context.Context) error { return nil }
