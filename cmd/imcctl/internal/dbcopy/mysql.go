package dbcopy

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/go-sql-driver/mysql"

	"imcd/schema"
)

// mysqlTables are the module's tables on a MySQL or MariaDB.
type mysqlTables struct {
	db      *sql.DB
	name    string // of the database, without secrets
	tables  []*mysqlTable
	folding bool // names are compared without case
}

// mysqlTable is one of the module's tables.
type mysqlTable struct {
	name    string
	script  string
	text    []string // its columns of text
	is      bool     // it is there
	engine  string
	columns map[string]mysqlColumn
}

type mysqlColumn struct {
	kind      string // type, in lower case
	collation string
	needed    bool // NOT NULL
	filled    bool // the database fills it in
}

const versionScript = `CREATE TABLE version (
	id INT UNSIGNED AUTO_INCREMENT PRIMARY KEY NOT NULL,
	table_name VARCHAR(32) NOT NULL,
	table_version INT UNSIGNED DEFAULT 0 NOT NULL,
	CONSTRAINT table_name_idx UNIQUE (table_name))`

func openMySQL(ctx context.Context, dbURL string, o *Options) (*mysqlTables, error) {
	cfg, err := mysqlConfig(dbURL, o.MySQLPassword, fileExists)
	if err != nil {
		return nil, err
	}
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		return nil, errors.New("the options of the URL do not fit together: tls is true, false, skip-verify or preferred")
	}
	m := &mysqlTables{db: sql.OpenDB(connector), name: cfg.Addr + "/" + cfg.DBName, tables: []*mysqlTable{
		{name: o.RoomsTable, text: []string{"name", "domain"}, script: `CREATE TABLE ` + o.RoomsTable + ` (
			id INT UNSIGNED AUTO_INCREMENT PRIMARY KEY NOT NULL,
			name VARCHAR(64) NOT NULL, domain VARCHAR(64) NOT NULL, flag INT NOT NULL,
			CONSTRAINT name_domain_idx UNIQUE (name, domain))`},
		{name: o.MembersTable, text: []string{"username", "domain", "room"}, script: `CREATE TABLE ` + o.MembersTable + ` (
			id INT UNSIGNED AUTO_INCREMENT PRIMARY KEY NOT NULL,
			username VARCHAR(64) NOT NULL, domain VARCHAR(64) NOT NULL, room VARCHAR(64) NOT NULL, flag INT NOT NULL,
			CONSTRAINT account_room_idx UNIQUE (username, domain, room))`},
	}}
	if err := m.look(ctx); err != nil {
		m.close()
		return nil, fmt.Errorf("%s: %w", m.name, err)
	}
	return m, nil
}

func (m *mysqlTables) target() string                  { return m.name }
func (m *mysqlTables) folds() bool                     { return m.folding }
func (m *mysqlTables) forImcd() bool                   { return false }
func (m *mysqlTables) own(context.Context, bool) error { return nil }
func (m *mysqlTables) close()                          { _ = m.db.Close() } // all is committed by then

func (m *mysqlTables) missing() (list []string) {
	for _, t := range m.tables {
		if !t.is {
			list = append(list, t.name)
		}
	}
	return list
}

func (m *mysqlTables) left(context.Context) ([]Left, error) { return nil, nil }

// look finds the tables and refuses those that cannot be worked with.
func (m *mysqlTables) look(ctx context.Context) error {
	for _, t := range m.tables {
		var kind string
		err := m.db.QueryRowContext(ctx, `SELECT TABLE_TYPE, COALESCE(ENGINE, '') FROM information_schema.TABLES
			WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = ?`, t.name).Scan(&kind, &t.engine)
		if errors.Is(err, sql.ErrNoRows) {
			continue
		}
		if err != nil {
			return fmt.Errorf("look at table %s: %w", t.name, err)
		}
		if kind != "BASE TABLE" {
			return fmt.Errorf("%s is a %s, and must be a table", t.name, strings.ToLower(kind))
		}
		t.is = true
		if err := m.lookAtColumns(ctx, t); err != nil {
			return err
		}
		if wrong := t.wrong(); len(wrong) > 0 {
			return fmt.Errorf("table %s: %s", t.name, strings.Join(wrong, "; "))
		}
	}
	room := m.tables[1].columns["room"].collation
	m.folding = room != "" && !strings.HasSuffix(room, "_bin")
	return nil
}

