package engine

import "imcd/evapi"

// What the outcome of a copy means for its member.

// settle draws the consequences of an outcome for a member.
func (s *shard) settle(f *flight, res evapi.Result) {
	m, v := f.member, judge(res)
	if s.age(f) > ownPace || v == resend {
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
		if m.wait != nil {
			s.engine.heard(m.name()) // it is there for what other rooms have for it, too
		}
		m.wait = nil
		if f.missed == 0 {
			s.tookAll(f.room, m)
			s.reached(f.room, m, f.seq)
		}
		if v == arrived {
			m.deaf = false
			s.engine.metrics.arrived(s.clock(s.now)-f.at, f)
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
