// Package localpg owns a private Postgres server: it finds or fetches the program, makes the data folder,
// starts the server as a child of this process, and stops it. One folder has one server; what a killed process
// left behind is found and ended at the next start. It listens on 127.0.0.1 only and takes nobody without the
// password, which is made once, kept in the folder, and never put on a command line. The package knows nothing
// of what is stored, and makes no schema and no database.
package localpg

import (
	"errors"
	"io"
)

// Errors of Find and Start, for errors.Is.
var (
	// ErrNotFound: no Postgres of a version that can be used is installed.
	ErrNotFound = errors.New("no usable Postgres is installed")
	// ErrRunning: a server of this folder is running, started by a process that is still there.
	ErrRunning = errors.New("a Postgres server of this folder is already running")
	// ErrPortTaken: somebody else listens on the port that was asked for.
	ErrPortTaken = errors.New("the port is taken")
	// ErrNotOurs: the folder holds files that this package did not make.
	ErrNotOurs = errors.New("the folder is not empty and not of this program")
)

// DefaultMaxConnections is the number of client connections that a server takes unless told otherwise.
const DefaultMaxConnections = 100

// Options say which server to start.
type Options struct {
	// Dir is the folder that everything is kept in. It is made when absent and used again when present; a
	// folder with other things in it is refused. Required.
	Dir string
	// Port of 127.0.0.1 to listen on. 0: a free one.
	Port int
	// BinDir is the folder of the programs postgres and initdb. Empty: the newest that is installed, or the
	// one that fits the data in Dir.
	BinDir string
	// Download allows fetching Postgres (about 10 MB) when none that fits is installed.
	Download bool
	// CacheDir keeps what was downloaded. Empty: a folder for this program in the user's cache folder, or
	// under /var/cache for root.
	CacheDir string
	// Durable keeps every committed transaction through a crash of the machine. Without it, which is for tests,
	// the server starts and commits faster, and its data survives its own death but not that of the machine.
	Durable bool
	// Log takes the server's log; it may be written to from another goroutine until Stop has returned. Nil:
	// nowhere.
	Log io.Writer
	// MaxConnections is the number of client connections that the server takes. 0: DefaultMaxConnections.
	MaxConnections int
}

// superuser is the name of the role and of the database that initdb makes.
const superuser = "postgres"
