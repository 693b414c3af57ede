package dbcopy

import (
	"context"
	"errors"
	"slices"

	"imcd/schema"
)

// storeTables are the module's tables on PostgreSQL or SQLite, where imcd may work with them.
type storeTables struct {
	store  *schema.Store // nil: an SQLite file that is not there
	url    string
	opts   schema.Options
	name   string
	absent []string // tables of the module and of imcd that are not there
}

// open opens a database without any change.
func open(ctx context.Context, dbURL string, o *Options) (tables, error) {
	ctx, cancel := context.WithTimeout(ctx, looking)
	defer cancel()
	if isMySQL(dbURL) {
		return openMySQL(ctx, dbURL, o)
	}
	s := &storeTables{url: dbURL, opts: schema.Options{RoomsTable: o.RoomsTable, MembersTable: o.MembersTable}}
	store, found, err := schema.Look(ctx, dbURL, s.opts)
	s.store, s.name, s.absent = store, found.Target, found.Missing
	if errors.Is(err, schema.ErrNoFile) {
		s.absent, err = []string{o.RoomsTable, o.MembersTable, imcdTable}, nil
	}
	return s, err
}

// imcdTable is there if imcd has ever worked with the database.
const imcdTable = "imcd_rooms"

// own opens the database again, as imcd does: no imcd can work with it then. Where imcd has never been, it has no
// business to do so in a database that is only read.
func (s *storeTables) own(ctx context.Context, toWrite bool) error {
	if !toWrite && slices.Contains(s.absent, imcdTable) {
		return nil
	}
	s.close()
	s.opts.Lease = &schema.Lease{}
	var err error
	if s.store, err = schema.Open(ctx, s.url, s.opts); err != nil {
		s.store = nil
		return err
	}
	s.absent = nil
	return s.store.OwnNow(ctx)
}

func (s *storeTables) target() string { return s.name }
func (s *storeTables) folds() bool    { return false }
func (s *storeTables) forImcd() bool  { return true }

func (s *storeTables) missing() (list []string) {
	for _, table := range []string{s.opts.RoomsTable, s.opts.MembersTable} {
		if slices.Contains(s.absent, table) {
			list = append(list, table)
		}
	}
	return list
}

func (s *storeTables) close() {
	if s.store != nil {
		_ = s.store.Close() // what was to be written is committed
	}
}

func (s *storeTables) count(ctx context.Context) (n Counts, err error) {
	if len(s.missing()) > 0 {
		return n, nil
	}
	n.Rooms, n.Members, err = s.store.CountModule(ctx)
	return n, err
}

func (s *storeTables) read(ctx context.Context, progress func(int)) (schema.ModuleRows, error) {
	return s.store.ReadModule(ctx, progress)
}

func (s *storeTables) replace(ctx context.Context, all schema.ModuleRows, replace bool, progress func(int)) error {
	return s.store.ReplaceModule(ctx, all, replace, progress)
}

func (s *storeTables) left(ctx context.Context) (list []Left, err error) {
	for _, own := range []struct{ table, what string }{
		{"imcd_messages", "messages, for #history and for members that have not got them yet"},
		{"imcd_notes", "notices that users have not got yet"},
		{"imcd_settings", "settings of rooms (#set)"},
		{"imcd_invitations", "names of those who have invited somebody"},
	} {
		n, err := s.store.CountOwn(ctx, own.table)
		if err != nil {
			return nil, err
		}
		if n > 0 {
			list = append(list, Left{What: own.what, Rows: n})
		}
	}
	return list, nil
}
