package schema

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"testing"

	"github.com/lib/pq"
)

// fakeConn answers every call as lib/pq does that did not see the end of the call's context:
// without an error. Its pause is when that end comes.
type fakeConn struct {
	pause func()
	err   error
}

func (f *fakeConn) do() error { f.pause(); return f.err }

func (f *fakeConn) Begin() (driver.Tx, error)           { return nil, errors.ErrUnsupported }
func (f *fakeConn) Prepare(string) (driver.Stmt, error) { return nil, errors.ErrUnsupported }
func (f *fakeConn) Close() error                        { return nil }
func (f *fakeConn) BeginTx(context.Context, driver.TxOptions) (driver.Tx, error) {
	return fakeTx{f}, nil
}
func (f *fakeConn) PrepareContext(context.Context, string) (driver.Stmt, error) { return nil, f.do() }
func (f *fakeConn) CheckNamedValue(*driver.NamedValue) error                    { return nil }
func (f *fakeConn) Ping(context.Context) error                                  { return f.do() }
func (f *fakeConn) ResetSession(context.Context) error                          { return nil }
func (f *fakeConn) IsValid() bool                                               { return true }
func (f *fakeConn) ExecContext(context.Context, string, []driver.NamedValue) (driver.Result, error) {
	return driver.RowsAffected(1), f.do()
}

func (f *fakeConn) QueryContext(context.Context, string, []driver.NamedValue) (driver.Rows, error) {
	return fakeRows{f}, nil
}

type fakeTx struct{ *fakeConn }

func (f fakeTx) Commit() error   { return f.do() }
func (f fakeTx) Rollback() error { return f.do() }

type fakeRows struct{ *fakeConn }

func (f fakeRows) Columns() []string         { return nil }
func (f fakeRows) Close() error              { return f.do() }
func (f fakeRows) Next([]driver.Value) error { return io.EOF }

// connCalls are all calls of a connection.
var connCalls = map[string]func(ctx context.Context, c *conn) error{
	"exec":    func(ctx context.Context, c *conn) error { _, err := c.ExecContext(ctx, "x", nil); return err },
	"prepare": func(ctx context.Context, c *conn) error { _, err := c.PrepareContext(ctx, "x"); return err },
	"ping":    func(ctx context.Context, c *conn) error { return c.Ping(ctx) },
	"query": func(ctx context.Context, c *conn) error {
		rows, err := c.QueryContext(ctx, "x", nil)
		if err != nil {
			return err
		}
		return rows.Close()
	},
	"commit": func(ctx context.Context, c *conn) error {
		tx, err := c.BeginTx(ctx, driver.TxOptions{})
		if err != nil {
			return err
		}
		return tx.Commit()
	},
	"rollback": func(ctx context.Context, c *conn) error {
		tx, err := c.BeginTx(ctx, driver.TxOptions{})
		if err != nil {
			return err
		}
		return tx.Rollback()
	},
}

func newFakeConn(pool *connector) (*fakeConn, *conn) {
	f := &fakeConn{pause: func() {}}
	return f, &conn{fullConn: f, pool: pool, born: pool.lost.Load(), socket: &socket{},
		prepared: prepared{quick: &quickStatements{many: "many", single: "single"}, off: &pool.unprepared}}
}

// TestConnectionEndsWithItsCall: whatever call it was during which the context ended, the
// connection has a deadline since then, and is not used again. What commits is not taken
// for done.
func TestConnectionEndsWithItsCall(t *testing.T) {
	for name, call := range connCalls {
		for _, over := range []bool{false, true} {
			f, c := newFakeConn(&connector{})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if over {
				f.pause = cancel
			}
			err := call(ctx, c)
			commits := name == "exec" || name == "commit"
			if errors.Is(err, ErrUncertain) != (over && commits) || err != nil && !over {
				t.Errorf("%s (over %t): %v", name, over, err)
			}
			if c.IsValid() == over || (c.ResetSession(t.Context()) == nil) == over {
				t.Errorf("%s (over %t): to be used again: %t", name, over, c.IsValid())
			}
		}
	}
}

// TestNoticedCommit: the server says by a notice that it committed without its standby, in
// any language. That of an earlier call, and any other, means nothing.
func TestNoticedCommit(t *testing.T) {
	for name, call := range connCalls {
		f, c := newFakeConn(&connector{})
		notice := &pq.Error{Severity: "WARNUNG", Code: "01000", Routine: "SyncRepWaitForLSN",
			Message: "Warten auf synchrone Replikation wird abgebrochen"}
		c.noticed(notice)
		f.pause = func() { c.noticed(&pq.Error{Severity: "NOTICE", Routine: "DefineIndex"}) }
		if err := call(t.Context(), c); err != nil {
			t.Errorf("%s: %v without a reason", name, err)
		}
		f.pause = func() { c.noticed(notice) }
		err := call(t.Context(), c)
		if commits := name == "exec" || name == "commit"; errors.Is(err, ErrUncertain) != commits {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A statement within a transaction commits nothing.
	f, c := newFakeConn(&connector{})
	ctx, cancel := context.WithCancel(t.Context())
	tx, err := c.BeginTx(t.Context(), driver.TxOptions{})
	if err != nil {
		t.Fatal(err)
	}
	f.pause = cancel
	if _, err := c.ExecContext(ctx, "x", nil); err != nil {
		t.Errorf("in a transaction: %v", err)
	}
	if err := tx.Rollback(); err != nil {
		t.Error(err)
	}
	f.pause = func() {}
	if _, err := c.ExecContext(ctx, "x", nil); !errors.Is(err, ErrUncertain) {
		t.Errorf("after it: %v", err)
	}
}

// TestLostServer: when one connection has lost its server, or met one that is no primary any
// more, all others that were made before are not used again; those made after it are.
func TestLostServer(t *testing.T) {
	for name, call := range connCalls {
		for err, lost := range map[error]bool{
			driver.ErrBadConn: true, io.ErrUnexpectedEOF: true, &pq.Error{Code: codeReadOnly}: true,
			&pq.Error{Code: "23505"}: false, errors.New("other"): false,
		} {
			pool := &connector{}
			_, idle := newFakeConn(pool)
			for range 2 { // the second one tells nothing new
				f, c := newFakeConn(pool)
				c.born, f.err = idle.born, err
				if call(t.Context(), c) == nil {
					t.Fatalf("%s: no error", name)
				}
				if c.IsValid() == lost {
					t.Errorf("%s, %v: to be used again: %t", name, err, c.IsValid())
				}
			}
			if idle.IsValid() == lost {
				t.Errorf("%s, %v: another one is to be used again: %t", name, err, idle.IsValid())
			}
			if _, later := newFakeConn(pool); !later.IsValid() || pool.lost.Load() > 1 {
				t.Errorf("%s, %v: a later one is not used", name, err)
			}
		}
	}
}
