package schema

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"
	"strings"

	"github.com/pressly/goose/v3"
)

// migrations makes and changes the tables that are imcd's own, in numbered
// steps. A step that has been released is never edited.
//
//go:embed migrations
var migrations embed.FS

// base holds Kamailio's own tables, one statement after a comment with its name.
//
//go:embed base
var base embed.FS

// versionTable is where goose counts the migrations.
const versionTable = "imcd_migrations"

// baseTable is one of Kamailio's tables.
type baseTable struct {
	key     string   // its name in base/
	table   string   // its name in the database
	version int      // of its row in the table version
	columns []string // those that we need
	setting string   // the configuration key of its name; empty: fixed
}

func (s *Store) baseTables() []baseTable {
	return []baseTable{
		{key: "version", table: "version", version: 1, columns: []string{"table_name", "table_version"}},
		{key: "rooms", table: s.opts.RoomsTable, version: 1, setting: "rooms_table",
			columns: []string{"id", "name", "domain", "flag"}},
		{key: "members", table: s.opts.MembersTable, version: 1, setting: "members_table",
			columns: []string{"id", "username", "domain", "room", "flag"}},
	}
}

// migrate brings the database to what this imcd needs. Of several that start at
// once, one does it and the others wait.
func (s *Store) migrate(ctx context.Context) error {
	return s.dialect.lock(ctx, s.db, func() error {
		p, err := s.provider()
		if err != nil {
			return err
		}
		have, want, err := p.GetVersions(ctx)
		if err != nil {
			return fmt.Errorf("read the schema's version: %w", err)
		}
		if have > want {
			return fmt.Errorf("%w: its schema is version %d, this imcd knows %d", ErrNewer, have, want)
		}
		if err := s.makeBase(ctx); err != nil {
			return err
		}
		if _, err := p.Up(ctx); err != nil {
			return fmt.Errorf("migrate the schema: %w", err)
		}
		return s.indexMembers(ctx)
	})
}

// indexFrom is how many members a table must have to get our index.
const indexFrom = 10000

// indexMembers adds an index on room to Kamailio's table once that is large: without it the
// database reads all members for each destroyed room, and for each room at the module's own
// start. A table that is not large stays exactly as Kamailio makes it.
func (s *Store) indexMembers(ctx context.Context) error {
	var n int
	err := s.db.QueryRowContext(ctx, s.names.Replace("SELECT count(*) FROM (SELECT 1 FROM {members} LIMIT $1) AS m"),
		indexFrom).Scan(&n)
	if err != nil {
		return fmt.Errorf("count the members: %w", err)
	}
	if n < indexFrom {
		return nil
	}
	_, err = s.db.ExecContext(ctx,
		s.names.Replace("CREATE INDEX IF NOT EXISTS imcd_{members}_room_idx ON {members} (room)"))
	if err != nil && ctx.Err() == nil { // the table may belong to another role
		s.opts.Log.Warn().Err(err).Str("table", s.opts.MembersTable).Msg("an index on room would make large tables faster")
		return nil
	}
	return err
}

func (s *Store) provider() (*goose.Provider, error) {
	dir, err := fs.Sub(migrations, "migrations/"+s.dialect.name())
	if err != nil {
		return nil, fmt.Errorf("embedded migrations: %w", err)
	}
	kind := goose.DialectPostgres
	if s.dialect.name() == "sqlite" {
		kind = goose.DialectSQLite3
	}
	p, err := goose.NewProvider(kind, s.db, dir, goose.WithTableName(versionTable),
		goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
	if err != nil {
		return nil, fmt.Errorf("embedded migrations: %w", err)
	}
	return p, nil
}

// makeBase makes those of Kamailio's tables that do not exist, with their rows
// in the table version. It runs at every start, not as a numbered step: the
// names are configuration and may change between two starts.
func (s *Store) makeBase(ctx context.Context) error {
	script, err := base.ReadFile("base/" + s.dialect.name() + ".sql")
	if err != nil {
		return fmt.Errorf("embedded tables: %w", err)
	}
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("make Kamailio's tables: %w", err)
	}
	defer tx.Rollback() // nothing is left to roll back after Commit
	for _, t := range s.baseTables() {
		if err := s.makeTable(ctx, tx, t, string(script)); err != nil {
			return err
		}
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("make Kamailio's tables: %w", err)
	}
	return nil
}

func (s *Store) makeTable(ctx context.Context, tx *sql.Tx, t baseTable, script string) error {
	info, err := s.dialect.table(ctx, tx, t.table)
	if err != nil {
		return fmt.Errorf("look at table %s: %w", t.table, err)
	}
	if len(info.columns) > 0 {
		if err := s.checkTable(ctx, tx, t, info); err != nil {
			return err
		}
		s.warnOfTable(t, info)
		if err := s.startAt(ctx, tx, t); err != nil {
			return err
		}
	} else {
		_, after, _ := strings.Cut(script, "-- "+t.key+"\n")
		statement, _, _ := strings.Cut(after, ";")
		if _, err := tx.ExecContext(ctx, s.names.Replace(statement)); err != nil {
			return fmt.Errorf("make table %s: %w", t.table, err)
		}
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO version (table_name, table_version)
		SELECT x.t, x.v FROM (SELECT CAST($1 AS VARCHAR(32)) AS t, CAST($2 AS INTEGER) AS v) x
		WHERE NOT EXISTS (SELECT 1 FROM version w WHERE w.table_name = x.t)`, t.table, t.version)
	if err != nil {
		return fmt.Errorf("add table %s to Kamailio's table version: %w", t.table, err)
	}
	return nil
}

func (t baseTable) hint() string {
	if t.setting == "" {
		return ""
	}
	return " (" + t.setting + ")"
}
