package engine

import (
	"time"

	"imcd/engine/store"
)

// refusedCursor is a cursor, or what all members of a room have got, or their places,
// that the database does not take. Until it does, the member stands where the room does
// when the engine is started again.
type refusedCursor struct {
	next time.Time     // when it is tried again
	wait time.Duration // after that
}

// cursorKey names it; user is that of a PutCursor.
type cursorKey struct {
	op   store.Op
	room int64
	user string
}

func keyOfCursor(c *store.Change) cursorKey {
	switch c.Op {
	case store.PutCursor:
		return cursorKey{store.PutCursor, c.Cursor.Room, c.Cursor.User.Key()}
	case store.PutPlaces:
		return cursorKey{op: store.PutPlaces, room: c.Places.Room}
	case store.DeleteNote:
		return cursorKey{op: store.DeleteNote, room: c.Note.ID} // of no room, but alike: to be written again
	}
	return cursorKey{op: store.PutProgress, room: c.Progress.Room}
}

// maxRefusedCursors bounds how many a shard remembers; the others are tried each time
// that they move.
const maxRefusedCursors = 10000

// unstored notes the cursors of rooms that were refused: they are not tried again at
// once.
func (s *shard) unstored(rooms []*room, changes []store.Change) {
	byID := make(map[int64]*room, len(rooms))
	for _, r := range rooms {
		byID[r.id] = r
	}
	for i := range changes {
		key := keyOfCursor(&changes[i])
		if was, known := s.refusedCursors[key]; known || len(s.refusedCursors) < maxRefusedCursors {
			wait := longer(was.wait, flushWaitMin, flushWaitRefused)
			s.refusedCursors[key] = refusedCursor{next: s.now.Add(wait), wait: wait}
		}
		r := byID[key.room]
		if r == nil || s.rooms[r.key] != r {
			continue
		}
		s.held[r] = struct{}{} // which is looked at again
		switch m := r.get(key.user); {
		case key.op == store.PutProgress:
			r.done = 0
		case key.op == store.PutPlaces:
			s.placed[r] = true
		case key.op == store.PutCursor && m != nil:
			m.tracked, m.stored = true, unknown
		}
	}
}

// storedAgain forgets that cursors were refused which have been stored now.
func (s *shard) storedAgain(changes []store.Change) {
	if len(s.refusedCursors) == 0 {
		return
	}
	for i := range changes {
		key := keyOfCursor(&changes[i])
		if refused, known := s.refusedCursors[key]; known && !s.now.Before(refused.next) {
			delete(s.refusedCursors, key)
		}
	}
}

// isRefused tells a cursor that is not to be tried now. At the end all are.
func (s *shard) isRefused(key cursorKey) bool {
	if len(s.refusedCursors) == 0 || s.ending {
		return false
	}
	refused, known := s.refusedCursors[key]
	return known && s.now.Before(refused.next)
}
