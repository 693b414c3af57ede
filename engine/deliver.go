package engine

import (
	"errors"
	"time"

	"imcd/evapi"
)

// appendLog queues e for all who follow the log of r. receipt, which may be nil, is what
// its sender gets of it.
func (s *shard) appendLog(r *room, e entry, receipt *openReceipt) {
	if e.seq > 0 {
		r.last, r.author = e.seq, e.skip
		s.markDirty(r)
		if receipt != nil {
			s.openReceipt(r, receipt)
		}
	}
	e.owed = r.followers
	if e.owed == 0 {
		r.log.gone = max(r.log.gone, e.seq)
		s.engine.charge(-e.size)
		return
	}
	r.log.append(e)
	for len(r.log.entries) > s.engine.cfg.LogEntries || r.log.bytes > s.engine.cfg.LogBytes {
		if r.log.entries[0].seq == 0 {
			s.engine.metrics.dropped.Add(float64(r.log.entries[0].owed))
		}
		s.evict(r)
	}
	away := false
	for _, m := range r.order {
		s.setReady(r, m)
		away = away || m.mode == waiting
	}
	if away && e.seq > 0 {
		s.probe(r)
	}
}

// setReady queues m for its turn if it has something to get, and its window is open.
func (s *shard) setReady(r *room, m *member) {
	if !m.live || m.queued != noQueue || m.loading || !s.hasNext(r, m) {
		return
	}
	m.queued = ready
	r.ready = append(r.ready, m)
	if !r.turn {
		r.turn = true
		s.turns = append(s.turns, r)
	}
}

// hasNext reports whether there is something to send to m now.
func (s *shard) hasNext(r *room, m *member) bool {
	if m.flight != nil {
		return s.seekAhead(r, m)
	}
	return s.seekNext(r, m)
}

// seekNext moves m over what it does not get. It reports whether there is
// something to send.
func (s *shard) seekNext(r *room, m *member) bool {
	switch {
	case m.mode == waiting:
		return false
	case m.unshown > 0 && !m.deaf:
		return true
	case m.mode == following:
		return s.seek(r, m)
	}
	return s.seekPage(r, m)
}

// seek is seekNext in the log. A member that the log does not have everything
// for any more goes on from the database.
func (s *shard) seek(r *room, m *member) bool {
	if m.next < r.log.base && m.cursor < r.log.gone {
		excuse := m.excuse
		s.unfollow(r, m)
		m.excuse = excuse // that the log is full may be because of the load
		s.load(r, m)
		return false
	}
	m.next = max(m.next, r.log.base)
	for m.next < r.log.end() {
		e := r.log.at(m.next)
		if r.owes(m, e.skip, e.seq) {
			if !s.expired(e.expires) {
				return true
			}
			s.countExpired(e.seq)
		}
		s.pass(r, m)
	}
	m.wait = nil // nothing is owed to it
	return false
}

// expired reports whether what expires at a time, zero for never, is not delivered any
// more.
func (s *shard) expired(at time.Time) bool { return !at.IsZero() && !s.now.Before(at) }

// countExpired counts a message that a member does not get for that; 0: it is a line
// before one.
func (s *shard) countExpired(seq uint64) {
	if seq > 0 {
		s.engine.metrics.expired.Inc()
	}
}

// pass moves m over one entry of the log.
func (s *shard) pass(r *room, m *member) {
	if m.next >= r.log.base {
		e := r.log.at(m.next)
		e.owed--
		if e.seq > m.cursor {
			m.cursor = e.seq
			s.markDirty(r)
		}
		s.engine.charge(-r.log.trim())
	}
	m.next++
}

// turnCopies is how many copies a room sends in its turn. Copies of one message
// travel together, and cost less the more of them do.
const turnCopies = 64

