package schema

import (
	"context"
	"database/sql"
	"slices"
	"time"

	"imcd/engine/store"
)

// Bounds of the rows that one Load deletes. The rest harms nobody, and the next Load goes
// on with it.
const (
	cleanUpTime    = 5 * time.Second
	cleanUpRooms   = 10000
	cleanUpCursors = 100000

	// in one transaction
	cleanUpStepRooms   = 20
	cleanUpStepCursors = 2000
)

// cleanUp deletes our rows of rooms and members that the module has deleted meanwhile. lost are the cursors of members.
// If more rooms are lost than are stored, nothing is deleted: rather than the module, a wrong
// rooms_table may have made them vanish. Of a fleet, the engine that loads the first shard looks for
// lost rooms.
func (s *Store) cleanUp(ctx context.Context, part store.Part, stored int, lost []cursorRow) {
	ctx, cancel := context.WithTimeout(ctx, cleanUpTime)
	defer cancel()
	var rooms, cursors int
	var err error
	if part.All() || slices.Contains(part.Shards, 0) {
		rooms, err = s.cleanUpRooms(ctx, stored)
	}
	if err == nil {
		cursors, err = s.cleanUpCursors(ctx, lost)
	}
	if err != nil {
		s.opts.Log.Warn().Err(wrap(ctx, "clean up", err)).Msg("messages of rooms that do not exist are left in the database")
	}
	if rooms+cursors > 0 {
		s.opts.Log.Info().Int("rooms", rooms).Int("cursors", cursors).
			Msg("messages of rooms that do not exist any more, and cursors of members, were deleted")
	}
}

func (s *Store) cleanUpRooms(ctx context.Context, stored int) (n int, err error) {
	lost, err := s.idRows(ctx, s.db, sqlLostRooms, cleanUpRooms)
	if err != nil {
		return 0, err
	}
	if len(lost) > stored {
		s.opts.Log.Warn().Int("rooms", len(lost)).Str("rooms_table", s.opts.RoomsTable).
			Msg("there are messages of many rooms that are not in this table; they are left in the database")
		return 0, nil
	}
	for rooms := range slices.Chunk(lost, cleanUpStepRooms) {
		err := s.inTx(ctx, func(tx *sql.Tx) error {
			return execRows(ctx, s, tx, rooms, dropIDs...)
		})
		if err != nil {
			return n, err
		}
		n += len(rooms)
	}
	return n, nil
}

func (s *Store) cleanUpCursors(ctx context.Context, lost []cursorRow) (n int, err error) {
	for cursors := range slices.Chunk(lost, cleanUpStepCursors) {
		err := s.inTx(ctx, func(tx *sql.Tx) error { return execRows(ctx, s, tx, cursors, sqlDropCursors) })
		if err != nil {
			return n, err
		}
		n += len(cursors)
	}
	return n, nil
}
