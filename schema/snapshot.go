package schema

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"io"
)

// snapshot are the methods of a driver's connection that read rows. With a million rows,
// database/sql alone would take as long as all the rest.
type snapshot interface {
	driver.ConnBeginTx
	driver.QueryerContext
}

// inSnapshot runs fn, which only reads, in a transaction that sees everything as
// it was at one moment. If a connection turns out to be lost before anything was
// read, another one is taken.
func (s *Store) inSnapshot(ctx context.Context, fn func(snapshot) error) error {
	for left := s.opts.MaxConns; ; left-- {
		begun, err := s.trySnapshot(ctx, fn)
		if begun || err == nil || left == 0 || ctx.Err() != nil || !s.dialect.stale(err) {
			return err
		}
	}
}

// trySnapshot does everything in one call of Raw: with a transaction of database/sql, and a
// lost connection, Raw and the transaction would wait for each other.
func (s *Store) trySnapshot(ctx context.Context, fn func(snapshot) error) (begun bool, err error) {
	conn, err := s.db.Conn(ctx)
	if err != nil {
		return false, err
	}
	defer conn.Close()
	err = conn.Raw(func(c any) error {
		snap, ok := c.(snapshot)
		if !ok {
			return fmt.Errorf("the driver's connection %T lacks a method", c)
		}
		tx, err := snap.BeginTx(ctx, driver.TxOptions{Isolation: driver.IsolationLevel(sql.LevelRepeatableRead),
			ReadOnly: true})
		if err != nil {
			return err
		}
		begun = true
		defer tx.Rollback() // it only reads
		return fn(snap)
	})
	return begun, err
}

// scan runs a query in a snapshot and calls fn for each row. what names the rows
// for errors.
func (s *Store) scan(ctx context.Context, snap snapshot, what string, fn func(*row), query string, args ...any) error {
	named := make([]driver.NamedValue, len(args))
	for i, arg := range args {
		value, err := driver.DefaultParameterConverter.ConvertValue(arg)
		if err != nil {
			return fmt.Errorf("read %s: parameter %d: %w", what, i+1, err)
		}
		named[i] = driver.NamedValue{Ordinal: i + 1, Value: value}
	}
	rows, err := snap.QueryContext(ctx, s.names.Replace(query), named)
	if err != nil {
		return fmt.Errorf("read %s: %w", what, err)
	}
	defer rows.Close()
	if err := scanAll(ctx, rows, fn); err != nil {
		return fmt.Errorf("read %s: %w", what, err)
	}
	return nil
}

func scanAll(ctx context.Context, rows driver.Rows, fn func(*row)) error {
	names := rows.Columns()
	r := row{names: names, values: make([]driver.Value, len(names))}
	for {
		err := rows.Next(r.values)
		if err == io.EOF { // itself: one that is wrapped is a lost connection
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