// pump sends what can be sent: answers first, then some copies per room and turn,
// as long as there are credits. When the engine is ending nothing goes whose arrival
// is to be noted.
func (s *shard) pump() {
	defer s.engine.credits.done(s.inbox)
	for len(s.hasNote) > 0 {
		st := s.hasNote[0]
		stays := s.ending && st.notes[0].keeps() // in the database, for the next start
		if !stays && !s.sendNote(st) {
			return
		}
		s.hasNote[0] = nil
		s.hasNote = s.hasNote[1:]
	}
	for len(s.repeats) > 0 && !s.ending {
		if f := s.repeats[0]; !f.over && !s.repeat(f) {
			return
		}
		s.repeats[0] = nil
		s.repeats = s.repeats[1:]
	}
	s.trySuspects()
	for len(s.turns) > 0 && !s.ending {
		r := s.turns[0]
		if !s.turn(r) {
			return
		}
		s.spent = 0
		s.turns[0] = nil
		s.turns = s.turns[1:]
		if len(r.ready) > 0 {
			s.turns = append(s.turns, r)
		} else {
			r.ready, r.turn = nil, false
		}
	}
}

// turn sends copies to members of r that are ready. False: the rest of its turn
// not now.
func (s *shard) turn(r *room) bool {
	for ; s.spent < turnCopies && len(r.ready) > 0; s.spent++ {
		m := r.ready[0]
		m.queued = noQueue // what cannot be sent ever is settled at once, and what comes next may go
		switch {
		case !m.live || m.loading || !s.hasNext(r, m):
			s.letNext(m.key)
		case !s.waitsAside(r, m) && !s.send(r, m):
			m.queued = ready
			return false
		}
		r.ready[0] = nil
		r.ready = r.ready[1:]
	}
	return true
}

// send sends m its next copy. False: not now; nothing has changed then.
func (s *shard) send(r *room, m *member) bool {
	f, next, err := s.nextCopy(r, m)
	f.room, f.member = r, m
	if s.engine.cfg.MemberWindow > 1 && s.underWay(r, m, s.copyID(f), next) {
		return true
	}
	size := 0
	if err == nil {
		size = f.out.BodyLen()
	}
	f.credit = weigh(size)
	f.credit.suspect = m.suspect()
	if !s.engine.credits.take(s.inbox, f.credit) {
		return false
	}
	f.id = s.copyID(f)
	seen := s.engine.credits.drained.Load()
	if err == nil {
		f.conn, err = s.engine.relay.Send(f.conn, evapi.Copy{Out: f.out, To: m.uri, CallID: f.id})
	}
	if later(err) {
		s.notSent(f.credit, seen, err)
		return false
	}
	r.joinFlights(m, f, next)
	if err != nil {
		s.engine.log.Warn().Err(err).Str("room", r.key).Str("member", m.key).Msg("copy not sent")
		s.land(f, evapi.Result{CallID: f.id, Code: 400, Local: true, Reason: err.Error()})
		s.letNext(m.key)
		return true
	}
	s.takeOff(f)
	if s.engine.cfg.MemberWindow > 1 {
		s.setReady(r, m)
	}
	return true
}

// nextCopy is what m gets next, after hasNext, and where it goes on behind that.
func (s *shard) nextCopy(r *room, m *member) (f *flight, next ahead, err error) {
	if m.flight != nil {
		f, next = s.nextAhead(r, m)
		return f, next, nil
	}
	f = &flight{}
	switch {
	case m.unshown > 0 && !m.deaf:
		f.word, f.losses = wordLoss, m.unshown
	case m.mode == following:
		e := r.log.at(m.next)
		f.out, f.conn, f.seq, f.at, f.entry = e.out, e.via, e.seq, s.clock(e.at), m.next+1
	default:
		*f, f.out, err = s.nextOfPage(r, m)
	}
	if m.wait != nil && m.wait.back && f.missed == 0 && s.isPoison(m.wait, f.seq, 0) {
		f.word, f.losses = wordPoison, 1
	}
	if f.word != noWord {
		f.out, err = s.wordOf(r, m, f.losses)
	}
	return f, next, err
}

// notSent gives the credit of a copy back that was not sent. seen is credits.drained from
// before that.
func (s *shard) notSent(k credit, seen uint64, err error) {
	if errors.Is(err, evapi.ErrFull) {
		s.engine.credits.refused(s.inbox, k, seen)
	} else {
		s.engine.credits.give(k)
	}
}

// later tells what may succeed when tried again.
func later(err error) bool { return errors.Is(err, evapi.ErrDown) || errors.Is(err, evapi.ErrFull) }
