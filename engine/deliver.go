package engine

import (
	"errors"
	"strconv"
	"time"

	"imcd/evapi"
)

// slowAfter is how long a copy may be under way before its member's cursor is
// stored by itself, so that it does not hold down what is known of the others.
const slowAfter = 300 * time.Millisecond

// flight is one copy under way to a recipient: a member or a stream. It may be sent
// several times until it has an outcome, see repeat.
type flight struct {
	id     string
	room   *room // nil for streams
	member *member
	stream *stream
	seq    uint64    // of the message, or the last of those missed; 0 for a notice to all
	entry  uint64    // number of the log entry and one more; 0: not from the log
	line   bool      // this copy stands before a message of a page, and has its place
	missed uint64    // how many were dropped, of which this copy tells; 0: it is something else
	at     time.Time // when the message was accepted
	since  time.Time // when this copy was sent last
	credit credit

	out    *evapi.Outgoing // what is sent; nil once it is over
	conn   *evapi.Conn     // that took it last, or through which it is to go if that is up
	failed *evapi.Result   // the outcome that counts of tries that have failed; nil: none has
	sends  uint16          // how often it was sent
	tries  uint8           // of these, those without an outcome
	silent uint8           // and those that the user registered after instead of answering
	word   word            // this copy tells of losses, or takes the place of the message; noWord: it does not
	losses uint8           // of which it tells
	back   bool            // the user has registered since it was sent first
	slow   bool            // a request of the user is listened for
	over   bool
}

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
		s.engine.charge(-r.log.pop())
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

// enter lets m take part in the deliveries of r: from the end of the log on, or
// from its cursor if the log starts later.
func (s *shard) enter(r *room, m *member, cursor uint64) {
	if !r.has(m) || m.live {
		return
	}
	m.live, m.cursor = true, cursor
	if cursor >= r.last {
		s.follow(r, m, r.log.end())
		return
	}
	m.mode, m.excuse = behind, r.last
	s.setReady(r, m)
}

// follow lets m get its copies from the log, from number n on.
func (s *shard) follow(r *room, m *member, n uint64) {
	m.mode, m.next = following, n
	s.caughtUp(m)
	r.followers++
	for i := n; i < r.log.end(); i++ {
		r.log.at(i).owed++
	}
}

// unfollow ends that; what m has not got stays in the database.
func (s *shard) unfollow(r *room, m *member) {
	if !m.live || m.mode != following {
		return
	}
	r.followers--
	for n := max(m.next, r.log.base); n < r.log.end(); n++ {
		r.log.at(n).owed--
	}
	s.engine.charge(-r.log.trim())
	m.mode, m.excuse = behind, r.last
}

// leave takes m out of the room's deliveries.
func (s *shard) leave(r *room, m *member) {
	if !m.live {
		return
	}
	s.unfollow(r, m)
	if m.wait != nil {
		s.forgetWait(m.wait)
	}
	s.caughtUp(m)
	s.dropPlace(r, m)
	s.leftOpen(r, m)
	m.live, m.wait, m.page = false, nil, nil
}

// discard ends the deliveries of a room that is no more.
func (s *shard) discard(r *room) {
	for _, m := range r.order {
		s.leave(r, m)
	}
	delete(s.dirty, r)
	delete(s.held, r)
	delete(s.placed, r)
	r.open = nil
}

// setReady queues m for its turn if it has something to get and nothing under
// way.
func (s *shard) setReady(r *room, m *member) {
	if !m.live || m.queued || m.loading || m.flight != nil || !s.seekNext(r, m) {
		return
	}
	m.queued = true
	r.ready = append(r.ready, m)
	if !r.turn {
		r.turn = true
		s.turns = append(s.turns, r)
	}
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
		if e.skip != m.key && (e.seq == 0 || e.seq > m.cursor) {
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
	for len(s.repeats) > 0 && !s.ending {
		if f := s.repeats[0]; !f.over && !s.repeat(f) {
			return
		}
		s.repeats[0] = nil
		s.repeats = s.repeats[1:]
	}
	for len(s.hasNote) > 0 {
		st := s.hasNote[0]
		stays := s.ending && st.notes[0].keeps() // in the database, for the next start
		if !stays && !s.sendNote(st) {
			return
		}
		s.hasNote[0] = nil
		s.hasNote = s.hasNote[1:]
	}
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
		m.queued = false // what cannot be sent ever is settled at once, and what comes next may go
		if m.live && m.flight == nil && !m.loading && s.seekNext(r, m) && !s.send(r, m) {
			m.queued = true
			return false
		}
		r.ready[0] = nil
		r.ready = r.ready[1:]
	}
	return true
}

