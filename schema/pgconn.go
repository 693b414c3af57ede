package schema

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"

	"github.com/lib/pq"
)

// fullConn is what lib/pq's connections are.
type fullConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.NamedValueChecker
	driver.Pinger
	driver.QueryerContext
	driver.SessionResetter
	driver.Validator
}

// conn bounds every call of a lib/pq connection by the call's context. A commit that the
// server's standby has not confirmed is an error. database/sql makes one call at a time.
type conn struct {
	fullConn
	pool        *connector
	host        int    // of pool
	born        uint64 // pool.lost when it was made
	socket      *socket
	prepared    prepared
	spent       bool // not to be used again
	inTx        bool
	unconfirmed bool // the server said in this call that it does not wait for its standby any more
}

// call is one call of a connection.
type call struct {
	conn *conn
	ctx  context.Context
	stop func() bool
}

// begin lets the connection end soon after ctx. The call's end must be called.
func (c *conn) begin(ctx context.Context) call {
	c.unconfirmed = false
	return call{conn: c, ctx: ctx, stop: context.AfterFunc(ctx, func() { c.socket.end(cancelGrace) })}
}

// end ends a call that returned err, and reports whether its context was over by then.
func (c call) end(err error) (over bool) {
	// Not one of the two alone: lib/pq may see the end of a context earlier.
	over = !c.stop() || c.ctx.Err() != nil
	// A late request to cancel may reach the server, and would hit the next call.
	c.conn.spent = c.conn.spent || over
	if isLost(err, over) {
		c.conn.spent = true
		c.conn.pool.lost.CompareAndSwap(c.conn.born, c.conn.born+1)
		if over && isTimeout(err) { // it has not even answered the request to cancel
			c.conn.pool.silent(c.conn.host)
		}
	}
	return over
}

// noticed is lib/pq's handler of notices. The text is in the server's language, the name of
// the function is not. An administrator can end the wait as well as we can.
func (c *conn) noticed(n *pq.Error) {
	c.unconfirmed = c.unconfirmed || n.Routine == "SyncRepWaitForLSN"
}

// errUnconfirmed: the server has committed and has stopped waiting for its standby; lib/pq
// reports success then.
var errUnconfirmed = fmt.Errorf("%w: not confirmed by a standby in time", ErrUncertain)

// committed ends a call that commits. It returns err, or errUnconfirmed.
func (c call) committed(err error) error {
	if over := c.end(err); err == nil && confirmed && (over || c.conn.unconfirmed) {
		return errUnconfirmed
	}
	return err
}

// ExecContext implements driver.ExecerContext.
func (c *conn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	call := c.begin(ctx)
	res, err := c.prepared.exec(ctx, c.fullConn, query, args)
	if c.inTx {
		call.end(err)
	} else if err = call.committed(err); err != nil {
		res = nil
	}
	return res, err
}

// IsValid implements driver.Validator.
func (c *conn) IsValid() bool {
	return !c.spent && c.born == c.pool.lost.Load() && c.fullConn.IsValid()
}

// ResetSession implements driver.SessionResetter.
func (c *conn) ResetSession(ctx context.Context) error {
	if !c.IsValid() {
		return driver.ErrBadConn
	}
	return c.fullConn.ResetSession(ctx)
}

// PrepareContext implements driver.ConnPrepareContext.
func (c *conn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	call := c.begin(ctx)
	stmt, err := c.fullConn.PrepareContext(ctx, query)
	call.end(err)
	return stmt, err
}

// Ping implements driver.Pinger.
func (c *conn) Ping(ctx context.Context) error {
	call := c.begin(ctx)
	err := c.fullConn.Ping(ctx)
	call.end(err)
	return err
}

// QueryContext implements driver.QueryerContext.
func (c *conn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	call := c.begin(ctx)
	rows, err := c.fullConn.QueryContext(ctx, query, args)
	if err != nil {
		call.end(err)
		return nil, err
	}
	return &guardedRows{Rows: rows, call: call}, nil
}

// BeginTx implements driver.ConnBeginTx.
func (c *conn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	call := c.begin(ctx)
	tx, err := c.fullConn.BeginTx(ctx, opts)
	if pqErr, ok := errors.AsType[*pq.Error](err); ok && pqErr.Code == codeNotOnStandby {
		err = fmt.Errorf("%w: %w", errReadOnly, err)
	}
	if err != nil {
		call.end(err)
		return nil, err
	}
	c.inTx = true
	return &guardedTx{Tx: tx, call: call}, nil
}

// codeNotOnStandby, feature_not_supported, is a standby's answer to BEGIN READ WRITE.
const codeNotOnStandby = "0A000"

// guardedRows are guarded until they are closed.
type guardedRows struct {
	driver.Rows
	call call
}

// Close implements driver.Rows.
func (r *guardedRows) Close() error {
	err := r.Rows.Close()
	r.call.end(err)
	return err
}

// guardedTx is guarded until it ends.
type guardedTx struct {
	driver.Tx
	call call
}

// Commit implements driver.Tx.
func (t *guardedTx) Commit() error {
	t.call.conn.inTx = false
	t.call.conn.unconfirmed = false
	return t.call.committed(t.Tx.Commit())
}

// Rollback implements driver.Tx.
func (t *guardedTx) Rollback() error {
	t.call.conn.inTx = false
	err := t.Tx.Rollback()
	t.call.end(err)
	return err
}
