package schema

import (
	"context"
	"database/sql"
)

// dialect has the differences between the databases. Each database has its own.
type dialect interface {
	// name is "postgres" or "sqlite": a folder of migrations/ and a file of base/.
	name() string
	// target names the database for errors and logs, without secrets.
	target() string
	// open returns the pool of connections; it need not connect.
	open() (*sql.DB, error)
	// rows turns the parameters of a statement into rows named v with the given
	// columns; ord counts them.
	rows(cols []column) string
	// args makes these parameters out of a slice of rows: see columnsOf.
	args(rows any) ([]any, error)
	// oneOf compares the expression before it with the values of a query of one
	// column, by an index where there is one.
	oneOf(query string) string
	// skipLocked ends a query for rows that are to be changed, so that it takes
	// only those that nobody else is changing now, and locks them.
	skipLocked() string
	// relaxed begins a transaction whose commit a crash of the database may lose; the
	// order of commits stays. Empty if the database does not have that.
	relaxed() string
	// quick returns the statements of quick commits; nil if the database does not
	// know such statements.
	quick() *quickStatements
	// table describes a table; it has no columns if there is none.
	table(ctx context.Context, q querier, table string) (*tableInfo, error)
	// wrongRights lists what imcd may not do with a table, and how to allow it.
	wrongRights(ctx context.Context, q querier, table string) ([]string, error)
	// moveSequence makes the next id of a table one that is not in use, and reports
	// whether that was necessary. ErrUnfit: it is, and imcd may not.
	moveSequence(ctx context.Context, q querier, table string) (bool, error)
	// lock keeps other imcd processes from migrating while fn runs.
	lock(ctx context.Context, db *sql.DB, fn func() error) error
	// encoding returns the encoding of text, and whether it is one that can hold
	// all characters.
	encoding(ctx context.Context, q querier) (name string, unicode bool, err error)
	// ping proves that db can be written to.
	ping(ctx context.Context, db *sql.DB) error
	// binary names the collation that compares bytes.
	binary() string
	// stale reports whether err only means that an idle connection, or a statement
	// prepared on it, was lost, so that the same call can be made again.
	stale(err error) bool
	// ownerFirst returns the SQL that lets the module see the owner of each
	// room first; empty strings if the order of ids is what it sees.
	ownerFirst() (find, rewrite string)
}

// querier is a pool, a connection or a transaction.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
}

// EachRow calls fn for each row of a query, and ends with the first error.
func EachRow(ctx context.Context, q querier, fn func(*sql.Rows) error, query string, args ...any) error {
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := fn(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// stringsOf collects a column of text.
func stringsOf(ctx context.Context, q querier, query string, args ...any) (list []string, err error) {
	err = EachRow(ctx, q, func(rows *sql.Rows) error {
		list = append(list, "")
		return rows.Scan(&list[len(list)-1])
	}, query, args...)
	if err != nil {
		return nil, err
	}
	return list, nil
}