// send sends m its next copy. False: not now; nothing has changed then.
func (s *shard) send(r *room, m *member) bool {
	f, err := s.nextCopy(r, m)
	f.room, f.member = r, m
	size := 0
	if err == nil {
		size = f.out.BodyLen()
	}
	if f.credit = weigh(size); !s.engine.credits.take(s.inbox, f.credit) {
		return false
	}
	f.id = s.copyID(f)
	if err == nil {
		f.conn, err = s.engine.relay.Send(f.conn, evapi.Copy{Out: f.out, To: m.uri, CallID: f.id})
	}
	if later(err) {
		s.engine.credits.give(f.credit)
		return false
	}
	m.flight = f
	if err != nil {
		s.engine.log.Warn().Err(err).Str("room", r.key).Str("member", m.key).Msg("copy not sent")
		s.land(f, evapi.Result{CallID: f.id, Code: 400, Local: true, Reason: err.Error()})
		return true
	}
	s.takeOff(f)
	return true
}

// nextCopy is what m gets next, after seekNext.
func (s *shard) nextCopy(r *room, m *member) (f *flight, err error) {
	f = &flight{}
	switch {
	case m.unshown > 0 && !m.deaf:
		f.word, f.losses = wordLoss, m.unshown
	case m.mode == following:
		e := r.log.at(m.next)
		f.out, f.conn, f.seq, f.at, f.entry = e.out, e.via, e.seq, e.at, m.next+1
	default:
		*f, f.out, err = s.nextOfPage(r, m)
	}
	if m.wait != nil && m.wait.back && f.missed == 0 && s.isPoison(m.wait, f.seq, 0) {
		f.word, f.losses = wordPoison, 1
	}
	if f.word != noWord {
		f.out, err = s.wordOf(r, m, f.losses)
	}
	return f, err
}

// copyID names the copy of a message for a member: the same each time it is
// sent, so that a repetition can be recognised. A notice's is new each time.
func (s *shard) copyID(f *flight) string {
	if f.seq == 0 || f.word != noWord {
		return s.noteID()
	}
	var buf [96]byte
	id := strconv.AppendInt(append(buf[:0], s.prefix...), f.room.id, 36)
	id = strconv.AppendUint(append(id, '-'), f.seq, 10)
	id = strconv.AppendUint(append(id, '-'), hash64(f.member.key), 36)
	if f.missed > 0 {
		id = strconv.AppendUint(append(id, "-m"...), f.missed, 10)
	}
	return string(id)
}

// later tells what may succeed when tried again.
func later(err error) bool { return errors.Is(err, evapi.ErrDown) || errors.Is(err, evapi.ErrFull) }

func (s *shard) takeOff(f *flight) {
	s.flights[f.id] = f
	s.sent(f)
	if f.room != nil {
		f.room.flying++
	}
}

// sent notes that f was sent, or sent again.
func (s *shard) sent(f *flight) {
	f.since = s.now
	f.tries++
	f.sends++
	s.expiry = append(s.expiry, deadline{f, f.sends})
	s.fresh = append(s.fresh, f)
}

// deadline stands where a copy is given up that has no outcome, unless it was sent more
// often than so.
type deadline struct {
	flight *flight
	sends  uint16
}

// ripen lets others go instead of copies that wait for their devices.
func (s *shard) ripen() {
	for len(s.fresh) > 0 {
		f := s.fresh[0]
		if !f.over && s.now.Sub(f.since) < burstTime {
			return
		}
		s.fresh[0] = nil
		s.fresh = s.fresh[1:]
		if !f.over {
			s.engine.credits.ripen(&f.credit)
			s.listen(f)
		}
	}
}

// listen makes a request of the user of f a reason to send it again.
func (s *shard) listen(f *flight) {
	if !f.slow {
		f.slow = true
		s.engine.signs.await(f.to())
	}
}

// result takes the outcome of a copy. One that was sent several times has failed when
// all of these have.
func (s *shard) result(r evapi.Result) {
	f := s.flights[r.CallID]
	switch {
	case f == nil:
		s.engine.metrics.delivery("stray")
	case f.tries > 1 && judge(r) > known:
		f.tries--
		counts := worse(f.failed, r)
		f.failed = &counts
	default:
		s.land(f, worse(f.failed, r))
	}
}

