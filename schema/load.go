package schema

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"imcd/engine/store"
)

// Load implements store.Store. All rows are read first, as they were at one moment, and
// kept in a compact form until the rooms are handed on one by one. It must run before the
// first Commit of such rooms, which must know the rows that Load leaves out. fn must not use the
// Store. In the end Load deletes the cursors and rooms whose members or rooms the module has
// deleted; Prune deletes the messages of these rooms later. For a part of the rooms, it reads the
// names of all, and the rest of those alone.
func (s *Store) Load(ctx context.Context, part store.Part, fn func(store.RoomState) error) error {
	left := newLeftovers()
	a := newAssembler(part, &left, s.opts.Log)
	err := s.read(ctx, a, false)
	if err == nil {
		err = a.handOn(fn)
	}
	if err != nil {
		return wrap(ctx, "load the rooms", err)
	}
	for table, odd := range map[string]*oddRows{s.opts.RoomsTable: &a.oddRooms, s.opts.MembersTable: &a.oddMembers} {
		odd.line(s.opts.Log, table).Msg("rows with names that cannot be used are left out")
	}
	a.twice.line(s.opts.Log, s.opts.RoomsTable+", "+s.opts.MembersTable).Msg("rows that are there twice count once")
	if left.orphans > 0 {
		s.opts.Log.Warn().Int("members", left.orphans).Str("table", s.opts.MembersTable).
			Msg("members of rooms that do not exist are ignored")
	}
	s.mu.Lock()
	s.leftovers.replace(part, left)
	s.mu.Unlock()
	s.cleanUp(ctx, part, a.names, a.lost)
	return nil
}

// LoadRooms implements store.Store; the rooms come sorted by name.
func (s *Store) LoadRooms(ctx context.Context, rooms []store.Name) ([]store.RoomState, error) {
	if len(rooms) == 0 {
		return nil, nil
	}
	rows := make([]roomRow, len(rooms))
	for i, n := range rooms {
		if err := checkRoom(n); err != nil {
			return nil, fmt.Errorf("load %d rooms: %w: %w", len(rooms), ErrInvalid, err)
		}
		rows[i] = roomRow{Room: n.URI(), Name: n.User, Domain: n.Host}
	}
	args, err := s.dialect.args(rows)
	if err != nil {
		return nil, err
	}
	left := newLeftovers()
	a := newAssembler(store.Part{}, &left, s.opts.Log)
	var states []store.RoomState
	if err = s.read(ctx, a, true, args...); err == nil {
		err = a.handOn(func(r store.RoomState) error {
			states = append(states, r)
			return nil
		})
	}
	slices.SortFunc(states, func(a, b store.RoomState) int {
		return strings.Compare(a.Room.Name.Key(),
			b.Room.Name.Key())
	})
	return states, wrap(ctx, fmt.Sprintf("load %d rooms", len(rooms)), err)
}

// read gives a what is stored of its part of the rooms, or of some that args name.
func (s *Store) read(ctx context.Context, a *assembler, some bool, args ...any) error {
	query := func(all, ofSome string) string {
		if some {
			return all + ofSome
		}
		return all
	}
	return s.inSnapshot(ctx, func(snap snapshot) error {
		names := query(sqlLoadRooms, sqlOfRooms)
		if err := s.scan(ctx, snap, s.opts.RoomsTable, a.addRoom, names, args...); err != nil {
			return err
		}
		a.dropDuplicates()
		if !some && a.in != nil {
			var err error
			if some = true; len(a.rooms) == 0 {
				return nil
			}
			if args, err = s.dialect.args(a.list()); err != nil {
				return err
			}
		}
		// Members come last: they are the most, and an assembler knows by then where
		// they belong.
		for _, step := range []struct {
			what  string
			query string
			add   func(*row)
		}{
			{"imcd_rooms", query(sqlLoadIDs, sqlOfIDs), a.addID},
			{"imcd_invitations", query(sqlLoadInvitations, sqlOfInvitations), a.addInvitation},
			{"imcd_cursors", query(sqlLoadCursors, sqlOfCursors), a.addCursorRow},
			{"imcd_places", query(sqlLoadPlaces, sqlOfPlaces), a.addPlaces},
			{"imcd_settings", query(sqlLoadSettings, sqlOfSettings), a.addSetting},
		} {
			if err := s.scan(ctx, snap, step.what, step.add, step.query, args...); err != nil {
				return err
			}
		}
		return s.readMembers(ctx, snap, a, query(sqlLoadMembers, sqlOfMembers), args...)
	})
}
