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

// Read adds what the database says now. Entries that are left over outside of it are the caller's to add.
func (d *Database) Read(ctx context.Context, e *Evidence) error {
	for _, read := range []func(context.Context, *Evidence) error{d.readMessages, d.readAudit, d.readBus} {
		if err := read(ctx, e); err != nil {
			return err
		}
	}
	return nil
}

func (d *Database) readMessages(ctx context.Context, e *Evidence) error {
	e.Heads = make(map[string]int64)
	err := d.each(ctx, `SELECT room, seq FROM imcd_rooms`, func(rows *sql.Rows) error {
		var room string
		var seq int64
		err := rows.Scan(&room, &seq)
		e.Heads[room] = seq
		return err
	})
	if err != nil {
		return err
	}
	return d.each(ctx, `SELECT r.room, m.seq, m.body FROM imcd_messages m JOIN imcd_rooms r ON r.id = m.room_id
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
func (d *Database) readBus(ctx context.Context, e *Evidence) error {
	there, err := d.has(ctx, "imcd_bus")
	if err != nil || !there {
		return err
	}
	return d.each(ctx, `SELECT 'imcd_bus ' || id || ': ' || kind FROM imcd_bus`, func(rows *sql.Rows) error {
		var name string
		err := rows.Scan(&name)
		e.Left = append(e.Left, name)
		return err
	})
}

// has reports whether there is a table of that name.
func (d *Database) has(ctx context.Context, table string) (there bool, err error) {
	err = d.db.QueryRowContext(ctx, `SELECT to_regclass($1) IS NOT NULL`, table).Scan(&there)
	if err != nil {
		return false, fmt.Errorf("look for table %s: %w", table, err)
	}
	return there, nil
}

// each calls fn for each row of a query.
func (d *Database) each(ctx context.Context, query string, fn func(*sql.Rows) error) error {
	rows, err := d.db.QueryContext(ctx, query)
	if err != nil {
		return fmt.Errorf("read evidence: %w", err)
	}
	defer rows.Close() // Err tells
	for rows.Next() {
		if err := fn(rows); err != nil {
			return fmt.Errorf("read evidence: %w", err)
		}
	}
	if err := rows.Err(); err != nil {
		return fmt.Errorf("read evidence: %w", err)
	}
	return nil
}
