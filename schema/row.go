package schema

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
)

// row is a row as the driver gives it. What is in it must not be kept, but for
// what text and number return.
type row struct {
	values []driver.Value
	names  []string // of the columns
	err    error    // the first of text and number
}

// text returns a column of text.
func (r *row) text(i int) string {
	switch v := r.values[i].(type) {
	case string:
		return v
	case []byte: // SQLite keeps a BLOB in a column of text
		return string(v)
	}
	r.fail(i, "text")
	return ""
}

// number returns a column of integers or booleans.
func (r *row) number(i int) int64 {
	switch v := r.values[i].(type) {
	case int64:
		return v
	case bool:
		if v {
			return 1
		}
		return 0
	}
	r.fail(i, "an integer")
	return 0
}

func (r *row) fail(i int, want string) {
	if r.err == nil {
		r.err = fmt.Errorf("%s is not %s: %v", r.names[i], want, r.values[i])
	}
}

// scan runs a query on the driver's connection and calls fn for each row: of a
// million rows, what database/sql does takes as long as the rest. conn may be in
// a transaction.
func (s *Store) scan(ctx context.Context, conn *sql.Conn, fn func(*row), query string, args ...any) error {
	named := make([]driver.NamedValue, len(args))
	for i, arg := range args {
		value, err := driver.DefaultParameterConverter.ConvertValue(arg)
		if err != nil {
			return fmt.Errorf("parameter %d: %w", i+1, err)
		}
		named[i] = driver.NamedValue{Ordinal: i + 1, Value: value}
	}
	return conn.Raw(func(c any) error {
		q, ok := c.(driver.QueryerContext)
		if !ok {
			return fmt.Errorf("the driver's connection %T lacks a method", c)
		}
		rows, err := q.QueryContext(ctx, s.names.Replace(query), named)
		if err != nil {
			return err
		}
		defer rows.Close()
		return scanAll(ctx, rows, fn)
	})
}

func scanAll(ctx context.Context, rows driver.Rows, fn func(*row)) error {
	names := rows.Columns()
	r := row{names: names, values: make([]driver.Value, len(names))}
	for {
		err := rows.Next(r.values)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = ctx.Err() // SQLite's driver asks for it only where it begins
		}
		if err != nil {
			return err
		}
		if fn(&r); r.err != nil {
			return r.err
		}
	}
}
