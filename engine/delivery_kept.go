package engine

import (
	"time"

	"imcd/engine/store"
)

// Some notices are kept while their user cannot be reached: invitations, and that a user was removed
// from a room, or that the room was destroyed. They are stored by the commit that causes them (an
// invitation by the row of the invited member), and wait in memory for a registration, another sign of
// the user, or offline_retry. Answers to commands are not kept.

const (
	// maxKeptUser bounds the kept notices of one user in a shard; the oldest are dropped.
	maxKeptUser = 32
	// maxKept bounds those of a shard. Further ones stay in the database until the next start.
	maxKept = 1024
	// maxKeptOnce bounds those of one change, as the end of a large room; the others are sent once.
	maxKeptOnce = 1000
	// keptAge is how long they are kept.
	keptAge = 30 * 24 * time.Hour
)

// keep lets n wait for its user, until due at most.
func (d *delivery) keep(st *stream, n note, due time.Time) {
	if d.kept >= maxKept || !d.engine.held.mayKeep() {
		d.engine.metrics.dropped.Inc()
		return
	}
	if len(st.kept) >= maxKeptUser {
		d.unstore(st.kept[0])
		d.engine.metrics.dropped.Inc()
		d.countKept(-1, &st.kept[0])
		st.kept = st.kept[1:]
	}
	if len(st.kept) == 0 {
		d.engine.signs.await(st.key)
		st.due = due
		d.keptDue = append(d.keptDue, keptUntil{st, due})
	}
	n.size, n.via = 0, nil
	st.kept = append(st.kept, n)
	d.countKept(1, &n)
	if n.invite != nil && !n.noted {
		st.kept[len(st.kept)-1].noted = true
		d.owner.invitationWaits(n.room, n.invite)
	}
}

// keepStored keeps a notice that was loaded when the engine starts. Such notices are tried one after the other.
func (d *delivery) keepStored(to store.Name, n note) {
	d.keep(d.streamOf(to), n, d.now.Add(time.Duration(len(d.keptDue)+1)*hurryEach))
}

// countKept adds one (1 or -1) kept notice to the sums.
func (d *delivery) countKept(one int, n *note) {
	d.kept += one
	d.engine.held.kept.Add(int64(one * d.engine.sizeOf(n.out)))
}

// release sends the kept notices of a user, ahead of those that are not under way.
func (d *delivery) release(st *stream) {
	kept := st.kept
	if len(kept) == 0 {
		return
	}
	st.kept = nil
	d.engine.signs.forget(st.key)
	idle := len(st.notes) == 0
	at := 0
	if st.inFlight != nil {
		at = 1 // that one is under way
	}
	rest := append([]note(nil), st.notes[at:]...)
	st.notes = st.notes[:at]
	for _, n := range kept {
		d.countKept(-1, &n)
		if n.invite != nil && !d.isInvited(n.room, n.invite) {
			continue // the invitation was answered or taken back
		}
		n.made, n.size = d.now, d.engine.sizeOf(n.out)
		d.engine.charge(n.size)
		st.notes = append(st.notes, n)
	}
	st.notes = append(st.notes, rest...)
	if idle && len(st.notes) > 0 {
		d.hasNote = append(d.hasNote, st)
	}
	d.forgetStream(st)
}

// releaseDue sends kept notices whose time has come.
func (d *delivery) releaseDue() {
	for len(d.keptDue) > 0 && !d.keptDue[0].due.After(d.now) {
		st, due := d.keptDue[0].stream, d.keptDue[0].due
		d.keptDue[0] = keptUntil{}
		d.keptDue = d.keptDue[1:]
		if d.streams[st.key] == st && st.due.Equal(due) {
			d.release(st)
		}
	}
}

// hurryKept does for kept notices what hurry does for members.
func (d *delivery) hurryKept() {
	for i := range d.keptDue {
		kept := &d.keptDue[i]
		due := d.now.Add(time.Duration(i) * hurryEach)
		if !due.Before(kept.due) {
			continue
		}
		if kept.stream.due.Equal(kept.due) {
			kept.stream.due = due
		}
		kept.due = due
	}
}

// unstore deletes a notice from the database.
func (d *delivery) unstore(n note) {
	if n.stored != 0 {
		d.unstoreID(n.stored)
	}
}

func (d *delivery) unstoreID(id int64) {
	if len(d.dirty)+len(d.doneNotes) == 0 {
		d.flushTimer.Reset(max(d.engine.cfg.CursorFlush/2, d.flushWait))
	}
	d.doneNotes = append(d.doneNotes, id)
}

// unstoreAgain repeats the deletions of a failed commit.
func (d *delivery) unstoreAgain(changes []store.Change) {
	for i := range changes {
		if changes[i].Op == store.DeleteNote {
			d.unstoreID(changes[i].Note.ID)
		}
	}
}

// noteChanges makes the changes that delete notices.
func (d *delivery) noteChanges() []store.Change {
	var changes []store.Change
	for _, id := range d.doneNotes {
		changes = append(changes, store.Change{Op: store.DeleteNote, Note: &store.NoteRow{ID: id}})
	}
	d.doneNotes = nil
	return changes
}

// isInvited reports whether an invitation still holds.
func (d *delivery) isInvited(r *room, m *member) bool {
	return d.rooms[r.key] == r && r.has(m) && m.invited()
}
