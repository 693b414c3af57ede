package engine

import "imcd/engine/store"

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
		if d.owes(r, m, e.skip, e.sentOn, e.seq) {
			if !d.expired(e.expires) {
				return true
			}
			d.countExpired(e.seq, e.expires)
		}
		d.pass(r, m)
	}
	m.wait = nil // it has everything
	return false
}

// seekPage moves m over messages of its page that it must not get. It reports whether there is something
// to send; if not, m follows the log again or its next page is loaded.
func (d *delivery) seekPage(r *room, m *member) bool {
	if m.page == nil {
		d.catchUp(r, m)
		return m.mode == following && d.seek(r, m)
	}
	for item := m.item(); item != nil; item = m.item() {
		if item.seq <= m.cursor { // skipped while the page was loaded
			m.at++
			continue
		}
		had := item.seq == m.cursor+1 && r.hasHad(m, item.seq)
		due := !had && item.out != nil && d.concerns(m, item.sender, item.sentOn)
		if item.seq > m.cursor+1 || due && !d.expired(item.expires) {
			return true
		}
		if due && !item.line {
			d.countExpired(item.seq, item.expires)
		}
		d.passItem(r, m)
		if item.out == nil && item.sender != m.key {
			d.noteLoss(r, m, item.seq, lossUnsendable, 0)
			m.oweLossNotice()
		}
	}
	if m.unshown > 0 && !m.deaf {
		return true
	}
	if m.page.last > m.cursor {
		return true
	}
	d.dropPage(m)
	d.catchUp(r, m)
	return m.mode == following && d.seek(r, m)
}

// catchUp lets m follow the log if the log has everything that m must get, and else loads more.
func (d *delivery) catchUp(r *room, m *member) {
	if m.cursor < r.log.gone {
		d.load(r, m)
		return
	}
	n := r.log.end()
	for i := range r.log.entries {
		if r.log.entries[i].seq > m.cursor {
			n = r.log.base + uint64(i)
			break
		}
	}
	d.follow(r, m, n)
}

// load asks for the next messages of m. Members at the same place share a query.
func (d *delivery) load(r *room, m *member) {
	after := d.pageStart(r, m)
	m.from = after
	if r.loads == nil {
		r.loads = make(map[uint64][]*member)
	}
	m.loading = true
	r.loads[after] = append(r.loads[after], m)
	if len(r.loads[after]) > 1 {
		return
	}
	last, limit := r.last, pageLimit(m)
	d.engine.loader.put(query{room: r.id, after: after, limit: limit, answer: func(rows []store.MessageRow, err error) {
		d.inbox.post(func() {
			d.loaded(r, after, last, limit, rows, err)
			d.engine.held.pages.Add(-rowsSize(rows))
		})
	}})
}

// loaded gives the messages, limit at most, to the members that waited for them. last was the number of
// the last durable message when they were asked for.
func (d *delivery) loaded(r *room, after, last uint64, limit int, rows []store.MessageRow, err error) {
	members := r.loads[after]
	delete(r.loads, after)
	for _, m := range members {
		m.loading = false
	}
	if d.rooms[r.key] != r && d.stale[r.key] != r {
		return // destroyed, or about to be
	}
	if err != nil {
		d.failedToLoad(r, err)
	} else {
		r.unread = nil
	}
	p := &page{last: last}
	if n := len(rows); n > 0 {
		p.items = d.composeRows(r, rows)
		if p.last = max(last, rows[n-1].Seq); n == limit {
			p.last = rows[n-1].Seq
		}
	}
	for _, m := range members {
		if !m.live || m.mode != lagging || m.from != after || m.page != nil {
			continue
		}
		if err != nil {
			d.loadLater(r, m)
			continue
		}
		d.givePage(m, p)
		d.setReady(r, m)
	}
}

// windowOpen reports whether m may get a copy behind its first one: it takes copies, and answers.
func (d *delivery) windowOpen(r *room, m *member) bool {
	f := m.inFlight
	if d.engine.cfg.MemberWindow < 2 || m.wait != nil || m.unshown > 0 ||
		f.notice != noLossNotice || f.missed > 0 || m.isSuspect() || d.engine.devices.of(m.key) != nil {
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
			if d.owes(r, m, e.skip, e.sentOn, e.seq) && !d.expired(e.expires) {
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
		if last = item.seq; !d.owes(r, m, item.sender, item.sentOn, item.seq) || d.expired(item.expires) {
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

// noteLoss counts and logs a loss.
func (d *delivery) noteLoss(r *room, m *member, seq uint64, why string, code int) {
	d.gaveUp(r, m, seq-1, seq)
	d.engine.metrics.lost.WithLabelValues(why).Inc()
	if r.losses == nil {
		r.losses = make(map[string]losses)
	}
	r.losses[m.key] = losses{n: r.losses[m.key].n + 1, seq: seq, why: why, code: code, at: d.now}
	d.engine.log.Warn().Str("room", r.key).Str("member", m.key).Uint64("seq", seq).Int("code", code).Str("reason", why).
		Msg("a message was skipped: its member never gets it")
}
