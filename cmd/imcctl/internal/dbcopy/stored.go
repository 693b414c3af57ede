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
	name   string
	absent []string
}

// openSource opens the database of From. If imcd has tables there, it is kept away, but for a dry run.
func openSource(ctx context.Context, o *Options) (tables, error) {
	if isMySQL(o.From) {
		return openMySQL(ctx, o.From, o)
	}
	s, err := lookAt(ctx, o.From, o)
	if err != nil || o.DryRun || len(s.missing()) > 0 || slices.Contains(s.absent, "imcd_rooms") {
		return s, err
	}
	s.close()
	return ownTables(ctx, o.From, s, o)
}

// openTarget opens the database of To. Tables that are not there are made, imcd's, too, but for a dry run.
func openTarget(ctx context.Context, o *Options) (tables, error) {
	if isMySQL(o.To) {
		return openMySQL(ctx, o.To, o)
	}
	s, err := lookAt(ctx, o.To, o)
	if errors.Is(err, schema.ErrNoFile) {
		err = nil
	}
	if err != nil || o.DryRun {
		return s, err
	}
	s.close()
	return ownTables(ctx, o.To, s, o)
}

func (o *Options) ofSchema() schema.Options {
	return schema.Options{RoomsTable: o.RoomsTable, MembersTable: o.MembersTable}
}

// lookAt opens a database without any change. With ErrNoFile, the tables are missing.
func lookAt(ctx context.Context, dbURL string, o *Options) (*storeTables, error) {
	store, found, err := schema.Look(ctx, dbURL, o.ofSchema())
	s := &storeTables{store: store, name: found.Target, absent: found.Missing}
	if err != nil {
		s.absent = []string{o.RoomsTable, o.MembersTable}
	}
	return s, err
}

// ownTables opens a database as imcd does, so that no imcd can work with it.
func ownTables(ctx context.Context, dbURL string, seen *storeTables, o *Options) (tables, error) {
	opts := o.ofSchema()
	opts.Lease = &schema.Lease{}
	store, err := schema.Open(ctx, dbURL, opts)
	if err != nil {
		return nil, err
	}
	if err := store.OwnNow(ctx); err != nil {
		_ = store.Close() // the first error tells more
		return nil, err
	}
	return &storeTables{store: store, name: seen.name}, nil
}

func (s *storeTables) target() string { return s.name }
func (s *storeTables) folds() bool    { return false }
func (s *storeTables) forImcd() bool  { return true }

func (s *storeTables) missing() (list []string) {
	for _, table := range s.absent {
		if len(table) < 5 || table[:5] != "imcd_" && table != "version" {
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
