package schema

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"imcd/engine/store"
)

// Tools copy the tables of Kamailio's imc module as they are, between databases: see cmd/imcctl. The rows that
// Load leaves out are among them.

// ModuleRoom is a row of the module's table of rooms. In the database, any text may be a name, and NULL is
// "" or 0 here.
type ModuleRoom struct {
	ID     int64  `json:"id"`
	Name   string `json:"name"`
	Domain string `json:"domain"`
	Flag   int    `json:"flag"`
}

// ModuleMember is a row of the module's table of members. Room is the room's URI.
type ModuleMember struct {
	ID     int64  `json:"id"`
	User   string `json:"username"`
	Domain string `json:"domain"`
	Room   string `json:"room"`
	Flag   int    `json:"flag"`
}

// ModuleRows are all rows of the module's two tables.
type ModuleRows struct {
	Rooms   []ModuleRoom
	Members []ModuleMember
}

// ErrNotEmpty: there are rows already.
var ErrNotEmpty = errors.New("there are rooms or members already")

const (
	sqlModuleRooms = `SELECT COALESCE(t.id, 0) AS id, t.name, t.domain, COALESCE(t.flag, 0) AS flag FROM {rooms} t`
	sqlModuleUsers = `SELECT COALESCE(m.id, 0) AS id, m.username, m.domain, m.room, COALESCE(m.flag, 0) AS flag
		FROM {members} m`
	sqlFillRooms = `INSERT INTO {rooms} (id, name, domain, flag)
		SELECT v.id, v.name, v.domain, v.flag FROM {module_room_rows} ORDER BY v.id`
	sqlFillMembers = `INSERT INTO {members} (id, username, domain, room, flag)
		SELECT v.id, v.username, v.domain, v.room, v.flag FROM {module_member_rows} ORDER BY v.id`
)

// UsableName reports whether user@host can be a room or a user: Load leaves all others out.
func UsableName(user, host string) bool { return usableName(user, host) }

// Look opens a database as Open does, but makes and migrates nothing, takes no lease, and tells what it has found.
// The errors are those of Open, and ErrNoFile. Only ReadModule and CountModule may be called, and Close.
func Look(ctx context.Context, dbURL string, opts Options) (*Store, Inspection, error) {
	s, found, err := look(ctx, dbURL, opts.withDefaults())
	if err != nil {
		return nil, found, err
	}
	return s, found, nil
}

// CountModule counts the rows of the module's tables, which must be there.
func (s *Store) CountModule(ctx context.Context) (rooms, members int, err error) {
	for table, n := range map[string]*int{s.opts.RoomsTable: &rooms, s.opts.MembersTable: &members} {
		if err := s.db.QueryRowContext(ctx, "SELECT count(*) FROM "+table).Scan(n); err != nil {
			return 0, 0, wrap(ctx, "count the rows of "+table, err)
		}
	}
	return rooms, members, nil
}

// CountOwn counts the rows of one of imcd's own tables, and is 0 if it is not there.
func (s *Store) CountOwn(ctx context.Context, table string) (n int, err error) {
	info, err := s.dialect.table(ctx, s.db, table)
	if err == nil && len(info.columns) > 0 {
		err = s.db.QueryRowContext(ctx, "SELECT count(*) FROM "+table).Scan(&n)
	}
	return n, wrap(ctx, "count the rows of "+table, err)
}

// ReadModule returns the rows of the module's tables as they are at one moment, in no order. progress is
// called with the number of rows read, now and then.
func (s *Store) ReadModule(ctx context.Context, progress func(rows int)) (ModuleRows, error) {
	var all ModuleRows
	// Most members share their domain and their room with others.
	known := make(map[string]string)
	shared := func(text string) string {
		if one, ok := known[text]; ok {
			return one
		}
		known[text] = text
		return text
	}
	err := s.inSnapshot(ctx, func(snap snapshot) error {
		err := s.scan(ctx, snap, s.opts.RoomsTable, func(r *row) {
			all.Rooms = append(all.Rooms,
				ModuleRoom{ID: r.number(0), Name: r.text(1), Domain: shared(r.text(2)), Flag: int(r.number(3))})
		}, sqlModuleRooms)
		if err != nil {
			return err
		}
		return s.scan(ctx, snap, s.opts.MembersTable, func(r *row) {
			all.Members = append(all.Members, ModuleMember{ID: r.number(0), User: r.text(1), Domain: shared(r.text(2)),
				Room: shared(r.text(3)), Flag: int(r.number(4))})
			if n := len(all.Rooms) + len(all.Members); n%moduleRows == 0 {
				progress(n)
			}
		}, sqlModuleUsers)
	})
	progress(len(all.Rooms) + len(all.Members))
	return all, wrap(ctx, "read the tables of the imc module", err)
}

