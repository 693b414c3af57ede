package schema

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"modernc.org/sqlite"
)

// sqliteDialect is a file.
type sqliteDialect struct {
	path string // absolute
}

// sqliteBusyMS bounds the wait, in milliseconds, for another process that writes
// to the file.
const sqliteBusyMS = 2000

func (d *sqliteDialect) name() string            { return "sqlite" }
func (d *sqliteDialect) target() string          { return d.path }
func (d *sqliteDialect) binary() string          { return "BINARY" }
func (d *sqliteDialect) skipLocked() string      { return "" } // it has one writer
func (d *sqliteDialect) quick() *quickStatements { return nil }

func (d *sqliteDialect) relaxed() string              { return "" } // only a whole connection can be
func (d *sqliteDialect) stale(error) bool             { return false }
func (d *sqliteDialect) ownerFirst() (string, string) { return "", "" }

func (d *sqliteDialect) open() (*sql.DB, error) {
	if err := os.MkdirAll(filepath.Dir(d.path), 0o750); err != nil {
		return nil, fmt.Errorf("make the folder of the SQLite file: %w", err)
	}
	// Who is in which room is nobody else's business; SQLite gives the files
	// beside it the same rights.
	f, err := os.OpenFile(d.path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the SQLite file: %w", err)
	}
	if err := f.Close(); err != nil {
		return nil, fmt.Errorf("create the SQLite file: %w", err)
	}
	// One file, one name: the lock beside it goes by that.
	if d.path, err = filepath.EvalSymlinks(d.path); err != nil {
		return nil, fmt.Errorf("path of the SQLite file: %w", err)
	}
	file := url.URL{Scheme: "file", Path: d.path, RawQuery: url.Values{
		"_busy_timeout": {fmt.Sprint(sqliteBusyMS)},
		"_journal_mode": {"WAL"},
		"_synchronous":  {"FULL"}, // a commit is on the disk when it returns
		"_txlock":       {"immediate"},
	}.Encode()}
	connector, err := sqlite.NewConnector(file.String())
	if err != nil {
		return nil, fmt.Errorf("open the SQLite file: %w", err)
	}
	db := sql.OpenDB(connector)
	// SQLite has one writer; a second connection would only meet SQLITE_BUSY.
	db.SetMaxOpenConns(1)
	return db, nil
}

func (d *sqliteDialect) rows(cols []column) string {
	list := make([]string, len(cols))
	for i, c := range cols {
		switch {
		case c.name == "ord":
			list[i] = "key AS ord"
		case c.kind == "bytea":
			list[i] = fmt.Sprintf("unhex(value->>'$.%s') AS %s", c.name, c.name)
		default:
			list[i] = fmt.Sprintf("value->>'$.%s' AS %s", c.name, c.name)
		}
	}
	return "(SELECT " + strings.Join(list, ", ") + " FROM json_each($1)) AS v"
}

// args is one JSON array of objects.
func (d *sqliteDialect) args(rows any) ([]any, error) {
	param, err := json.Marshal(rows)
	if err != nil {
		return nil, fmt.Errorf("encode rows: %w", err)
	}
	return []any{string(param)}, nil
}

func (d *sqliteDialect) oneOf(query string) string { return "IN (" + query + ")" }

// lock uses the folder, not the file: closing a file that SQLite has open would
// drop SQLite's own locks on it.
func (d *sqliteDialect) lock(ctx context.Context, _ *sql.DB, fn func() error) error {
	dir, err := os.Open(filepath.Dir(d.path))
	if err != nil {
		return fmt.Errorf("lock the folder of the SQLite file: %w", err)
	}
	defer dir.Close() // unlocks
	retry := time.NewTicker(10 * time.Millisecond)
	defer retry.Stop()
	for {
		err := syscall.Flock(int(dir.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return fn()
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			return fmt.Errorf("lock the folder of the SQLite file: %w", err)
		}
		select {
		case <-retry.C:
		case <-ctx.Done():
			return fmt.Errorf("lock the folder of the SQLite file: %w", ctx.Err())
		}
	}
}

// encoding is UTF-8 or UTF-16.
func (d *sqliteDialect) encoding(ctx context.Context, q querier) (string, bool, error) {
	return firstEncoding(stringsOf(ctx, q, "PRAGMA encoding"))
}

// ping takes the write lock, which a read-only file or folder does not give.
func (d *sqliteDialect) ping(ctx context.Context, db *sql.DB) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	return tx.Rollback()
}
