package engine

import (
	"slices"

	"imcd/evapi"
)

// With a MemberWindow above 1 several copies of one member are under way at a time. The
// first of them is member.flight, as with a window of 1, and moves the cursor. The
// outcomes of those behind it wait until it is their turn, so that a cursor never passes
// what has not arrived. If one fails for now, those behind it that have arrived are
// remembered, and not sent again once it has.

// ahead are the copies of one member that are under way behind its first. Owned by the
// shard of its room.
type ahead struct {
	flights []*flight // in the order of the room. One that is over has its outcome in failed
	page    *page     // that the last of them is from; nil: the log
	at      int32     // index in page of what comes after that
	entry   uint64    // number in the log of that
	had     []uint64  // messages beyond the cursor that have arrived, though one before them has not
}

// windowOpen reports whether m may be sent something behind its first copy: it takes what
// it is sent, and answers.
func (s *shard) windowOpen(r *room, m *member) bool {
	f := m.flight
	if s.engine.cfg.MemberWindow < 2 || m.wait != nil || m.unshown > 0 || f.word != noWord || f.missed > 0 || m.suspect() {
		return false
	}
	a := r.ahead[m]
	return a == nil || len(a.flights)+len(a.had)+1 < s.engine.cfg.MemberWindow
}

// behindFirst is where m goes on behind its copies under way. ok is false if they come
// from elsewhere than what follows.
func (r *room) behindFirst(m *member) (p *page, at int32, entry uint64, ok bool) {
	if a := r.ahead[m]; a != nil && len(a.flights) > 0 {
		p, at, entry = a.page, a.at, a.entry
	} else if f := m.flight; f.entry > 0 {
		entry = f.entry
	} else if item := m.pageItem(); item != nil && (item.seq == f.seq || f.line && item.line) {
		p, at = m.page, m.at+1
	}
	switch m.mode {
	case following:
		return nil, 0, entry, entry >= r.log.base && entry > 0
	case behind:
		return p, at, 0, p != nil && p == m.page
	}
	return nil, 0, 0, false
}

// seekAhead is seekNext for what comes behind copies under way: nothing is moved.
func (s *shard) seekAhead(r *room, m *member) bool {
	f, _ := s.nextAhead(r, m)
	return f != nil
}

// nextAhead is the copy that m gets next behind those under way, and where it goes on
// after that; nil if there is none for now.
func (s *shard) nextAhead(r *room, m *member) (*flight, ahead) {
	if !s.windowOpen(r, m) {
		return nil, ahead{}
	}
	p, at, n, ok := r.behindFirst(m)
	if !ok {
		return nil, ahead{}
	}
	if p == nil {
		for ; n < r.log.end(); n++ {
			e := r.log.at(n)
			if r.owes(m, e.skip, e.seq) && !s.expired(e.expires) {
				return &flight{out: e.out, conn: e.via, seq: e.seq, at: s.clock(e.at), entry: n + 1, ahead: true},
					ahead{entry: n + 1}
			}
		}
		return nil, ahead{}
	}
	for last := p.items[at-1].seq; int(at) < len(p.items); at++ {
		item := &p.items[at]
		if item.seq > last+1 || item.out == nil {
			return nil, ahead{} // that is told of once all before it has arrived
		}
		if last = item.seq; !r.owes(m, item.sender, item.seq) || s.expired(item.expires) {
			continue
		}
		f := &flight{out: item.out, seq: item.seq, at: s.clock(item.at), ahead: true}
		if f.line = item.line; f.line {
			f.seq = 0
		}
		return f, ahead{page: p, at: at + 1}
	}
	return nil, ahead{}
}

// owes reports whether m is to get a message, or a notice (0), of a sender.
func (r *room) owes(m *member, sender string, seq uint64) bool {
	return sender != m.key && (seq == 0 || seq > m.cursor && !r.hasHad(m, seq))
}

// hasHad reports whether m has got a message beyond its cursor.
func (r *room) hasHad(m *member, seq uint64) bool {
	if len(r.ahead) == 0 {
		return false
	}
	a := r.ahead[m]
	return a != nil && slices.Contains(a.had, seq)
}

// joinFlights takes a copy that m is sent among those under way.
func (r *room) joinFlights(m *member, f *flight, next ahead) {
	if m.flight == nil {
		m.flight = f
		return
	}
	a := r.aheadOf(m)
	a.flights = append(a.flights, f)
	a.page, a.at, a.entry = next.page, next.at, next.entry
}