// moduleRows is how many rows one statement of ReplaceModule adds.
const moduleRows = 2000

// ReplaceModule fills the module's tables in one transaction; rows that are there are deleted, with replace, and else
// an ErrNotEmpty. The names must be usable, and the ids of a table positive, different and ascending: the module then
// finds the rows in this order. No imcd may work with the database: use Options.Lease and OwnNow, and this once.
// progress is called with the number of rows written, now and then.
func (s *Store) ReplaceModule(ctx context.Context, all ModuleRows, replace bool, progress func(rows int)) error {
	f := store.Fence{Batch: 1}
	err := s.inTx(ctx, func(tx *sql.Tx) error {
		if err := s.begin(ctx, tx, f, nil); err != nil {
			return err
		}
		if err := s.emptyModule(ctx, tx, replace); err != nil {
			return err
		}
		if err := fillTable(ctx, s, tx, sqlFillRooms, all.Rooms, progress); err != nil {
			return fmt.Errorf("fill %s: %w", s.opts.RoomsTable, err)
		}
		members := func(n int) { progress(len(all.Rooms) + n) }
		if err := fillTable(ctx, s, tx, sqlFillMembers, all.Members, members); err != nil {
			return fmt.Errorf("fill %s: %w", s.opts.MembersTable, err)
		}
		for _, table := range []string{s.opts.RoomsTable, s.opts.MembersTable} {
			if _, err := s.dialect.moveSequence(ctx, tx, table); err != nil {
				return fmt.Errorf("move the sequence of %s: %w", table, err)
			}
		}
		return nil
	})
	return wrap(ctx, "fill the tables of the imc module", s.settle(ctx, f, err))
}

// emptyModule deletes all rows. On PostgreSQL the tables get new files: with free space in them, the rows would not
// lie in the order in which they are added.
func (s *Store) emptyModule(ctx context.Context, tx *sql.Tx, replace bool) error {
	if s.dialect.name() == "postgres" {
		// Preparing a statement's rows takes time on a busy machine, and nobody waits for this transaction.
		if _, err := tx.ExecContext(ctx,
			"SELECT set_config('idle_in_transaction_session_timeout', '60000', true)"); err != nil {
			return err
		}
		lock := s.names.Replace("LOCK TABLE {rooms}, {members} IN ACCESS EXCLUSIVE MODE")
		if _, err := tx.ExecContext(ctx, lock); err != nil {
			return err
		}
	}
	tables := []string{s.opts.RoomsTable, s.opts.MembersTable}
	for _, table := range tables {
		var n int
		if err := tx.QueryRowContext(ctx, "SELECT count(*) FROM "+table).Scan(&n); err != nil {
			return err
		}
		if n > 0 && !replace {
			return fmt.Errorf("%w: %d rows in %s", ErrNotEmpty, n, table)
		}
	}
	if s.dialect.name() == "postgres" {
		_, err := tx.ExecContext(ctx, "TRUNCATE "+strings.Join(tables, ", "))
		return err
	}
	for _, table := range tables {
		if _, err := tx.ExecContext(ctx, "DELETE FROM "+table); err != nil {
			return err
		}
	}
	return nil
}

// fillTable adds rows to one of the tables.
func fillTable[T any](ctx context.Context, s *Store, tx *sql.Tx, query string, rows []T,
	progress func(rows int)) error {
	query = s.names.Replace(query)
	for done := 0; done < len(rows); {
		some := rows[done:min(done+moduleRows, len(rows))]
		args, err := s.dialect.args(some)
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, query, args...); err != nil {
			return err
		}
		done += len(some)
		progress(done)
	}
	return nil
}
