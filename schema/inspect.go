package schema

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
)

// ErrNoFile says that an SQLite file does not exist yet.
var ErrNoFile = errors.New("there is no such file yet")

// Inspection is what Inspect found in a database.
type Inspection struct {
	Target  string   // the database, without secrets
	Tables  []string // those that imcd works with
	Missing []string // those of them that are not there
}

// ownTables are those that the migrations make.
func ownTables(d dialect) []string {
	tables := []string{versionTable, "imcd_invitations", "imcd_rooms", "imcd_messages", "imcd_cursors",
		"imcd_places", "imcd_settings", "imcd_acts", "imcd_seen", "imcd_notes", "imcd_destroyed", "imcd_devices",
		"imcd_joins", "imcd_events", "imcd_webhooks_gone"}
	if d.name() == "postgres" {
		// SQLite has a file for that
		tables = append(tables, "imcd_lease", "imcd_fleet", "imcd_engines", "imcd_fences", "imcd_shards",
			"imcd_bus")
	}
	return tables
}

// Inspect looks at a database and changes nothing in it: whether it can be reached
// and written to, and which tables are missing. The errors are those of Open, and
// ErrNoFile. Target is set whenever dbURL can be read.
func Inspect(ctx context.Context, dbURL string, opts Options) (Inspection, error) {
	s, found, err := look(ctx, dbURL, opts.withDefaults())
	if err == nil {
		_ = s.Close() // it was only read
	}
	return found, err
}

// look opens a database for Inspect, or for somebody who reads.
func look(ctx context.Context, dbURL string, opts Options) (_ *Store, found Inspection, err error) {
	if err := opts.check(); err != nil {
		return nil, found, err
	}
	d, err := openDialect(dbURL, opts)
	if err != nil {
		return nil, found, err
	}
	found.Target = d.target()
	if file, ok := d.(*sqliteDialect); ok {
		if _, err := os.Stat(file.path); errors.Is(err, fs.ErrNotExist) {
			return nil, found, fmt.Errorf("%w: %s", ErrNoFile, file.path)
		}
	}
	db, err := d.open()
	if err != nil {
		return nil, found, errURL("%w", err)
	}
	s := &Store{opts: opts, db: db, commits: db, dialect: d, names: replacer(d, opts)}
	defer func() {
		if err != nil {
			_ = db.Close() // it was only read
		}
	}()
	if err := d.ping(ctx, db); err != nil {
		return nil, found, wrap(ctx, "reach "+d.target(), err)
	}
	if err := s.checkEncoding(ctx); err != nil {
		return nil, found, wrap(ctx, d.target(), err)
	}
	err = s.inspect(ctx, &found)
	return s, found, err
}

// inspect looks at the tables.
func (s *Store) inspect(ctx context.Context, found *Inspection) error {
	d, db := s.dialect, s.db
	for _, t := range s.baseTables() {
		found.Tables = append(found.Tables, t.table)
		info, err := d.table(ctx, db, t.table)
		if err == nil && len(info.columns) > 0 {
			err = s.checkTable(ctx, db, t, info)
		}
		if err != nil {
			return wrap(ctx, "look at table "+t.table, err)
		}
	}
	found.Tables = append(found.Tables, ownTables(d)...)
	for _, table := range found.Tables {
		info, err := d.table(ctx, db, table)
		if err != nil {
			return wrap(ctx, "look at table "+table, err)
		}
		if len(info.columns) == 0 {
			found.Missing = append(found.Missing, table)
		}
	}
	return nil
}
