package schema

import (
	"context"
	"database/sql"
	"slices"
	"strings"

	"imcd/engine/store"
)

// Handback is what HandBack has found in the tables of Kamailio's imc module, and done.
// Rooms are named by their URIs.
type Handback struct {
	Reordered  []string // the owner comes first now, and did not before
	Disordered []string // the owner still does not come first
	Empty      []string // without members: the module stops loading rooms at the first of these
}

const (
	// reorderRooms is how many rooms one transaction of HandBack writes again, so that
	// a second call goes on where the first one ended.
	reorderRooms = 20
	// reorderRounds bounds how often the rows of a room are written again. A round
	// can fail to bring the order when the free space that it fills lies partly
	// before the owner's; the next one starts behind what this one filled.
	reorderRounds = 5
)

const sqlEmptyRooms = `SELECT u.room FROM (SELECT 'sip:' || name || '@' || domain AS room FROM {rooms}) u
	WHERE NOT EXISTS (SELECT 1 FROM {members} m WHERE m.room = u.room) ORDER BY u.room`

// HandBack makes the tables fit for the imc module, which takes the first member of a room
// that the database returns for its owner. No imcd may work with the database: use
// Options.Lease and OwnNow. It may be called again after an error.
func (s *Store) HandBack(ctx context.Context) (Handback, error) {
	var h Handback
	err := s.ownersFirst(ctx, &h)
	if err == nil {
		h.Empty, err = stringsOf(ctx, s.db, s.names.Replace(sqlEmptyRooms))
	}
	return h, wrap(ctx, "hand the tables back", err)
}

// ownersFirst puts the owner first in every room where that order got lost.
func (s *Store) ownersFirst(ctx context.Context, h *Handback) error {
	find, rewrite := s.dialect.ownerFirst()
	if find == "" {
		return nil
	}
	wrong, err := stringsOf(ctx, s.db, s.names.Replace(strings.Replace(find, "{where}", "", 1)))
	if err != nil {
		return err
	}
	slices.Sort(wrong)
	var f store.Fence
	for rooms := range slices.Chunk(wrong, reorderRooms) {
		still := rooms
		f.Batch++
		err := s.inTx(ctx, func(tx *sql.Tx) error {
			err := s.begin(ctx, tx, f, nil)
			for round := 0; err == nil && round < reorderRounds && len(still) > 0; round++ {
				still, err = s.reorder(ctx, tx, find, rewrite, still)
			}
			return err
		})
		if err != nil {
			return s.settle(ctx, f, err)
		}
		for _, room := range rooms {
			if slices.Contains(still, room) {
				h.Disordered = append(h.Disordered, room)
			} else {
				h.Reordered = append(h.Reordered, room)
			}
		}
	}
	return nil
}

// reorder writes the rows of the rooms again, owner first, and returns the rooms whose owner
// still does not come first.
func (s *Store) reorder(ctx context.Context, tx *sql.Tx, find, rewrite string, rooms []string) ([]string, error) {
	rows := make([]roomRow, len(rooms))
	for i, uri := range rooms {
		rows[i] = roomRow{Room: uri}
	}
	args, err := s.dialect.args(rows)
	if err != nil {
		return nil, err
	}
	if _, err := tx.ExecContext(ctx, s.names.Replace(rewrite), args...); err != nil {
		return nil, err
	}
	find = strings.Replace(find, "{where}", " WHERE m.room {of_rooms}", 1)
	return stringsOf(ctx, tx, s.names.Replace(find), args...)
}