func (m *mysqlTables) lookAtColumns(ctx context.Context, t *mysqlTable) error {
	rows, err := m.db.QueryContext(ctx, `SELECT COLUMN_NAME, DATA_TYPE, COALESCE(COLLATION_NAME, ''), IS_NULLABLE = 'NO',
		COLUMN_DEFAULT IS NOT NULL OR EXTRA <> '' FROM information_schema.COLUMNS
		WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = ?`, t.name)
	if err != nil {
		return fmt.Errorf("look at the columns of %s: %w", t.name, err)
	}
	defer rows.Close()
	t.columns = make(map[string]mysqlColumn)
	for rows.Next() {
		var name string
		var c mysqlColumn
		if err := rows.Scan(&name, &c.kind, &c.collation, &c.needed, &c.filled); err != nil {
			return fmt.Errorf("look at the columns of %s: %w", t.name, err)
		}
		t.columns[strings.ToLower(name)] = c
	}
	return rows.Err()
}

// wrong lists what cannot be worked with.
func (t *mysqlTable) wrong() (list []string) {
	known := append([]string{"id", "flag"}, t.text...)
	for _, name := range known {
		kind := t.columns[name].kind
		switch text := slices.Contains(t.text, name); {
		case kind == "":
			list = append(list, "it has no column "+name+", so it is not Kamailio's")
		case text && !strings.HasSuffix(kind, "char") && !strings.HasSuffix(kind, "text"),
			!text && !strings.HasSuffix(kind, "int"):
			list = append(list, fmt.Sprintf("column %s has the type %s", name, kind))
		}
	}
	for name, c := range t.columns {
		if c.needed && !c.filled && !slices.Contains(known, name) {
			list = append(list, fmt.Sprintf("column %s, which imc.so does not know, is NOT NULL and has no default", name))
		}
	}
	slices.Sort(list)
	return list
}

func (m *mysqlTables) count(ctx context.Context) (n Counts, err error) {
	for i, to := range []*int{&n.Rooms, &n.Members} {
		if !m.tables[i].is {
			continue
		}
		if err := m.db.QueryRowContext(ctx, "SELECT COUNT(*) FROM "+m.tables[i].name).Scan(to); err != nil {
			return n, fmt.Errorf("count the rows of %s: %w", m.tables[i].name, err)
		}
	}
	return n, nil
}

// read returns all rows as they are at one moment, if the tables are InnoDB's.
func (m *mysqlTables) read(ctx context.Context, progress func(rows int)) (all schema.ModuleRows, err error) {
	tx, err := m.db.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true})
	if err != nil {
		return all, err
	}
	defer tx.Rollback() // it only reads
	rooms, members := m.tables[0].name, m.tables[1].name
	query := "SELECT COALESCE(id, 0), name, domain, COALESCE(flag, 0) FROM " + rooms
	err = schema.EachRow(ctx, tx, func(rows *sql.Rows) error {
		var r schema.ModuleRoom
		var name, domain sql.NullString
		err := rows.Scan(&r.ID, &name, &domain, &r.Flag)
		r.Name, r.Domain = name.String, domain.String
		all.Rooms = append(all.Rooms, r)
		return err
	}, query)
	if err != nil {
		return all, fmt.Errorf("read %s: %w", rooms, err)
	}
	// Most members share their domain and their room with others.
	known := make(map[string]string)
	shared := func(text sql.RawBytes) string {
		if one, ok := known[string(text)]; ok {
			return one
		}
		one := string(text)
		known[one] = one
		return one
	}
	var user, domain, room sql.RawBytes
	query = "SELECT COALESCE(id, 0), username, domain, room, COALESCE(flag, 0) FROM " + members
	err = schema.EachRow(ctx, tx, func(rows *sql.Rows) error {
		var u schema.ModuleMember
		err := rows.Scan(&u.ID, &user, &domain, &room, &u.Flag)
		u.User, u.Domain, u.Room = string(user), shared(domain), shared(room)
		all.Members = append(all.Members, u)
		if n := len(all.Rooms) + len(all.Members); n%chunk == 0 {
			progress(n)
		}
		return err
	}, query)
	if err != nil {
		return all, fmt.Errorf("read %s: %w", members, err)
	}
	progress(len(all.Rooms) + len(all.Members))
	return all, nil
}

