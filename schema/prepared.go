package schema

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/lib/pq"
)

// prepared are the statements of one connection that the server has parsed, by their
// text: parsing and planning them takes longer than carrying them out. The pool
// lends a connection to one caller at a time.
type prepared struct {
	stmts map[string]driver.StmtExecContext
	// off is the pool's: statements get lost, because a pooler between us and the
	// server gives each transaction another of the server's connections.
	off *atomic.Bool
}

// exec carries query out by a statement of c, which is made if there is none.
func (p *prepared) exec(ctx context.Context, c fullConn, query string, args []driver.NamedValue) (driver.Result, error) {
	if len(args) == 0 || p.off.Load() {
		return c.ExecContext(ctx, query, args)
	}
	stmt := p.stmts[query]
	if stmt == nil {
		made, err := c.PrepareContext(ctx, query)
		if err != nil {
			return nil, p.lost(err)
		}
		var ok bool
		if stmt, ok = made.(driver.StmtExecContext); !ok {
			return nil, fmt.Errorf("lib/pq's statement %T lacks a method", made)
		}
		p.stmts[query] = stmt
	}
	res, err := stmt.ExecContext(ctx, args)
	return res, p.lost(err)
}

// lost ends the use of prepared statements if err is that one is not there, or that
// somebody else's is. The transaction has failed; the next one does without.
func (p *prepared) lost(err error) error {
	if pqErr, ok := errors.AsType[*pq.Error](err); ok && statementLost(string(pqErr.Code)) {
		p.off.Store(true)
	}
	return err
}

// statementLost knows invalid_sql_statement_name and duplicate_prepared_statement.
func statementLost(code string) bool { return code == "26000" || code == "42P05" }
