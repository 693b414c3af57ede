package engine

import (
	"errors"
	"time"

	"imcd/engine/store"
)

// unknown is a stored number that is to be written again in any case.
const unknown = ^uint64(0)

// markDirty notes that members of r have moved. Their cursors are written a moment
// later, with those of other rooms: half of the time that this may take passes here,
// half in the committer.
func (s *shard) markDirty(r *room) {
	if len(s.dirty) == 0 {
		s.flushTimer.Reset(max(s.engine.cfg.CursorFlush/2, s.flushWait))
	}
	s.dirty[r] = struct{}{}
}

// Bounds of the wait after cursors could not be written. It doubles from the first to
// one of the others: while the database is away, and when it refuses them.
const (
	flushWaitMin     = 250 * time.Millisecond
	flushWaitAway    = 4 * time.Second
	flushWaitRefused = time.Minute
)

// flushed notes how writing the cursors of rooms ended.
func (s *shard) flushed(rooms []*room, changes []store.Change, err error) {
	s.flushing -= len(rooms)
	if refused := new(refusedChanges); errors.As(err, &refused) {
		s.unstored(rooms, refused.changes)
		err = nil // of the others
	}
	if err == nil {
		s.flushWait = 0
		s.storedAgain(changes)
		return
	}
	s.flushWait = longer(s.flushWait, flushWaitMin, patience(err))
	s.rewrite(rooms)
	s.unstoreAgain(changes)
}

// flush writes how far the members of rooms have come. then, if not nil, is
// called with the outcome, once this and all that was to be written before is: the
// engine ends.
func (s *shard) flush(then func(error)) {
	if then != nil {
		s.ending = true
		s.writeHeld()
		s.writePlaces()
	}
	var changes []store.Change
	var rooms []*room
	for r := range s.dirty {
		if s.rooms[r.key] != r || r.inflight > 0 && !r.stored {
			continue
		}
		rooms = append(rooms, r)
		changes = append(changes, s.cursorChanges(r)...)
		switch {
		case !s.placed[r] || !r.stored:
		case s.isRefused(cursorKey{op: store.PutPlaces, room: r.id}):
			s.held[r] = struct{}{}
		default:
			changes = append(changes, s.placesChange(r))
		}
	}
	clear(s.dirty)
	changes = append(changes, s.noteChanges()...)
	if len(changes) == 0 && then == nil {
		return
	}
	s.flushing += len(rooms)
	s.engine.committer.put(&tx{shard: s, changes: changes, lazy: then == nil, apart: true, after: func(err error) {
		s.flushed(rooms, changes, err)
		if then != nil {
			then(err)
		}
	}})
}

// writeHeld looks again at rooms in which a copy without outcome held down what is
// known of the others: it may be slow by now. And at those with refused cursors.
func (s *shard) writeHeld() {
	for r := range s.held {
		s.markDirty(r)
	}
	clear(s.held)
}

// cursorChanges says how far the members of r have come, in few rows: one number
// for all that keep up, and a row for each that does not.
func (s *shard) cursorChanges(r *room) []store.Change {
	if !r.stored {
		return nil // no message yet
	}
	var changes []store.Change
	put := func(m *member, remove bool) {
		if s.isRefused(cursorKey{store.PutCursor, r.id, m.key}) {
			s.held[r] = struct{}{}
			return
		}
		m.tracked, m.stored = !remove, m.cursor
		changes = append(changes, store.Change{Op: store.PutCursor,
			Cursor: &store.CursorRow{Room: r.id, User: m.name(), Seq: m.cursor, Remove: remove}})
	}
	done := r.last
	for _, m := range r.order {
		switch {
		case !m.live:
		case !s.lags(r, m):
			done = min(done, m.cursor)
		case !m.tracked || m.stored != m.cursor:
			put(m, false)
		}
	}
	if done < r.last {
		s.held[r] = struct{}{}
	}
	done = max(done, r.done)
	for _, m := range r.order {
		if !m.live || !m.tracked || s.lags(r, m) {
			continue
		}
		if m.cursor >= done && m.stored <= done {
			put(m, true)
		} else if m.stored != m.cursor {
			put(m, false)
		}
	}
	switch {
	case done == r.done:
	case s.isRefused(cursorKey{op: store.PutProgress, room: r.id}):
		s.held[r] = struct{}{}
	default:
		r.done = done
		changes = append(changes, store.Change{Op: store.PutProgress, Progress: &store.ProgressRow{Room: r.id, Done: done}})
	}
	return changes
}

// lags tells a member that does not keep up with its room, or has waited aside for a while.
// At the end nobody waits for it any more.
func (s *shard) lags(r *room, m *member) bool {
	switch {
	case m.mode != following:
		return true
	case m.flight != nil:
		return s.ending || s.age(m.flight) > slowAfter
	case m.queued != noQueue && m.next < r.log.end():
		return s.ending || m.queued == beside && s.now.Sub(r.log.at(max(m.next, r.log.base)).at) > slowAfter
	}
	return false
}

// rewrite makes the next flush write everything of these rooms: what the
// database has is not known.
func (s *shard) rewrite(rooms []*room) {
	for _, r := range rooms {
		if s.rooms[r.key] != r {
			continue
		}
		for _, m := range r.order {
			m.tracked, m.stored = true, unknown
		}
		r.done = 0
		if len(r.places) > 0 {
			s.placed[r] = true
		}
		s.markDirty(r)
	}
}

// newStoppedTimer makes a timer that waits for its first Reset.
func newStoppedTimer() *time.Timer {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}
