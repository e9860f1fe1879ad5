package pg

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/puddle/v2"

	"github.com/meetwire/meetwire/pkg/fault"
)

// SQLSTATEs that are told apart; see "PostgreSQL Error Codes" in the manual of Postgres.
const (
	stringDataRightTruncation = "22001"
	numericValueOutOfRange    = "22003"
	invalidDatetimeFormat     = "22007"
	datetimeFieldOverflow     = "22008"
	characterNotInRepertoire  = "22021"
	invalidTextRepresentation = "22P02"
	untranslatableCharacter   = "22P05"

	restrictViolation   = "23001"
	notNullViolation    = "23502"
	foreignKeyViolation = "23503"
	uniqueViolation     = "23505"
	checkViolation      = "23514"
	exclusionViolation  = "23P01"

	readOnlyTransaction = "25006" // the server has become a standby

	serializationFailure       = "40001"
	statementCompletionUnknown = "40003"
	deadlockDetected           = "40P01"
	lockNotAvailable           = "55P03"

	queryCanceled = "57014" // by a time limit of the server; our own cancellation is a context's error
)

// Fault says what an error of Postgres, or of the way there, means to the caller:
//
//	no row where one was expected                            NotFound            NOT_FOUND
//	unique violation                                         AlreadyExists       ALREADY_EXISTS
//	foreign key, restrict and exclusion violation            FailedPrecondition  CONSTRAINT_VIOLATED
//	check and not-null violation, a value that does not fit  InvalidArgument     INVALID_VALUE
//	serialization failure, deadlock, lock not available      Aborted             CONCURRENT_CHANGE
//	no connection, server starting, stopping or overloaded   Unavailable         DATABASE_UNAVAILABLE
//	anything else                                            Internal            DATABASE_ERROR
//
// A fault in the chain is returned as it is, and so is the end of a context. The cause stays in the chain; it
// is for logs, and the messages say nothing of it.
func Fault(err error) error {
	var already *fault.Error
	if err == nil || errors.As(err, &already) {
		return err
	}
	// Whoever hung up is told so, even when that broke a connection.
	if errors.Is(err, context.Canceled) {
		return err
	}
	// A connection attempt has a time limit of its own, and what the server says then is about us, not about
	// the caller: a password that changed, a database that is missing, too many connections.
	var connect *pgconn.ConnectError
	if errors.As(err, &connect) {
		return unavailable(err)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if errors.Is(err, pgx.ErrNoRows) {
		return fault.Wrap(fault.NotFound, "NOT_FOUND", err, "not found")
	}
	if code := sqlState(err); code != "" {
		return stateFault(code, err)
	}
	if isConnectionError(err) {
		return unavailable(err)
	}
	return internal(err)
}

func stateFault(code string, err error) error {
	switch code {
	case uniqueViolation:
		return fault.Wrap(fault.AlreadyExists, "ALREADY_EXISTS", err, "it already exists")
	case foreignKeyViolation, restrictViolation, exclusionViolation:
		return fault.Wrap(fault.FailedPrecondition, "CONSTRAINT_VIOLATED", err, "it depends on something, or something depends on it")
	case checkViolation, notNullViolation,
		stringDataRightTruncation, numericValueOutOfRange, invalidDatetimeFormat, datetimeFieldOverflow,
		characterNotInRepertoire, invalidTextRepresentation, untranslatableCharacter:
		return fault.Wrap(fault.InvalidArgument, "INVALID_VALUE", err, "a value cannot be stored")
	case serializationFailure, deadlockDetected, lockNotAvailable:
		return fault.Wrap(fault.Aborted, "CONCURRENT_CHANGE", err, "it was changed at the same time; repeat the call")
	case statementCompletionUnknown, readOnlyTransaction, queryCanceled:
		return unavailable(err)
	}
	switch {
	case strings.HasPrefix(code, "08"), // connection exceptions
		strings.HasPrefix(code, "53"),  // insufficient resources
		strings.HasPrefix(code, "57P"): // operator intervention: shutting down, starting up
		return unavailable(err)
	}
	return internal(err)
}

// isConnectionError reports whether a connection broke or could not be had.
func isConnectionError(err error) bool {
	var network net.Error
	return errors.As(err, &network) ||
		errors.Is(err, pgconn.ErrConnClosed) ||
		errors.Is(err, puddle.ErrClosedPool) ||
		errors.Is(err, net.ErrClosed) ||
		errors.Is(err, io.EOF) ||
		errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, driver.ErrBadConn)
}

func unavailable(err error) error {
	return fault.Wrap(fault.Unavailable, "DATABASE_UNAVAILABLE", err, "the database is not available")
}

func internal(err error) error {
	return fault.Wrap(fault.Internal, "DATABASE_ERROR", err, "the database refused an operation")
}

func invalidConfig(err error) error {
	return fault.Wrap(fault.InvalidArgument, "INVALID_CONFIGURATION", err, "the configuration of the database is invalid")
}

// ConstraintName returns the name of the constraint that an error of Postgres is about, or of the unique index;
// empty when there is none.
func ConstraintName(err error) string {
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) {
		return pgErr.ConstraintName
	}
	return ""
}

// sqlState returns the SQLSTATE of an error of Postgres, empty for other errors.
func sqlState(err error) string {
	var pgErr *pgconn.PgError
	if errors.As(err, &pgErr) {
		return pgErr.Code
	}
	return ""
}
