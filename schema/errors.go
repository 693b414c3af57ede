package schema

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"

	"github.com/lib/pq"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"imcd/engine/store"
)

// Errors of Open and of a Store's methods, to be tested with errors.Is.
var (
	// ErrUnavailable: the database cannot be reached, did not answer in time,
	// is shutting down, read only, full or too busy. The same call may succeed
	// later.
	ErrUnavailable = store.ErrUnavailable
	// ErrUncertain: an ErrUnavailable after which the changes may have been made, or not.
	ErrUncertain = store.ErrUncertain
	// ErrDeposed: another imcd has taken over from this engine.
	ErrDeposed = store.ErrDeposed
	// ErrInvalid: the database, or a check before it, refuses the data: not
	// UTF-8, too long, against a constraint. The same call fails again.
	ErrInvalid = store.ErrInvalid
	// ErrUnfit: imcd cannot work with the database as it is; the error says what has
	// to be changed.
	ErrUnfit = errors.New("imcd cannot work with this database")
	// ErrNewer: a newer imcd has changed the tables; this one must not run.
	ErrNewer = errors.New("the database was made by a newer imcd")
)

// wrap adds to err which work has failed, and the error of this package that err is.
func wrap(ctx context.Context, doing string, err error) error {
	if err == nil {
		return nil
	}
	// A driver reports the end of its context in its own words.
	if ctxErr := ctx.Err(); ctxErr != nil && !errors.Is(err, ctxErr) {
		err = fmt.Errorf("%w: %w", ctxErr, err)
	}
	if errors.Is(err, ErrUnavailable) || errors.Is(err, ErrInvalid) || errors.Is(err, ErrHeld) {
		return fmt.Errorf("%s: %w", doing, err)
	}
	if kind := classify(err); kind != nil {
		return fmt.Errorf("%s: %w: %w", doing, kind, err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// classify is the one place that knows the drivers' errors. It returns
// ErrUnavailable, ErrInvalid or nil.
func classify(err error) error {
	if errors.Is(err, context.Canceled) {
		return nil // the caller gave up; nothing is known of the database
	}
	var pqErr *pq.Error
	if errors.As(err, &pqErr) {
		return classifyPostgres(string(pqErr.Code))
	}
	var liteErr *sqlite.Error
	if errors.As(err, &liteErr) {
		return classifySQLite(liteErr.Code())
	}
	var netErr net.Error
	var opErr *net.OpError
	switch {
	case errors.As(err, &netErr), errors.As(err, &opErr),
		errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded),
		errors.Is(err, driver.ErrBadConn), errors.Is(err, sql.ErrConnDone),
		errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, net.ErrClosed),
		errors.Is(err, pq.ErrSSLNotSupported):
		return ErrUnavailable
	}
	return nil
}

func classifyPostgres(code string) error {
	class := code[:min(len(code), 2)]
	switch {
	case slices.Contains([]string{"21", "22", "23", "44", "54"}, class), // bad data, constraint, view, limit
		code == "P0001": // a trigger raised it
		return ErrInvalid
	case code == "25P03": // the server ended what was too slow
		return ErrUnavailable
	case strings.HasPrefix(code, "08"), // connection
		strings.HasPrefix(code, "28"), strings.HasPrefix(code, "3D"), // not let in, no such database
		strings.HasPrefix(code, "53"), strings.HasPrefix(code, "57"), strings.HasPrefix(code, "58"), // full, stopping, I/O
		strings.HasPrefix(code, "40"), code == "55P03", // try again
		code == codeReadOnly:
		return ErrUnavailable
	}
	return nil
}

// undecided reports whether err, of a statement that commits or of COMMIT, leaves open
// whether it was done. An error that the database itself has sent does not: it has rolled
// back then.
func undecided(err error) bool {
	if pqErr, ok := errors.AsType[*pq.Error](err); ok {
		return pqErr.Fatal()
	}
	if liteErr, ok := errors.AsType[*sqlite.Error](err); ok {
		return liteErr.Code()&0xff == sqlite3.SQLITE_IOERR
	}
	return err != nil && !errors.Is(err, pq.ErrInFailedTransaction)
}

// uncertain makes err an ErrUncertain.
func uncertain(err error) error {
	if errors.Is(err, ErrUncertain) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrUncertain, err)
}

// isFenceError tells how sqlFenced fails.
func isFenceError(err error) bool {
	pqErr, ok := errors.AsType[*pq.Error](err)
	return ok && pqErr.Code == "22P02"
}

// isDivision tells a division by zero, by which sqlQuick refuses.
func isDivision(err error) bool {
	pqErr, ok := errors.AsType[*pq.Error](err)
	return ok && pqErr.Code == "22012"
}

// statementLost knows invalid_sql_statement_name, duplicate_prepared_statement and,
// for another's parameters, protocol_violation. The server has executed nothing then. A
// pooler sends the last one also when it has lost the server: that may have executed it.
func statementLost(err error) bool {
	pqErr, ok := errors.AsType[*pq.Error](err)
	return ok && (pqErr.Code == "26000" || pqErr.Code == "42P05" || pqErr.Code == "08P01" && !pqErr.Fatal())
}

// connectionLost reports whether err only means that an idle connection was lost: the
// server has closed it, it is gone, or its server has become a standby.
func connectionLost(err error) bool {
	if pqErr, ok := errors.AsType[*pq.Error](err); ok {
		return pqErr.Code == "57P01" || pqErr.Code == "57P02" || isReadOnly(err)
	}
	return errors.Is(err, driver.ErrBadConn) || isReadOnly(err)
}

// isLost reports whether err shows that the server of a connection is gone, or takes no
// changes any more. over: the context of the call was over.
func isLost(err error, over bool) bool {
	if _, ok := errors.AsType[*pq.Error](err); ok || err == nil {
		return isReadOnly(err)
	}
	return !over && errors.Is(err, driver.ErrBadConn) || isNetwork(err) || isReadOnly(err)
}

func isNetwork(err error) bool {
	_, network := errors.AsType[net.Error](err)
	return network || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed)
}

// isTimeout tells a server that does not answer from one that refuses.
func isTimeout(err error) bool {
	netErr, ok := errors.AsType[net.Error](err)
	return ok && netErr.Timeout()
}

// errReadOnly: the server takes no changes, at least not from this session.
var errReadOnly = fmt.Errorf("%w: the server is read only", ErrUnavailable)

// codeReadOnly is read_only_sql_transaction.
const codeReadOnly = "25006"

func isReadOnly(err error) bool {
	pqErr, ok := errors.AsType[*pq.Error](err)
	return ok && pqErr.Code == codeReadOnly || errors.Is(err, errReadOnly)
}

func classifySQLite(code int) error {
	switch code & 0xff { // the rest is detail
	case sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_MISMATCH:
		return ErrInvalid
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR,
		sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB,
		sqlite3.SQLITE_INTERRUPT, sqlite3.SQLITE_PERM, sqlite3.SQLITE_NOMEM:
		return ErrUnavailable
	}
	return nil
}
