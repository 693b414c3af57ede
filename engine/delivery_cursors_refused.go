package engine

import "imcd/engine/store"

// maxRefusedCursors bounds how many a shard remembers; others are tried each time they move.
const maxRefusedCursors = 10000

// unstored notes refused rows, so that they are not tried again at once.
func (d *delivery) unstored(rooms []*room, changes []store.Change) {
	byID := make(map[int64]*room, len(rooms))
	for _, r := range rooms {
		byID[r.id] = r
	}
	for i := range changes {
		key := keyOfCursor(&changes[i])
		if was, known := d.refusedCursors[key]; known || len(d.refusedCursors) < maxRefusedCursors {
			wait := longer(was.wait, flushWaitMin, flushWaitRefused)
			d.refusedCursors[key] = refusedCursor{next: d.now.Add(wait), wait: wait}
		}
		r := byID[key.room]
		if r == nil || d.rooms[r.key] != r {
			continue
		}
		d.held[r] = struct{}{} // it is looked at again
		switch m := r.get(key.user); {
		case key.op == store.PutProgress:
			r.done = 0
		case key.op == store.PutPlaces:
			d.placed[r] = true
		case key.op == store.PutCursor && m != nil:
			m.tracked, m.stored = true, unknown
		}
	}
}

// storedAgain forgets refused rows that are stored now.
func (d *delivery) storedAgain(changes []store.Change) {
	if len(d.refusedCursors) == 0 {
		return
	}
	for i := range changes {
		key := keyOfCursor(&changes[i])
		if refused, known := d.refusedCursors[key]; known && !d.now.Before(refused.next) {
			delete(d.refusedCursors, key)
		}
	}
}

// isRefused reports whether a row must not be tried now. When the engine ends, all rows are tried.
func (d *delivery) isRefused(key cursorKey) bool {
	if len(d.refusedCursors) == 0 || d.ending {
		return false
	}
	refused, known := d.refusedCursors[key]
	return known && d.now.Before(refused.next)
}