// prepare makes tables that are not there, with their rows in the table version. Rows of version that are there
// stay: those of OpenSIPS have another number, and the same columns.
func (m *mysqlTables) prepare(ctx context.Context) error {
	for _, t := range m.tables {
		if t.is && !strings.EqualFold(t.engine, "InnoDB") {
			return fmt.Errorf("table %s has the engine %s, which has no transactions: ALTER TABLE %s ENGINE = InnoDB",
				t.name, t.engine, t.name)
		}
	}
	var n int
	err := m.db.QueryRowContext(ctx, `SELECT COUNT(*) FROM information_schema.TABLES
		WHERE TABLE_SCHEMA = DATABASE() AND TABLE_NAME = 'version'`).Scan(&n)
	if err == nil && n == 0 {
		_, err = m.db.ExecContext(ctx, versionScript)
	}
	if err != nil {
		return fmt.Errorf("make table version: %w", err)
	}
	for _, t := range m.tables {
		if !t.is {
			if _, err := m.db.ExecContext(ctx, t.script+" ENGINE = InnoDB"); err != nil {
				return fmt.Errorf("make table %s: %w", t.name, err)
			}
			t.is = true
		}
		if _, err := m.db.ExecContext(ctx, `INSERT INTO version (table_name, table_version) SELECT ?, 1 FROM DUAL
			WHERE NOT EXISTS (SELECT 1 FROM version v WHERE v.table_name = ?)`, t.name, t.name); err != nil {
			return fmt.Errorf("add table %s to the table version: %w", t.name, err)
		}
	}
	return nil
}

// chunk is how many rows one statement adds.
const chunk = 2000

// replace fills the tables in one transaction. The order of ids is that in which imc.so reads rows from InnoDB.
func (m *mysqlTables) replace(ctx context.Context, all schema.ModuleRows, replace bool, progress func(int)) error {
	if err := m.prepare(ctx); err != nil {
		return err
	}
	tx, err := m.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // nothing is left to roll back after Commit
	for _, t := range m.tables {
		var n int
		if err := tx.QueryRowContext(ctx, "SELECT COUNT(*) FROM "+t.name).Scan(&n); err != nil {
			return fmt.Errorf("count the rows of %s: %w", t.name, err)
		}
		if n > 0 && !replace {
			return fmt.Errorf("%w: %d rows in %s", schema.ErrNotEmpty, n, t.name)
		}
		if n > 0 {
			if _, err := tx.ExecContext(ctx, "DELETE FROM "+t.name); err != nil {
				return fmt.Errorf("empty %s: %w", t.name, err)
			}
		}
	}
	into := m.tables[0].name + " (id, name, domain, flag) VALUES "
	err = insert(ctx, tx, into, all.Rooms, func(r *schema.ModuleRoom) []any {
		return []any{r.ID, r.Name, r.Domain, r.Flag}
	}, progress)
	if err != nil {
		return fmt.Errorf("fill %s: %w", m.tables[0].name, explained(err))
	}
	into = m.tables[1].name + " (id, username, domain, room, flag) VALUES "
	err = insert(ctx, tx, into, all.Members, func(u *schema.ModuleMember) []any {
		return []any{u.ID, u.User, u.Domain, u.Room, u.Flag}
	}, func(n int) { progress(len(all.Rooms) + n) })
	if err != nil {
		return fmt.Errorf("fill %s: %w", m.tables[1].name, explained(err))
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("%w: %w", schema.ErrUncertain, err)
	}
	return nil
}

// insert adds rows, many in one statement.
func insert[T any](ctx context.Context, tx *sql.Tx, into string, rows []T, values func(*T) []any,
	progress func(rows int)) error {
	for done := 0; done < len(rows); {
		some := rows[done:min(done+chunk, len(rows))]
		var args []any
		for i := range some {
			args = append(args, values(&some[i])...)
		}
		one := "(" + strings.Repeat("?,", len(args)/len(some)-1) + "?),"
		marks := strings.TrimSuffix(strings.Repeat(one, len(some)), ",")
		if _, err := tx.ExecContext(ctx, "INSERT INTO "+into+marks, args...); err != nil {
			return err
		}
		done += len(some)
		progress(done)
	}
	return nil
}

// explained adds what to do about errors that the tables' character set or collation causes.
func explained(err error) error {
	const duplicate, badText, tooLong = 1062, 1366, 1406
	refused, ok := errors.AsType[*mysql.MySQLError](err)
	if !ok {
		return err
	}
	switch refused.Number {
	case duplicate:
		return fmt.Errorf("%w; the collation of the table takes two names for one: make its columns COLLATE utf8mb4_bin", err)
	case badText:
		return fmt.Errorf("%w; the table's character set lacks a character: CONVERT TO CHARACTER SET utf8mb4", err)
	case tooLong:
		return fmt.Errorf("%w; the column is narrower than Kamailio makes it", err)
	}
	return err
}
