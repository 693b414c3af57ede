package engine

import (
	"errors"
	"time"

	"imcd/engine/store"
)

// unknownCursor is a stored number that must be written again in any case.
const unknownCursor = ^uint64(0)

// flushed takes the outcome of a flush.
func (d *delivery) flushed(rooms []*room, changes []store.Change, err error) {
	d.flushing -= len(rooms)
	if refused := new(refusedChanges); errors.As(err, &refused) {
		d.unstored(rooms, refused.changes)
		err = nil // of the others
	}
	if err == nil {
		d.flushWait = 0
		d.storedAgain(changes)
		return
	}
	d.flushWait = longer(d.flushWait, flushWaitMin, patience(err))
	d.rewrite(rooms)
	d.unstoreAgain(changes)
}

// flush writes the cursors of all rooms that have changed. then is nil except when the engine ends: it
// is called with the outcome once everything is written.
func (d *delivery) flush(then func(error)) {
	if then != nil {
		d.ending = true
		d.storeRaised()
		d.writeHeld()
		d.writePlaces()
	}
	var changes []store.Change
	var rooms []*room
	for r := range d.dirty {
		if d.rooms[r.key] != r || r.committing > 0 && !r.stored {
			continue
		}
		rooms = append(rooms, r)
		changes = append(changes, d.cursorChanges(r)...)
		switch {
		case !d.placed[r] || !r.stored:
		case d.isRefused(cursorKey{op: store.PutPlaces, room: r.id}):
			d.held[r] = struct{}{}
		default:
			changes = append(changes, d.placesChange(r))
		}
	}
	clear(d.dirty)
	changes = append(changes, d.noteChanges()...)
	if len(changes) == 0 && then == nil {
		return
	}
	d.flushing += len(rooms)
	d.owner.store(changes, then == nil, func(err error) {
		d.flushed(rooms, changes, err)
		if then != nil {
			then(err)
		}
	})
}

// writeHeld looks again at rooms with a copy that held back the number for all, which may be slow by
// now, at rooms with refused cursors, and at notices whose deletion was refused.
func (d *delivery) writeHeld() {
	for r := range d.held {
		d.markDirty(r)
	}
	clear(d.held)
	held := d.heldNotes
	d.heldNotes = nil
	for _, id := range held {
		if d.isRefused(cursorKey{op: store.DeleteNote, room: id}) {
			d.heldNotes = append(d.heldNotes, id)
		} else {
			d.unstoreID(id)
		}
	}
}

// cursorChanges makes the rows for r: one number for all members that keep up, and a cursor for each one
// that lags.
func (d *delivery) cursorChanges(r *room) []store.Change {
	if !r.stored {
		return nil // no message yet
	}
	var changes []store.Change
	put := func(m *member, remove bool) {
		if d.isRefused(cursorKey{store.PutCursor, r.id, m.key}) {
			d.held[r] = struct{}{}
			return
		}
		m.tracked, m.stored = !remove, d.written(m)
		changes = append(changes, store.Change{Op: store.PutCursor,
			Cursor: &store.CursorRow{Room: r.id, User: m.name(), Seq: m.stored, Remove: remove}})
	}
	done := r.last
	for _, m := range r.order {
		switch {
		case !m.live:
		case !d.lags(r, m):
			done = min(done, d.written(m))
		case !m.tracked || m.stored != d.written(m):
			put(m, false)
		}
	}
	if done < r.last {
		d.held[r] = struct{}{}
	}
	done = max(done, r.done)
	for _, m := range r.order {
		if !m.live || !m.tracked || d.lags(r, m) {
			continue
		}
		if at := d.written(m); at >= done && m.stored <= done {
			put(m, true)
		} else if m.stored != at {
			put(m, false)
		}
	}
	switch {
	case done == r.done:
	case d.isRefused(cursorKey{op: store.PutProgress, room: r.id}):
		d.held[r] = struct{}{}
	default:
		r.done = done
		changes = append(changes, store.Change{Op: store.PutProgress, Progress: &store.ProgressRow{Room: r.id, Done: done}})
	}
	return changes
}

// lags reports whether m does not keep up with its room, or has waited aside for long. When the engine
// ends, every member with something to get does.
func (d *delivery) lags(r *room, m *member) bool {
	switch {
	case m.mode != following:
		return true
	case d.slowDevice(m):
		return true
	case m.inFlight != nil:
		return d.ending || d.age(m.inFlight) > slowAfter
	case m.queued != noQueue && m.next < r.log.end():
		return d.ending || m.queued == beside && d.now.Sub(r.log.at(max(m.next, r.log.base)).at) > slowAfter
	}
	return false
}

// rewrite makes the next flush write everything of these rooms: it is not known what the database has.
func (d *delivery) rewrite(rooms []*room) {
	for _, r := range rooms {
		if d.rooms[r.key] != r {
			continue
		}
		for _, m := range r.order {
			m.tracked, m.stored = true, unknownCursor
		}
		r.done = 0
		if len(r.places) > 0 {
			d.placed[r] = true
		}
		d.markDirty(r)
	}
}

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
		if key.op == store.DeleteNote {
			d.heldNotes = append(d.heldNotes, key.room)
			continue
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
			m.tracked, m.stored = true, unknownCursor
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

// writePlaces lets the changed places be written with the cursors of their rooms.
func (d *delivery) writePlaces() {
	if len(d.placed) == 0 || d.now.Sub(d.placesAt) < placesFlush && !d.ending {
		return
	}
	d.placesAt = d.now
	for r := range d.placed {
		d.placed[r] = true
		d.markDirty(r)
	}
}

// placesFlush is how long places may wait to be written. A crash sets them back by so much.
const placesFlush = time.Second
