package engine

import (
	"context"
	"fmt"
	"time"

	"imcd/engine/store"
	"imcd/evapi"
)

// A notice that its user should have, however late, is kept while the user cannot be
// reached: an invitation, and that it was removed from a room or that the room was
// destroyed. It is in the database from the commit on that brought it about (an
// invitation by the row of the invited), and waits in memory for a registration, for
// another sign of life, or offline_retry. Answers to commands are not kept.

const (
	// maxKeptUser bounds the notices that are kept for one user and shard; the oldest go.
	maxKeptUser = 32
	// maxKept bounds those of a shard. What is more stays in the database, for the next
	// start.
	maxKept = 1024
	// maxKeptOnce bounds those that one change brings about, as the end of a large room;
	// the others are sent, and not kept.
	maxKeptOnce = 1000
	// keptAge is how long they are kept.
	keptAge = 30 * 24 * time.Hour
)

// keptUntil is when the notices kept for a user are tried again, unless stream.due is
// another time: they were sent meanwhile, and are kept again.
type keptUntil struct {
	stream *stream
	due    time.Time
}

// keeps reports whether n waits for its user.
func (n *note) keeps() bool { return n.invite != nil || n.stored != 0 }

// mustKeep reports whether n waits after the outcome r, and does not end with it. Who
// declines what asks to come in has answered.
func (n *note) mustKeep(r evapi.Result) bool {
	switch v := judge(r); {
	case !n.keeps() || v.final() || v == malformed && n.tries >= malformedTries:
		return false
	case n.invite != nil && !r.Local && (r.Code == 603 || r.Code == 607):
		return false
	}
	return true
}

// keep lets n wait, until due at most.
func (s *shard) keep(st *stream, n note, due time.Time) {
	if s.kept >= maxKept || !s.engine.held.mayKeep() {
		s.engine.metrics.dropped.Inc()
		return
	}
	if len(st.kept) >= maxKeptUser {
		s.unstore(st.kept[0])
		s.engine.metrics.dropped.Inc()
		s.countKept(-1, &st.kept[0])
		st.kept = st.kept[1:]
	}
	if len(st.kept) == 0 {
		s.engine.signs.await(st.key)
		st.due = due
		s.keptDue = append(s.keptDue, keptUntil{st, due})
	}
	n.size, n.via = 0, nil
	st.kept = append(st.kept, n)
	s.countKept(1, &n)
	if n.invite != nil && !n.noted {
		st.kept[len(st.kept)-1].noted = true
		s.invitationWaits(n.room, n.invite)
	}
}

// countKept counts one more notice that is kept, or one less.
func (s *shard) countKept(one int, n *note) {
	s.kept += one
	s.engine.held.kept.Add(int64(one * s.engine.sizeOf(n.out)))
}

// release sends what is kept for a user, ahead of what is not under way yet.
func (s *shard) release(st *stream) {
	kept := st.kept
	if len(kept) == 0 {
		return
	}
	st.kept = nil
	s.engine.signs.forget(st.key)
	idle := len(st.notes) == 0
	at := 0
	if st.flight != nil {
		at = 1 // that one is under way
	}
	rest := append([]note(nil), st.notes[at:]...)
	st.notes = st.notes[:at]
	for _, n := range kept {
		s.countKept(-1, &n)
		if n.invite != nil && !s.isInvited(n.room, n.invite) {
			continue // it is not true any more
		}
		n.made, n.size = s.now, s.engine.sizeOf(n.out)
		s.engine.charge(n.size)
		st.notes = append(st.notes, n)
	}
	st.notes = append(st.notes, rest...)
	if idle && len(st.notes) > 0 {
		s.hasNote = append(s.hasNote, st)
	}
	s.forgetStream(st)
}

// releaseDue sends what was kept for long.
func (s *shard) releaseDue() {
	for len(s.keptDue) > 0 && !s.keptDue[0].due.After(s.now) {
		st, due := s.keptDue[0].stream, s.keptDue[0].due
		s.keptDue[0] = keptUntil{}
		s.keptDue = s.keptDue[1:]
		if s.streams[st.key] == st && st.due.Equal(due) {
			s.release(st)
		}
	}
}

// hurryKept brings forward what is kept, as hurry does for members.
func (s *shard) hurryKept() {
	for i := range s.keptDue {
		kept := &s.keptDue[i]
		due := s.now.Add(time.Duration(i) * hurryEach)
		if !due.Before(kept.due) {
			continue
		}
		if kept.stream.due.Equal(kept.due) {
			kept.stream.due = due
		}
		kept.due = due
	}
}

// unstore takes a notice out of the database that need not be kept any more.
func (s *shard) unstore(n note) {
	if n.stored != 0 {
		s.unstoreID(n.stored)
	}
}

func (s *shard) unstoreID(id int64) {
	if len(s.dirty)+len(s.doneNotes) == 0 {
		s.flushTimer.Reset(max(s.engine.cfg.CursorFlush/2, s.flushWait))
	}
	s.doneNotes = append(s.doneNotes, id)
}

// unstoreAgain does so after a commit that has failed.
func (s *shard) unstoreAgain(changes []store.Change) {
	for i := range changes {
		if changes[i].Op == store.DeleteNote {
			s.unstoreID(changes[i].Note.ID)
		}
	}
}

// noteChanges deletes what need not be kept any more.
func (s *shard) noteChanges() []store.Change {
	var changes []store.Change
	for _, id := range s.doneNotes {
		changes = append(changes, store.Change{Op: store.DeleteNote, Note: &store.NoteRow{ID: id}})
	}
	s.doneNotes = nil
	return changes
}

// tellKept is tell for a notice that its user gets when it is there.
func (c *call) tellKept(to store.Name, notice string, v vars) {
	text := c.format(notice, v)
	c.keepText(to, text, say{to: to})
}

// keepText queues a text to one user that is kept until the user is there.
func (c *call) keepText(to store.Name, text string, y say) {
	n := len(c.tx.says)
	c.speak(text, y)
	if c.req != nil && to.Key() == c.req.fromKey() || len(c.tx.says) == n || c.tx.kept >= maxKeptOnce {
		return // an answer, or none
	}
	c.tx.kept++
	row := &store.NoteRow{ID: newRoomID(), Room: c.from(), User: to, Body: []byte(text), At: c.shard.now}
	c.tx.says[n].stored = row.ID
	c.tx.changes = append(c.tx.changes, store.Change{Op: store.PutNote, Note: row})
}

// loadNotes takes over what was kept when the engine ended. It is sent one after the
// other, as to those who are offline.
func (e *Engine) loadNotes(ctx context.Context) error {
	rows, err := e.store.Notes(ctx, maxKept*len(e.shards))
	if err != nil {
		return fmt.Errorf("loading notices: %w", err)
	}
	for i := range rows {
		row := &rows[i]
		if time.Since(row.At) > keptAge {
			continue
		}
		out, err := e.composeNotice(row.Room, string(row.Body), "", row.At)
		if err != nil {
			e.log.Warn().Err(err).Msg("notice cannot be sent")
			continue
		}
		s := e.shardOf(row.Room)
		s.keep(s.streamOf(row.User), note{out: out, stored: row.ID, made: row.At},
			s.now.Add(time.Duration(len(s.keptDue)+1)*hurryEach))
	}
	return nil
}
