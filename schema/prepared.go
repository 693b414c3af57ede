package schema

import (
	"context"
	"database/sql/driver"
	"fmt"
	"sync/atomic"
)

// prepared are the quick statements of a connection, which the server has parsed: to
// parse and plan one takes longer than to execute it. lib/pq numbers its statements,
// and behind a pooler that gives each transaction another of the server's connections a
// number might be another connection's statement. So no two may have the same number of
// parameters: the server refuses then.
type prepared struct {
	quick  *quickStatements
	many   driver.StmtExecContext // nil: not prepared yet
	single driver.StmtExecContext
	// off is the pool's: there is such a pooler, and it loses statements.
	off *atomic.Bool
}

// exec executes query, as a prepared statement if it is one of these.
func (p *prepared) exec(ctx context.Context, c fullConn, query string, args []driver.NamedValue) (driver.Result,
	error) {
	if query != p.quick.many && query != p.quick.single || p.off.Load() {
		return c.ExecContext(ctx, query, args)
	}
	if p.single == nil {
		if err := p.prepare(ctx, c); err != nil {
			return nil, p.lost(err)
		}
	}
	stmt := p.many
	if query == p.quick.single {
		stmt = p.single
	}
	res, err := stmt.ExecContext(ctx, args)
	return res, p.lost(err)
}

// prepare prepares all of them, so that no sender has to wait for that later.
func (p *prepared) prepare(ctx context.Context, c fullConn) error {
	var err error
	if p.many, err = prepare(ctx, c, p.quick.many); err == nil {
		p.single, err = prepare(ctx, c, p.quick.single)
	}
	return err
}

func prepare(ctx context.Context, c fullConn, query string) (driver.StmtExecContext, error) {
	made, err := c.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	stmt, ok := made.(driver.StmtExecContext)
	if !ok {
		return nil, fmt.Errorf("lib/pq's statement %T lacks a method", made)
	}
	return stmt, nil
}

// lost ends the use of prepared statements if err is that this one is not there, or
// that another is.
func (p *prepared) lost(err error) error {
	if statementLost(err) {
		p.off.Store(true)
	}
	return err
}
