package judge

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/lib/pq"
)

// Database reads imcd's tables with a connection of its own. It knows them by name, and uses no code
// of imcd.
type Database struct{ db *sql.DB }

// Open opens the database of a db_url that names one server, without TLS.
func Open(url string) (*Database, error) {
	cfg, err := pq.NewConfig(url + "?sslmode=disable&connect_timeout=5&application_name=judge")
	if err != nil {
		return nil, fmt.Errorf("open the judge's database: %w", err)
	}
	connector, err := pq.NewConnectorConfig(cfg)
	if err != nil {
		return nil, fmt.Errorf("open the judge's database: %w", err)
	}
	return &Database{sql.OpenDB(connector)}, nil
}

// Close closes it.
func (d *Database) Close() error { return d.db.Close() }

// Read adds what the database says at one moment. Entries that are left over outside of it are the caller's
// to add.
func (d *Database) Read(ctx context.Context, e *Evidence) error {
	tx, err := d.db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	if err != nil {
		return fmt.Errorf("read evidence: %w", err)
	}
	defer tx.Rollback() // it only reads
	for _, read := range []func(context.Context, *sql.Tx, *Evidence) error{readMessages, readAudit, readBus} {
		if err := read(ctx, tx, e); err != nil {
			return fmt.Errorf("read evidence: %w", err)
		}
	}
	return nil
}

func readMessages(ctx context.Context, tx *sql.Tx, e *Evidence) error {
	e.Heads = make(map[string]int64)
	err := each(ctx, tx, `SELECT room, seq FROM imcd_rooms`, func(rows *sql.Rows) error {
		var room string
		var seq int64
		err := rows.Scan(&room, &seq)
		e.Heads[room] = seq
		return err
	})
	if err != nil {
		return err
	}
	return each(ctx, tx, `SELECT r.room, m.seq, m.body FROM imcd_messages m JOIN imcd_rooms r ON r.id = m.room_id
		ORDER BY 1, 2`, func(rows *sql.Rows) error {
		var r Row
		var body []byte
		err := rows.Scan(&r.Room, &r.Seq, &body)
		r.Body = string(body)
		e.Stored = append(e.Stored, r)
		return err
	})
}

// readBus looks for announcements that nobody has deleted.
func readBus(ctx context.Context, tx *sql.Tx, e *Evidence) error {
	there, err := has(ctx, tx, "imcd_bus")
	if err != nil || !there {
		return err
	}
	return each(ctx, tx, `SELECT 'imcd_bus ' || origin || '/' || n || ': ' || kind FROM imcd_bus
		WHERE at < now() - interval '30 seconds'`, func(rows *sql.Rows) error {
		var name string
		err := rows.Scan(&name)
		e.Left = append(e.Left, name)
		return err
	})
}

// has reports whether there is a table of that name.
func has(ctx context.Context, tx *sql.Tx, table string) (there bool, err error) {
	err = tx.QueryRowContext(ctx, `SELECT to_regclass($1) IS NOT NULL`, table).Scan(&there)
	return there, err
}

// each calls fn for each row of a query.
func each(ctx context.Context, tx *sql.Tx, query string, fn func(*sql.Rows) error) error {
	rows, err := tx.QueryContext(ctx, query)
	if err != nil {
		return err
	}
	defer rows.Close() // Err tells
	for rows.Next() {
		if err := fn(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}
