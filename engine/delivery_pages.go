package engine

import (
	"time"

	"imcd/engine/store"
	"imcd/evapi"
)

const (
	// pageSize is how many messages are loaded at a time for members that lag (see pageLimit).
	pageSize = 32
	// loadRetry is how long members wait after a query failed for the first time.
	loadRetry = time.Second
)

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

// pageLimit is how many messages are loaded for m: one if a try must show first whether m can be
// reached, and more once that one was its own message or had expired.
func pageLimit(m *member) int {
	if w := m.wait; w != nil && !w.back && !w.looked {
		w.looked = true
		return 1
	}
	return pageSize
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
			d.loadLater(r, m, err)
			continue
		}
		if m.wait != nil {
			m.wait.unread = 0
		}
		d.givePage(m, p)
		d.setReady(r, m)
	}
}

// givePage gives p to m.
func (d *delivery) givePage(m *member, p *page) {
	if p.users == 0 {
		for i := range p.items {
			if out := p.items[i].out; out != nil {
				p.bytes += d.engine.sizeOf(out)
			}
		}
		d.engine.held.pages.Add(int64(p.bytes))
	}
	p.users++
	m.page, m.at = p, 0
}

// loadLater lets m wait after a failed query, longer after each failure.
func (d *delivery) loadLater(r *room, m *member, err error) {
	w := m.wait
	if w == nil {
		w = &wait{room: r, member: m, index: -1}
	}
	w.unread = longer(w.unread, loadRetry, patience(err))
	d.waitUntil(r, m, w, d.now.Add(w.unread))
}

// composeRows makes copies of stored messages.
func (d *delivery) composeRows(r *room, rows []store.MessageRow) []pageItem {
	items := make([]pageItem, 0, len(rows))
	for i := range rows {
		out, err := d.engine.compose(r, &rows[i])
		if err != nil {
			// It was accepted under other limits or templates: its members lose it, and get the others.
			d.engine.log.Warn().Err(err).Str("room", r.key).Uint64("seq", rows[i].Seq).Msg("stored message cannot be sent")
		}
		item := pageItem{seq: rows[i].Seq, sender: rows[i].Sender.Key(), at: rows[i].At, expires: rows[i].Expires}
		if line := d.engine.composeLine(r, &rows[i]); line != nil && err == nil {
			item.out, item.line = line, true
			items = append(items, item)
		}
		item.out, item.line = out, false
		items = append(items, item)
	}
	return items
}

// pageStart is the number after which messages are loaded for m. seekPage passes over older ones that
// member_backlog excludes.
func (d *delivery) pageStart(r *room, m *member) uint64 {
	limit := uint64(d.engine.cfg.MemberBacklog)
	if limit == 0 || r.last < limit {
		return m.cursor
	}
	return max(m.cursor, r.last-limit)
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
		if item.seq > m.cursor+1 || !had && item.out != nil && item.sender != m.key && !d.expired(item.expires) {
			return true
		}
		if !had && item.out != nil && item.sender != m.key && !item.line {
			d.countExpired(item.seq)
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

// nextOfPage is the next copy for a member that lags, after seekPage. Where messages are missing before
// it, the copy is a notice of how many; it has the number of the last of them.
func (d *delivery) nextOfPage(r *room, m *member) (f sentCopy, out *evapi.Outgoing, err error) {
	upto := m.page.last
	if item := m.item(); item != nil {
		if item.seq == m.cursor+1 {
			if item.line {
				return sentCopy{at: d.clock(item.at), line: true}, item.out, nil
			}
			return sentCopy{seq: item.seq, at: d.clock(item.at)}, item.out, nil
		}
		upto = item.seq - 1
	}
	f = sentCopy{seq: upto, missed: upto - m.cursor}
	out, err = d.engine.composeCount(r, m, "missed", f.missed)
	return f, out, err
}

// passGap moves m over messages that were dropped.
func (d *delivery) passGap(f *sentCopy) {
	d.engine.metrics.dropped.Add(float64(f.missed))
	d.gaveUp(f.room, f.member, f.seq-f.missed, f.seq)
	f.member.cursor = f.seq
	d.markDirty(f.room)
}

func (d *delivery) passItem(r *room, m *member) {
	if item := m.item(); !item.line {
		m.cursor = item.seq
	}
	m.at++
	d.markDirty(r)
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