// lost ends the flights that a Kamailio had taken which was restarted before now.
func (s *shard) lost(c *evapi.Conn, now time.Time) {
	for _, f := range s.flights {
		if f.conn == c && f.since.Before(now) {
			s.land(f, evapi.Result{CallID: f.id, Code: 503, Local: true, Reason: "Kamailio was restarted"})
		}
	}
}

// expire gives up copies that got no outcome, as after a restart of Kamailio.
func (s *shard) expire() {
	for len(s.expiry) > 0 {
		f := s.expiry[0].flight
		open := !f.over && f.sends == s.expiry[0].sends
		if open && s.now.Sub(f.since) < s.engine.cfg.ResultTimeout {
			return
		}
		s.expiry[0] = deadline{}
		s.expiry = s.expiry[1:]
		if open {
			s.land(f, worse(f.failed, evapi.Result{CallID: f.id, Code: 408, Reason: "no outcome"}))
		}
	}
}

// abandon forgets a flight: whatever its outcome is, nobody waits for it any more.
func (s *shard) abandon(f *flight) {
	f.over = true
	if s.flights[f.id] == f {
		delete(s.flights, f.id)
		if f.room != nil {
			f.room.flying--
		}
	}
	f.out = nil
	if f.slow {
		s.engine.signs.forget(f.to())
	}
	s.engine.credits.give(f.credit)
	if f.member != nil && f.member.flight == f {
		f.member.flight = nil
	}
}

// land ends a flight.
func (s *shard) land(f *flight, r evapi.Result) {
	mine := f.member != nil && f.member.flight == f
	s.abandon(f)
	s.engine.metrics.delivery(outcome(r))
	s.logDelivery(f, r)
	if f.stream != nil {
		s.noteDone(f, r)
		return
	}
	m := f.member
	if !mine {
		return
	}
	if !m.live {
		if judge(r).final() && f.word == noWord {
			m.cursor = max(m.cursor, f.seq) // its leaving may not be committed
			s.engine.metrics.dropped.Add(float64(f.missed))
		}
		return
	}
	m.last = newLastResult(r.Code, s.now)
	s.settle(f, r)
	s.setReady(f.room, m)
}

// settle draws the consequences of an outcome for a member.
func (s *shard) settle(f *flight, res evapi.Result) {
	m, v := f.member, judge(res)
	if s.now.Sub(f.since) > ownPace || v == resend {
		m.excuse = f.room.last // not the load has kept it from what comes next
	}
	if v == malformed && m.wait != nil && m.wait.seq == f.seq && m.wait.malformed+1 >= malformedTries {
		v = refused
	}
	switch {
	case v == resend:
	case f.word != noWord:
		s.wordDone(f, v, res)
	case f.seq == 0: // a notice is not sent again
		s.passOne(f)
		if v.final() || v == malformed {
			m.wait = nil // it is there
		}
	case v == arrived || v == known:
		s.passOne(f)
		m.wait = nil
		if f.missed == 0 {
			s.tookAll(f.room, m)
			s.reached(f.room, m, f.seq)
		}
		if v == arrived {
			m.deaf = false
			s.engine.metrics.arrived(s.now.Sub(f.at), f)
			s.arrivedLate(f)
		}
	case v.final():
		s.failed(f, outcome(res), res.Code)
		s.passOne(f)
		m.wait = nil
		s.lose(f, lossReason(v), res.Code)
	default:
		s.failed(f, outcome(res), res.Code)
		s.postpone(f, v, res.RetryAfter)
		if v == offline || v == gone || v == silent {
			s.isOffline(f.room, m)
		}
	}
}

// passOne moves a member over the copy that is settled. The log may have dropped
// it meanwhile, or the room may have been loaded again.
func (s *shard) passOne(f *flight) {
	r, m := f.room, f.member
	switch {
	case f.missed > 0:
		s.passGap(f)
	case f.line:
		if m.page != nil && m.item() != nil && m.item().line {
			m.at++
		}
	case m.page != nil && m.item() != nil && m.item().seq == f.seq:
		s.passItem(r, m)
	case m.mode == following && f.entry == m.next+1 && m.next >= r.log.base:
		s.pass(r, m)
	case f.seq > m.cursor:
		m.cursor = f.seq
		s.markDirty(r)
	}
}
