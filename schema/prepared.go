package schema

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/lib/pq"
)

// prepared is the one statement of a connection that the server has parsed: to parse
// and plan sqlQuick takes longer than to carry it out. There is no second one: lib/pq
// numbers its statements, and behind a pooler that gives each transaction another of
// the server's connections a number might be another connection's statement.
type prepared struct {
	query string // its text
	stmt  driver.StmtExecContext
	// off is the pool's: there is such a pooler, and it loses statements.
	off *atomic.Bool
}

// exec carries query out, by the statement if it is that.
func (p *prepared) exec(ctx context.Context, c fullConn, query string, args []driver.NamedValue) (driver.Result, error) {
	if query != p.query || p.off.Load() {
		return c.ExecContext(ctx, query, args)
	}
	if p.stmt == nil {
		made, err := c.PrepareContext(ctx, query)
		if err != nil {
			return nil, p.lost(err)
		}
		var ok bool
		if p.stmt, ok = made.(driver.StmtExecContext); !ok {
			return nil, fmt.Errorf("lib/pq's statement %T lacks a method", made)
		}
	}
	res, err := p.stmt.ExecContext(ctx, args)
	return res, p.lost(err)
}

// lost ends the use of prepared statements if err is that this one is not there, or
// that another is.
func (p *prepared) lost(err error) error {
	if statementLost(err) {
		p.off.Store(true)
	}
	return err
}

// statementLost knows invalid_sql_statement_name, duplicate_prepared_statement and,
// for another's parameters, protocol_violation. Nothing has been carried out then.
func statementLost(err error) bool {
	pqErr, ok := errors.AsType[*pq.Error](err)
	return ok && (pqErr.Code == "26000" || pqErr.Code == "42P05" || pqErr.Code == "08P01")
}