func (r *room) aheadOf(m *member) *ahead {
	if r.ahead == nil {
		r.ahead = make(map[*member]*ahead)
	}
	if r.ahead[m] == nil {
		r.ahead[m] = &ahead{}
	}
	return r.ahead[m]
}

// aheadLanded takes the outcome of a copy that was sent behind another.
func (s *shard) aheadLanded(f *flight, res evapi.Result) {
	r, m := f.room, f.member
	if !f.ahead || !m.live {
		return
	}
	if a := r.ahead[m]; a != nil && slices.Contains(a.flights, f) {
		f.failed = &res
		return
	}
	// It was under way when one before it failed.
	if v := judge(res); f.seq > m.cursor && (v == arrived || v == known) {
		s.noteHad(f)
	}
}

// noteHad remembers that a member has got a message beyond its cursor. With the copies
// under way there are no more of these than the window allows.
func (s *shard) noteHad(f *flight) {
	r, m := f.room, f.member
	s.engine.metrics.arrived(s.clock(s.now)-f.at, f)
	s.reached(r, m, f.seq)
	a := r.aheadOf(m)
	a.had = append(a.had, f.seq)
}

// advance makes the next copy under way the first, now that the first is settled with
// res; those that have their outcome already are settled, too.
func (s *shard) advance(r *room, m *member, res evapi.Result) {
	a := r.ahead[m]
	for a != nil {
		a.had = slices.DeleteFunc(a.had, func(n uint64) bool { return n <= m.cursor })
		switch {
		case !m.live:
			return
		case m.mode == waiting:
			s.scatter(r, m)
			return
		case judge(res) == resend || m.flight != nil:
			return // the first is sent again, or under way
		case len(a.flights) == 0:
			if a.page = nil; len(a.had) == 0 {
				delete(r.ahead, m)
			}
			return
		}
		f := a.flights[0]
		if s.passTo(r, m, f); !m.isNext(f) {
			s.scatter(r, m)
			return
		}
		a.flights = a.flights[1:]
		if !f.over {
			m.flight = f
			return
		}
		res = *f.failed
		m.last = newLastResult(res.Code, s.now)
		s.settle(f, res)
	}
}

// passTo moves m over what it does not get before f.
func (s *shard) passTo(r *room, m *member, f *flight) {
	if m.mode == following && f.entry > 0 {
		for m.next >= r.log.base && m.next+1 < f.entry && m.next < r.log.end() {
			if e := r.log.at(m.next); r.owes(m, e.skip, e.seq) && !s.expired(e.expires) {
				return
			}
			s.pass(r, m)
		}
		return
	}
	for item := m.pageItem(); item != nil && (f.line && !item.line || !f.line && item.seq < f.seq); item = m.pageItem() {
		switch {
		case item.seq <= m.cursor:
			m.at++
		case item.seq > m.cursor+1 || r.owes(m, item.sender, item.seq) && !s.expired(item.expires):
			return
		default:
			s.passItem(r, m)
		}
	}
}

// isNext reports whether f is what m would be sent now.
func (m *member) isNext(f *flight) bool {
	if m.mode == following {
		return f.entry == m.next+1
	}
	item := m.pageItem()
	return item != nil && item.line == f.line && (f.line || item.seq == f.seq)
}

// scatter forgets the order of the copies under way behind one that failed. Those that
// have arrived are remembered; the others are sent again if they do not.
func (s *shard) scatter(r *room, m *member) {
	a := r.ahead[m]
	if a == nil {
		return
	}
	for _, f := range a.flights {
		if f.over {
			if v := judge(*f.failed); f.seq > m.cursor && (v == arrived || v == known) {
				s.noteHad(f)
			}
		}
	}
	a.flights, a.page = nil, nil
	if len(a.had) == 0 {
		delete(r.ahead, m)
	}
}

// underWay finds the copy with a Call-ID that m is to be sent now, if that was sent before,
// behind one that failed. Then it is not sent again.
func (s *shard) underWay(r *room, m *member, id string, next ahead) bool {
	if a := r.ahead[m]; a != nil && m.flight == nil {
		if i := slices.IndexFunc(a.flights, func(f *flight) bool { return f.id == id }); i >= 0 {
			a.flights = a.flights[i:] // those before it have expired
			s.advance(r, m, evapi.Result{Code: 200})
			s.setReady(r, m)
			return true
		}
	}
	f := s.flights[id]
	if f == nil || f.member != m {
		return false
	}
	r.joinFlights(m, f, next)
	s.setReady(r, m)
	return true
}
