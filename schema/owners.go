package schema

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
)

// The order of rows (see package doc) is brought about when the store is closed, and then
// nobody else writes to the rows. It costs no commit anything.

const (
	// maxDisordered bounds the rooms of which it is known that their order may be lost.
	// If there are more, Close looks at all.
	maxDisordered = 10000
	// reorderRooms is how many rooms a transaction of Close writes again, so that what it
	// has done by the end of its time stays.
	reorderRooms = 20
	// reorderRounds bounds how often the rows of a room are written again. A round
	// can fail to bring the order when the free space that it fills lies partly
	// before the owner's; the next one starts behind what this one filled.
	reorderRounds = 5
)

// disordered are the rooms in which a member's row was written since Open, or whose owner
// did not come first when they were loaded. The zero value has none.
type disordered struct {
	rooms map[string]struct{} // by URI; empty if all is set
	all   bool
}

func (d *disordered) add(room string) {
	if d.all {
		return
	}
	if d.rooms == nil {
		d.rooms = make(map[string]struct{})
	}
	if d.rooms[room] = struct{}{}; len(d.rooms) > maxDisordered {
		d.rooms, d.all = nil, true
	}
}

// list returns the URIs; nil if all is set.
func (d *disordered) list() []string {
	if d.all {
		return nil
	}
	rooms := make([]string, 0, len(d.rooms))
	for room := range d.rooms {
		rooms = append(rooms, room)
	}
	slices.Sort(rooms)
	return rooms
}

// ownersFirst puts the owner first in every room where that order got lost.
func (s *Store) ownersFirst(ctx context.Context) error {
	s.mu.Lock()
	all, rooms := s.disordered.all, s.disordered.list()
	s.mu.Unlock()
	find, rewrite := s.dialect.ownerFirst()
	if find == "" || !all && len(rooms) == 0 {
		return nil
	}
	const doing = "put owners first"
	wrong, err := s.findWrong(ctx, s.db, find, rooms)
	if err != nil {
		return wrap(ctx, doing, err)
	}
	slices.Sort(wrong)
	for rooms := range slices.Chunk(wrong, reorderRooms) {
		err := s.inTx(ctx, func(tx *sql.Tx) error { return s.reorder(ctx, tx, find, rewrite, rooms) })
		if err != nil {
			return wrap(ctx, doing, err)
		}
	}
	return nil
}

// reorder does so in the given rooms (URIs), in which the order is lost.
func (s *Store) reorder(ctx context.Context, tx *sql.Tx, find, rewrite string, rooms []string) error {
	for range reorderRounds {
		if err := execRows(ctx, s, tx, roomRows(rooms), rewrite); err != nil {
			return err
		}
		var err error
		if rooms, err = s.findWrong(ctx, tx, find, rooms); err != nil || len(rooms) == 0 {
			return err
		}
	}
	s.opts.Log.Warn().Int("rooms", len(rooms)).
		Msg("the owner may not be the first member that Kamailio's imc module reads")
	return nil
}

// findWrong returns those of rooms in which the order is lost; nil: of all rooms.
func (s *Store) findWrong(ctx context.Context, q querier, find string, rooms []string) ([]string, error) {
	if rooms == nil {
		return stringsOf(ctx, q, s.names.Replace(strings.Replace(find, "{where}", "", 1)))
	}
	args, err := s.dialect.args(roomRows(rooms))
	if err != nil {
		return nil, fmt.Errorf("find rooms: %w", err)
	}
	where := " WHERE m.room {of_rooms}"
	return stringsOf(ctx, q, s.names.Replace(strings.Replace(find, "{where}", where, 1)), args...)
}

func roomRows(uris []string) []roomRow {
	rows := make([]roomRow, len(uris))
	for i, uri := range uris {
		rows[i] = roomRow{Room: uri}
	}
	return rows
}
