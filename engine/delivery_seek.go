package engine

import (
	"container/heap"
	"math/rand/v2"
	"time"
)

// smallRoom is how many members a room has at most whose copies go ahead of those of other rooms: they
// are few, and would wait for many.
const smallRoom = 16

// setReady queues m for its turn if there is something to send and its window is open.
func (d *delivery) setReady(r *room, m *member) {
	if !m.live || m.queued != noQueue || m.loading || !d.hasNext(r, m) {
		return
	}
	m.queued = ready
	r.ready = append(r.ready, m)
	d.enqueue(r)
}

// hasNext reports whether there is something to send to m now.
func (d *delivery) hasNext(r *room, m *member) bool {
	if m.inFlight != nil {
		_, _, ok := d.nextAhead(r, m) // which moves nothing
		return ok
	}
	return d.seekNext(r, m)
}

// seekNext moves m over messages that it must not get. It reports whether there is something to send.
func (d *delivery) seekNext(r *room, m *member) bool {
	switch {
	case m.mode == waiting:
		return false
	case m.unshown > 0 && !m.deaf:
		return true
	case m.mode == following:
		return d.seek(r, m)
	}
	return d.seekPage(r, m)
}

// seek is seekNext in the log. If the log does not have everything for m any more, m goes on from the
// database.
func (d *delivery) seek(r *room, m *member) bool {
	if m.next < r.log.base && m.cursor < r.log.gone {
		exempt := m.exempt
		d.unfollow(r, m)
		m.exempt = exempt // the log may be full because of the load
		d.load(r, m)
		return false
	}
	m.next = max(m.next, r.log.base)
	for m.next < r.log.end() {
		e := r.log.at(m.next)
		if r.owes(m, e.skip, e.seq) {
			if !d.expired(e.expires) {
				return true
			}
			d.countExpired(e.seq)
		}
		d.pass(r, m)
	}
	m.wait = nil // it has everything
	return false
}

// countExpired counts a message that has expired before m got it; 0 is a line before one.
func (d *delivery) countExpired(seq uint64) {
	if seq > 0 {
		d.engine.metrics.expired.Inc()
	}
}

// pass moves m over one entry of the log.
func (d *delivery) pass(r *room, m *member) {
	if m.next >= r.log.base {
		e := r.log.at(m.next)
		e.owed--
		if e.seq > m.cursor {
			m.cursor = e.seq
			d.markDirty(r)
		}
		d.engine.charge(-r.log.trim())
	}
	m.next++
}

// passOne moves a member over a copy with an outcome. Meanwhile the log may have dropped the message, or
// the room may have been loaded again.
func (d *delivery) passOne(f *sentCopy) {
	r, m := f.room, f.member
	switch {
	case f.missed > 0:
		d.passGap(f)
	case f.line:
		if m.page != nil && m.item() != nil && m.item().line {
			m.at++
		}
	case m.page != nil && m.item() != nil && m.item().seq == f.seq:
		d.passItem(r, m)
	case m.mode == following && f.entry == m.next+1 && m.next >= r.log.base:
		d.pass(r, m)
	case f.seq > m.cursor:
		m.cursor = f.seq
		d.markDirty(r)
	}
}

// windowOpen reports whether m may get a copy behind its first one: it takes copies, and answers.
func (d *delivery) windowOpen(r *room, m *member) bool {
	f := m.inFlight
	if d.engine.cfg.MemberWindow < 2 || m.wait != nil || m.unshown > 0 ||
		f.notice != noLossNotice || f.missed > 0 || m.suspect() {
		return false
	}
	a := r.ahead[m]
	return a == nil || len(a.copies)+len(a.had)+1 < d.engine.cfg.MemberWindow
}

// behindFirst is where m goes on behind its copies under way. ok is false if they come from another
// source than the next copy.
func (r *room) behindFirst(m *member) (p *page, at int32, entry uint64, ok bool) {
	if a := r.ahead[m]; a != nil && len(a.copies) > 0 {
		p, at, entry = a.page, a.at, a.entry
	} else if f := m.inFlight; f.entry > 0 {
		entry = f.entry
	} else if item := m.pageItem(); item != nil && (item.seq == f.seq || f.line && item.line) {
		p, at = m.page, m.at+1
	}
	switch m.mode {
	case following:
		return nil, 0, entry, entry >= r.log.base && entry > 0
	case lagging:
		return p, at, 0, p != nil && p == m.page
	}
	return nil, 0, 0, false
}

// nextAhead is the next copy for m behind those under way, and where m goes on behind that; ok is false if
// there is none now.
func (d *delivery) nextAhead(r *room, m *member) (f sentCopy, next ahead, ok bool) {
	if !d.windowOpen(r, m) {
		return f, next, false
	}
	p, at, n, ok := r.behindFirst(m)
	if !ok {
		return f, next, false
	}
	if p == nil {
		for ; n < r.log.end(); n++ {
			e := r.log.at(n)
			if r.owes(m, e.skip, e.seq) && !d.expired(e.expires) {
				f = sentCopy{out: e.out, conn: e.via, seq: e.seq, at: d.clock(e.at), entry: n + 1, ahead: true}
				return f, ahead{entry: n + 1}, true
			}
		}
		return f, next, false
	}
	for last := p.items[at-1].seq; int(at) < len(p.items); at++ {
		item := &p.items[at]
		if item.seq > last+1 || item.out == nil {
			return f, next, false // the notice of losses waits until all before it has arrived
		}
		if last = item.seq; !r.owes(m, item.sender, item.seq) || d.expired(item.expires) {
			continue
		}
		f = sentCopy{out: item.out, seq: item.seq, at: d.clock(item.at), ahead: true}
		if f.line = item.line; f.line {
			f.seq = 0
		}
		return f, ahead{page: p, at: at + 1}, true
	}
	return f, next, false
}

// hasten makes w the next wait to end: its user is there.
func (d *delivery) hasten(w *wait) {
	w.back = true
	w.tries = 0
	w.due = time.Time{}
	heap.Fix(&d.waits, w.index)
}

// enterLater lets m, which lagged when the engine ended, take part: soon, but not at once with all
// others.
func (d *delivery) enterLater(r *room, m *member, cursor uint64) {
	m.live, m.cursor, m.mode = true, cursor, waiting
	d.await(m, &wait{room: r, member: m, index: -1, due: d.now.Add(rand.N(d.spread()))})
}

// enqueue gives r, which has ready members, its place among the rooms that wait for their turn.
func (d *delivery) enqueue(r *room) {
	switch {
	case r.turn:
		return
	case r.atMost(smallRoom):
		d.small = append(d.small, r)
	default:
		d.turns = append(d.turns, r)
	}
	r.turn = true
}
