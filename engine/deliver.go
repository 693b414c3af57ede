package engine

import (
	"errors"
	"time"

	"imcd/evapi"
)

// flight is one copy under way to a recipient: a member (from the room's log)
// or a stream.
type flight struct {
	id       string
	room     *room // nil for streams
	member   *member
	stream   *stream
	number   uint64 // of the log entry
	deadline time.Time
	over     bool
}

// appendLog queues e for all live members of r.
func (s *shard) appendLog(r *room, e entry) {
	e.owed = r.lives
	if e.owed == 0 {
		s.engine.charge(-e.size)
		return
	}
	r.log.append(e)
	for len(r.log.entries) > s.engine.cfg.LogEntries || r.log.bytes > s.engine.cfg.LogBytes {
		s.engine.metrics.dropped.Add(float64(r.log.entries[0].owed))
		s.engine.charge(-r.log.pop())
	}
	for _, m := range r.order {
		s.setReady(r, m)
	}
}

// setReady queues m for its turn if it has something to get and nothing under
// way.
func (s *shard) setReady(r *room, m *member) {
	if !m.live || m.queued || m.flight != nil || !s.seek(r, m) {
		return
	}
	m.queued = true
	r.ready = append(r.ready, m)
	if !r.turn {
		r.turn = true
		s.turns = append(s.turns, r)
	}
}

// seek moves m over what it does not get: its own messages and what the log no
// longer has. It reports whether there is something to send.
func (s *shard) seek(r *room, m *member) bool {
	if m.next < r.log.base {
		m.next = r.log.base
	}
	for m.next < r.log.end() {
		if r.log.at(m.next).skip != m {
			return true
		}
		s.pass(r, m)
	}
	return false
}

// pass moves m over one entry.
func (s *shard) pass(r *room, m *member) {
	s.engine.charge(-r.log.pass(m.next))
	m.next++
}

// leaveLog takes m out of the room's deliveries.
func (s *shard) leaveLog(r *room, m *member) {
	if !m.live {
		return
	}
	m.live = false
	r.lives--
	if m.next < r.log.base {
		m.next = r.log.base
	}
	for m.next < r.log.end() {
		s.pass(r, m)
	}
}

// discard ends the deliveries of a room that is no more.
func (s *shard) discard(r *room) {
	for _, m := range r.order {
		m.live = false
	}
	r.lives = 0
	s.engine.charge(-r.log.bytes)
	r.log = roomLog{base: r.log.end()}
}

// pump sends what can be sent: answers first, then one copy per room and turn,
// as long as there are credits.
func (s *shard) pump() {
	for len(s.hasNote) > 0 {
		st := s.hasNote[0]
		if !s.engine.credits.take(s.inbox) || !s.sendNote(st) {
			return
		}
		s.hasNote[0] = nil
		s.hasNote = s.hasNote[1:]
	}
	for len(s.turns) > 0 {
		r := s.turns[0]
		m := r.ready[0]
		if m.live && m.flight == nil && s.seek(r, m) {
			if !s.engine.credits.take(s.inbox) || !s.sendEntry(r, m) {
				return
			}
		}
		m.queued = false
		r.ready[0] = nil
		r.ready = r.ready[1:]
		s.turns[0] = nil
		s.turns = s.turns[1:]
		if len(r.ready) > 0 {
			s.turns = append(s.turns, r)
		} else {
			r.ready, r.turn = nil, false
		}
	}
}

// sendEntry sends m its next entry. False: not now; nothing has changed then.
func (s *shard) sendEntry(r *room, m *member) bool {
	e := r.log.at(m.next)
	f := &flight{id: s.callID(r.tag, m.next, m.id), room: r, member: m, number: m.next}
	err := s.engine.relay.Send(e.via, evapi.Copy{Out: e.out, To: m.name.URI(), CallID: f.id})
	if later(err) {
		s.engine.credits.give()
		return false
	}
	if err != nil {
		s.engine.credits.give()
		s.engine.log.Warn().Err(err).Str("room", r.key).Str("member", m.key).Msg("copy not sent")
		s.engine.metrics.delivery("failed")
		s.pass(r, m)
		return true
	}
	m.flight = f
	s.takeOff(f)
	return true
}

// later tells what may succeed when tried again.
func later(err error) bool { return errors.Is(err, evapi.ErrDown) || errors.Is(err, evapi.ErrFull) }

func (s *shard) takeOff(f *flight) {
	f.deadline = s.now.Add(s.engine.cfg.ResultTimeout)
	s.flights[f.id] = f
	s.expiry = append(s.expiry, f)
}

// result takes the outcome of a copy.
func (s *shard) result(r evapi.Result) {
	if f := s.flights[r.CallID]; f != nil {
		s.land(f, r)
	} else {
		s.engine.metrics.delivery("stray")
	}
}

// expire gives up copies that got no outcome, as after a restart of Kamailio.
func (s *shard) expire() {
	for len(s.expiry) > 0 {
		f := s.expiry[0]
		if !f.over && f.deadline.After(s.now) {
			return
		}
		s.expiry[0] = nil
		s.expiry = s.expiry[1:]
		if !f.over {
			s.land(f, evapi.Result{CallID: f.id, Code: 408, Reason: "no outcome"})
		}
	}
}

// land ends a flight.
func (s *shard) land(f *flight, r evapi.Result) {
	f.over = true
	delete(s.flights, f.id)
	s.engine.credits.give()
	s.engine.metrics.delivery(outcome(r))
	if f.stream != nil {
		s.noteDone(f.stream, r)
		return
	}
	m := f.member
	if m.flight != f {
		return
	}
	m.flight = nil
	if !m.live {
		return
	}
	if !again(r) && m.next == f.number {
		s.pass(f.room, m)
	}
	s.setReady(f.room, m)
}

// again tells an outcome after which the same copy is sent once more: the
// connection to Kamailio was lost with the copy in it.
func again(r evapi.Result) bool { return r.Local && r.Code == 503 }

// outcome names the class of a result for the metrics.
func outcome(r evapi.Result) string {
	switch {
	case again(r):
		return "lost"
	case r.Local:
		return "failed"
	case r.Code < 300:
		return "ok"
	case r.Code == 404 || r.Code == 410 || r.Code == 480:
		return "offline"
	case r.Code == 408:
		return "timeout"
	case r.Code >= 500 && r.Code < 600:
		return "error"
	}
	return "refused"
}
