package schema

import (
	"context"
	"database/sql"
	"fmt"
	"strings"

	"imcd/engine"
)

// Load implements engine.Store: a single query, whose rows are handed on as they
// come. It must run before the first Commit, which relies on what Load learns of
// rows that it leaves out. fn must not use the Store. In the end it deletes what
// it did not load: messages and cursors of rooms and members that the module has
// deleted.
func (s *Store) Load(ctx context.Context, fn func(engine.RoomState) error) error {
	query := strings.NewReplacer("{and_rooms}", "", "{and_members}", "", "{where_cursors}", "").Replace(sqlLoad)
	left := newLeftovers()
	rooms := 0
	lost, err := s.load(ctx, &left, func(r engine.RoomState) error {
		rooms++
		return fn(r)
	}, query)
	if err != nil {
		return wrap(ctx, "load the rooms", err)
	}
	if err := s.deletedRooms(ctx, &left); err != nil {
		return wrap(ctx, "load the deleted rooms", err)
	}
	if left.orphans > 0 {
		s.opts.Log.Warn().Int("members", left.orphans).Str("table", s.opts.MembersTable).
			Msg("members of rooms that do not exist are ignored")
	}
	s.mu.Lock()
	s.leftovers = left
	s.mu.Unlock()
	s.cleanUp(ctx, rooms, lost)
	return nil
}

// LoadRooms implements engine.Store.
func (s *Store) LoadRooms(ctx context.Context, rooms []engine.Name) ([]engine.RoomState, error) {
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
	query := strings.NewReplacer("{and_rooms}", sqlAndRooms, "{and_members}", sqlAndMembers,
		"{where_cursors}", sqlWhereCursors).Replace(sqlLoad)
	left := newLeftovers()
	var states []engine.RoomState
	_, err = s.load(ctx, &left, func(r engine.RoomState) error {
		states = append(states, r)
		return nil
	}, query, args...)
	return states, wrap(ctx, fmt.Sprintf("load %d rooms", len(rooms)), err)
}

// load returns the cursors of who is no member any more.
func (s *Store) load(ctx context.Context, left *leftovers, fn func(engine.RoomState) error, query string, args ...any) (lost []cursorRow, err error) {
	rows, err := s.db.QueryContext(ctx, s.names.Replace(query), args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	a := assembler{fn: fn, left: left, log: s.opts.Log}
	for rows.Next() {
		var r loadedRow
		if err := rows.Scan(&r.folded, &r.kind, &r.room, &r.name.User, &r.name.Host, &r.flag,
			&r.id, &r.seq, &r.done, &r.inviter.User, &r.inviter.Host, &r.told); err != nil {
			return nil, err
		}
		if err := a.add(&r); err != nil {
			return nil, err
		}
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	return a.lost, a.flush()
}

// deletedRooms remembers the rooms that are marked deleted: a new room of that
// name gets a row of its own age.
func (s *Store) deletedRooms(ctx context.Context, left *leftovers) error {
	var rows *sql.Rows
	rows, err := s.db.QueryContext(ctx, s.names.Replace("SELECT name, domain FROM {rooms} WHERE (flag & 2) <> 0"))
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var n engine.Name
		if err := rows.Scan(&n.User, &n.Host); err != nil {
			return err
		}
		left.addRoom(n)
	}
	return rows.Err()
}
